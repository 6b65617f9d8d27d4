"""`python -m pipeline.plan manifest=x`: make a plan to commit, let it grow, or repair it."""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from pipeline.command import run_command
from pipeline.config import Config, UserError, to_config
from pipeline.manifest import Manifest
from pipeline.prepared import audited_manifest
from pipeline.splits import Plan, load_plan, plan_folds, save_plan
from pipeline.splits.describe import describe_plan, promise
from pipeline.splits.growth import grow_plan, predefined_split, repair_plan


def plan(cfg: DictConfig) -> None:
    """The command: make, grow or repair, prove, write, say what was done."""
    config, console = to_config(cfg), Console()
    manifest = audited_manifest(config, console)
    before, after, moved = _planned(config, manifest)
    path = _out(config)
    if before is None and path.exists() and load_plan(path).hash != after.hash:
        raise UserError(
            f"plan {path} exists and is another plan; keep it (split.file={path}), let it grow "
            "(plan.action=grow), or write elsewhere with plan.out=."
        )
    save_plan(after, path)
    lines = [
        *describe_plan(after, manifest, config.split),
        f"no patient is in two parts; {promise(after)}",
    ]
    if before is not None:
        num_new = len(after.groups.keys() - before.groups.keys())
        lines.append(f"version {after.version}: {num_new} new patient(s), {len(moved)} moved")
    lines += [f"  moved {who}" for who in moved]
    if config.plan.test_fold:
        test_fold = Path(config.plan.test_fold)
        manifest.table[["image_path"]].assign(
            test_fold=predefined_split(after, manifest)
        ).to_csv(test_fold, index=False)  # fmt: skip
        lines.append(f"PredefinedSplit's test_fold: {test_fold}")
    lines.append(f"written: {path} and {path.with_suffix('.json').name}")
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def _planned(config: Config, manifest: Manifest) -> tuple[Plan | None, Plan, list[str]]:
    """The plan before (None: there was none), the plan now, and who moved."""
    if config.plan.action == "make":
        return None, plan_folds(manifest, config.split), []
    if config.split.file is None:
        raise UserError(f"plan.action={config.plan.action} needs split.file, the plan to work on.")
    before = load_plan(Path(config.split.file))
    if config.plan.action == "grow":
        return before, grow_plan(before, manifest, config.split), []
    after, moved = repair_plan(before, manifest, config.split)
    return before, after, moved


def _out(config: Config) -> Path:
    given = config.plan.out or config.split.file
    return Path(given) if given else Path("plans") / f"{config.manifest.name}.csv"


if __name__ == "__main__":
    run_command(plan)
