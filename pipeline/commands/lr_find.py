"""A learning rate for this network and these images: patientfold lr-find experiment=demo

The rate rises by a factor after every step, on the train part of the first of `folds`. Where the
loss falls steepest is the suggestion (Smith 2017, Cyclical learning rates); what you choose is
best within a factor of 3 of it, and confirmed by a sweep over validation metrics.
"""

from omegaconf import DictConfig
from rich.console import Console

from pipeline.commands.cv import ready
from pipeline.config import to_config
from pipeline.engine.door import here
from pipeline.engine.lr_find import check_asked, find_lr


def main(cfg: DictConfig) -> None:
    """Read, decode, plan, and draw the range test."""
    config, console = to_config(cfg), Console()
    check_asked(config)
    run, slots = ready(here(config), console)
    find_lr(run, slots, console)
