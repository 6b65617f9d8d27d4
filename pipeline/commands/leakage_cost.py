"""What a split by image would pretend, on your own data: patientfold leakage-cost experiment=demo

The same configuration is trained twice: split by image, which puts patients on both sides and is
marked UNSAFE everywhere, and split by patient. The difference of the AUROCs is what the leak is
worth.
"""

from dataclasses import replace

from omegaconf import DictConfig
from rich.console import Console

from pipeline.commands.cv import decoded, train
from pipeline.config import UserError, to_config
from pipeline.engine.leakage import both_runs, leakage_cost, print_leakage_cost
from pipeline.engine.session import UNNAMED


def main(cfg: DictConfig) -> None:
    """Train both ways, each in a run folder and an MLflow run of its own, and compare."""
    config, console = to_config(cfg), Console()
    if config.folds != "all":
        raise UserError(f"folds={list(config.folds)}: leakage-cost compares all folds; use all.")
    if config.manifest.task == "multilabel":
        raise UserError("leakage-cost needs one label an image, not manifest.task=multilabel.")
    config = replace(config, name=f"{config.name}-leakage-cost")
    slots, images, content = decoded(config, console)
    runs = both_runs(config, content.manifest, images)
    for run in runs:
        train(run, slots, UNNAMED, console)
    print_leakage_cost(leakage_cost(runs), console)
