"""`python -m pipeline plan manifest=x`: make a plan to commit, let it grow, or repair it."""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from pipeline.commands.door import run_command
from pipeline.config import Config, UserError, to_config
from pipeline.manifest import Manifest
from pipeline.prepared import (
    audited_manifest,
    check_plan,
    ignored,
    refuse_leaking,
    warn,
    with_links_of,
    without_purged,
)
from pipeline.splits import Plan, load_plan, plan_folds, save_plan
from pipeline.splits.describe import describe_plan, promise
from pipeline.splits.growth import grow_plan, predefined_split, repair_plan

TEST_FOLD = b"image_path,test_fold"


def plan(cfg: DictConfig) -> None:
    """The command: make, grow or repair, prove, write, say what was done."""
    config, console = to_config(cfg), Console()
    refuse_leaking(config.split, "a plan to keep")
    manifest = audited_manifest(config, console)
    before, after, moved = _planned(config, manifest)
    path = _out(config)
    if before is None and path.exists() and load_plan(path).hash != after.hash:
        raise UserError(
            f"plan {path} exists and is another plan; keep it (split.file={path}), let it grow "
            f"(split.file={path} plan.action=grow), or write elsewhere with plan.out=."
        )
    in_use = without_purged(manifest, after)
    warn([*ignored(config.split, after), *check_plan(config, in_use, after)], console)
    lines = [
        *describe_plan(after, in_use, config.split),
        f"no patient is in two parts; {promise(after)}",
    ]
    if before is not None:
        num_new = len(after.groups.keys() - before.groups.keys())
        lines.append(f"version {after.version}: {num_new} new patient(s), {len(moved)} moved")
        if before.locked and not after.locked:
            lines.append("  nobody is locked away any more")
    lines += [f"  moved {who}" for who in moved]
    if config.plan.test_fold:
        lines.append(_export(after, manifest, Path(config.plan.test_fold), path))
    save_plan(after, path)
    lines.append(f"written: {path} and {path.with_suffix('.json').name}")
    console.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)


def _export(plan: Plan, manifest: Manifest, path: Path, plan_path: Path) -> str:
    """Write PredefinedSplit's test_fold; what was written."""
    if path.resolve() in (plan_path.resolve(), plan_path.with_suffix(".json").resolve()):
        raise UserError(f"plan.test_fold: {path} is the plan's own file; name another.")
    if path.is_file() and path.read_bytes()[: len(TEST_FOLD)] != TEST_FOLD:
        raise UserError(f"plan.test_fold: {path} exists and is something else; name another file.")
    table = predefined_split(plan, manifest)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    left_out = len(manifest) - len(table)
    without = f", without {left_out} locked or purged image(s)" if left_out else ""
    return f"PredefinedSplit's test_fold: {path}{without}"


def _planned(config: Config, manifest: Manifest) -> tuple[Plan | None, Plan, list[str]]:
    """The plan before (None: there was none), the plan now, and who moved."""
    if config.plan.action == "make":
        return None, plan_folds(manifest, config.split), []
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


def run() -> None:
    run_command(plan)
