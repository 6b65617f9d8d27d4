"""Sanity checks before a long training, within a minute: patientfold preflight experiment=demo

start     the fresh network's loss is that of outputs that say nothing (ln C), its accuracy chance
overfit   a handful of images is learnt by heart: loss below 0.01, accuracy 1
shuffled  with labels shuffled by patient, validation stays at chance
border    the label cannot be told from the images with their centres masked out

They are made on the first of `folds`, and never look at its test part. batch.png shows what the
model really sees. The exit code is 1 when a check fails.
"""

from omegaconf import DictConfig
from rich.console import Console

from pipeline.commands.cv import ready
from pipeline.config import to_config
from pipeline.engine.door import here
from pipeline.engine.preflight import preflight


def main(cfg: DictConfig) -> None:
    """Read, decode, plan, check; nothing is trained that stays."""
    console = Console()
    run, slots = ready(here(to_config(cfg)), console)
    preflight(run, slots, console)
