"""Make a plan to commit, let it grow, or repair it: patientfold plan manifest=mine"""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from pipeline.audit.content import look_at_images
from pipeline.audit.crossing import crossing_warnings
from pipeline.config import Config, UserError, to_config
from pipeline.console import say, warn
from pipeline.files import write_whole
from pipeline.manifest import Manifest, read_manifest
from pipeline.splits import Plan, load_plan, plan_folds, save_plan
from pipeline.splits.describe import describe_plan, promise
from pipeline.splits.growth import grow_plan, predefined_split, repair_plan
from pipeline.training.planning import trainable, with_links_of
from pipeline.words import counted, one_line

TEST_FOLD = b"image_path,test_fold"


def main(cfg: DictConfig) -> None:
    """Make, grow or repair the plan, prove it, write it, and say what was done."""
    config, console = to_config(cfg), Console()
    manifest = read_manifest(config.manifest, config.privacy)
    warn(manifest.warnings, console)
    content = look_at_images(config, manifest, console)
    warn(content.warnings, console)
    manifest = content.sound_manifest()
    before, after, moved = _planned(config, manifest)
    path = _out(config)
    if before is None and path.exists() and load_plan(path).hash != after.hash:
        raise UserError(
            f"plan {path} exists and is another plan; keep it (split.file={path}), let it grow "
            f"(split.file={path} plan.action=grow), or write elsewhere with plan.out=."
        )
    planned = trainable(config, manifest, after)
    warn([*planned.warnings, *crossing_warnings(after, content)], console)
    say(describe_plan(after, planned.manifest, config.split), console)
    say([f"no patient is in two parts; {promise(after)}"], console)
    if before is not None:
        say(_changes(before, after, moved), console)
    if config.plan.test_fold:
        say([one_line(_export(after, manifest, Path(config.plan.test_fold), path))], console)
    save_plan(after, path)
    say([one_line(f"written: {path} and {path.with_suffix('.json').name}")], console)


def _changes(before: Plan, after: Plan, moved: list[str]) -> list[str]:
    """Lines: what is new since the plan before, and who moved."""
    num_new = len(after.groups.keys() - before.groups.keys())
    lines = [f"version {after.version}: {counted(num_new, 'new patient')}, {len(moved)} moved"]
    if before.locked and not after.locked:
        lines.append("  nobody is locked away any more")
    return lines + [f"  moved {who}" for who in moved]


def _export(plan: Plan, manifest: Manifest, path: Path, plan_path: Path) -> str:
    """Write PredefinedSplit's test_fold; returns what was written."""
    if path.resolve() in (plan_path.resolve(), plan_path.with_suffix(".json").resolve()):
        raise UserError(f"plan.test_fold: {path} is the plan's own file; name another.")
    if path.is_file() and path.read_bytes()[: len(TEST_FOLD)] != TEST_FOLD:
        raise UserError(f"plan.test_fold: {path} exists and is something else; name another file.")
    table = predefined_split(plan, manifest)
    write_whole(path, table.to_csv(index=False))
    left_out = len(manifest) - len(table)
    without = f", without {counted(left_out, 'locked or purged image')}" if left_out else ""
    return f"PredefinedSplit's test_fold: {path}{without}"


def _planned(config: Config, manifest: Manifest) -> tuple[Plan | None, Plan, list[str]]:
    """The plan before (None: there was none), the plan now, and who moved."""
    if config.plan.action == "make":
        return None, plan_folds(manifest, config.split, config.audit.words or {}), []
    if config.split.file is None:
        raise UserError(f"plan.action={config.plan.action} needs split.file, the plan to work on.")
    before = load_plan(Path(config.split.file))
    if not config.audit.content:  # nobody looked whether the copies that it knows are gone
        manifest = with_links_of(before, manifest)
    if config.plan.action == "grow":
        return before, grow_plan(before, manifest, config.split), []
    after, moved = repair_plan(before, manifest, config.split)
    return before, after, moved


def _out(config: Config) -> Path:
    given = config.plan.out or config.split.file or f"plans/{config.manifest.name}.csv"
    if not given.endswith(".csv"):
        raise UserError(f"plan.out: must end in .csv, a .json is written beside it; got {given!r}.")
    return Path(given)
