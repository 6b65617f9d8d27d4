"""`python -m pipeline cv experiment=demo`: one leak-free cross-validation, from CSV to MLflow."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from pipeline.commands.door import run_command
from pipeline.commands.leakage_cost import both_runs, leakage_cost, print_leakage_cost
from pipeline.config import Config, to_config
from pipeline.engine.devices import device_slots
from pipeline.engine.run_folder import Run, open_run
from pipeline.engine.session import mirrored, report, train_missing_folds
from pipeline.prepared import decoded, manifest_and_plan, with_content
from pipeline.processes import call_in_child, start_forkserver
from pipeline.tracking import check_tracking_uri

DEFAULT_URI = "sqlite:///mlflow.db"


def main(cfg: DictConfig) -> float:
    """One job: returns the mean *validation* metric for a sweeper, never the test's."""
    hydra, config = HydraConfig.get(), to_config(cfg)
    if hydra.mode == RunMode.MULTIRUN:
        return cross_validate(config, sweep=Path(hydra.sweep.dir).name)
    value = cross_validate(config)
    print(next_steps(config, hydra.overrides.task))
    return value


def cross_validate(config: Config, sweep: str = "") -> float:
    """The whole flow, each line one step; `sweep` tags the MLflow runs of one multirun.

    Raises:
        UserError: for what a user can mend; FoldsFailedError when a fold did not get done.
    """
    console = Console()
    check_tracking_uri(config.tracking.uri)
    manifest, plan = manifest_and_plan(config, console)
    start_forkserver()  # torch and monai take seconds: most mistakes were told by here
    slots = call_in_child(device_slots, config.engine, config.training.precision)
    images = decoded(config, manifest, console)
    manifest, plan = with_content(config, manifest, plan, images, console)
    if config.split.unit != "patient":
        return show_leak(config, both_runs(config, manifest, images), slots, sweep, console)
    return train(Run(config, manifest, plan, images), slots, sweep, console)


def train(run: Run, slots: Sequence[str], sweep: str, console: Console) -> float:
    """Train what is missing, mirror it, report; the mean validation metric."""
    with open_run(run), mirrored(run, sweep, console):
        train_missing_folds(run, slots, console)
        return report(run, console)


def show_leak(
    config: Config, runs: Sequence[Run], slots: Sequence[str], sweep: str, console: Console
) -> float:
    """Train a split by image, marked unsafe; with split.unit=both also by patient, and compare."""
    wanted = runs if config.split.unit == "both" else runs[:1]
    values = [train(run, slots, sweep, console) for run in wanted]
    if config.split.unit == "both" and config.folds == "all":
        print_leakage_cost(leakage_cost(wanted), console)
    return values[-1]


def next_steps(config: Config, overrides: Sequence[str]) -> str:
    """The two commands to look further."""
    uri = config.tracking.uri
    ui = "make ui" if uri == DEFAULT_URI else f"mlflow ui --backend-store-uri {uri}"
    kept = [o for o in overrides if not o.startswith(("folds=", "run_dir=", "optimizer.lr="))]
    venv = Path(".venv/bin/python")
    python = str(venv) if venv.exists() else "python"
    sweep = shlex.join([python, "-m", "pipeline", "cv", "-m", *kept, "optimizer.lr=1e-3,3e-4"])
    return f"\ncompare the folds: {ui}\nsweep settings: {sweep}"


def run() -> None:
    run_command(main)
