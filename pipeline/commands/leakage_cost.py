"""What a split by image would pretend, on your own data: patientfold leakage-cost experiment=demo

The same configuration is trained twice: split by image, which puts patients on both sides and is
marked UNSAFE everywhere, and split by patient. The difference of the AUROCs is what the leak is
worth.
"""

from dataclasses import replace

from omegaconf import DictConfig
from rich.console import Console

from pipeline.audit.content import link_copies
from pipeline.commands.cv import train
from pipeline.config import UserError, to_config
from pipeline.console import progress_bar, warn
from pipeline.engine.devices import device_slots
from pipeline.engine.leakage import both_runs, leakage_cost, print_leakage_cost
from pipeline.images.packing import pack_images
from pipeline.manifest import read_manifest
from pipeline.processes import call_in_child
from pipeline.targets import check_leaves
from pipeline.tracking import check_tracking_uri
from pipeline.training.planning import rehearse


def main(cfg: DictConfig) -> None:
    """Train both ways, each in a run folder and an MLflow run of its own, and compare."""
    config, console = to_config(cfg), Console()
    if config.folds != "all":
        raise UserError(f"folds={list(config.folds)}: leakage-cost compares all folds; use all.")
    config = replace(config, name=f"{config.name}-leakage-cost")
    check_tracking_uri(config.tracking.uri)
    manifest = read_manifest(config.manifest)
    rehearse(config, manifest)
    call_in_child(check_leaves, config)
    slots = call_in_child(device_slots, config.engine, config.training.precision)
    with progress_bar("decoding images", console) as progress:
        images = pack_images(manifest, config.images, progress)
    content = link_copies(manifest, images, config.audit, config.manifest.accept)
    warn([*manifest.warnings, *content.warnings], console)
    runs = both_runs(config, content.sound_manifest(), images)
    for run in runs:
        train(run, slots, "", console)
    print_leakage_cost(leakage_cost(runs), console)
