"""How much faster does a head train when its frozen trunk runs once per image?

Trains fold 0 of `experiment=idc` with a frozen ResNet-10 in turn with no features kept (each
epoch runs the whole network), with kept ones, and with those that an earlier run has left.
Prints the ratios. Needs PATIENTFOLD_DATA.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.commands.door import load_config
from pipeline.images.packing import pack_images
from pipeline.manifest import read_manifest
from pipeline.splits import plan_folds
from pipeline.training import frozen
from pipeline.training.fold import train_fold
from pipeline.training.job import FoldJob

OVERRIDES = [
    "experiment=idc",
    "model=resnet10",
    "scheduler=cosine",
    "training.average=0",
    "training.freeze=[conv1,bn1,layer]",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if "PATIENTFOLD_DATA" not in os.environ:
        sys.exit("PATIENTFOLD_DATA must name the folder that holds idc_patches/; nothing measured")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        job = _job(Path(folder), options.epochs)
        rounds = [_round(job, number) for number in range(options.rounds)]
    print(f"fold 0 of idc, ResNet-10, all frozen but fc, {options.epochs} epochs, CPU, one thread")
    names = ("every epoch", "kept", "found")
    for name, seconds in zip(names, zip(*rounds, strict=True), strict=True):
        ratios = [whole[0] / own for whole, own in zip(rounds, seconds, strict=True)]
        print(
            f"{name}: {statistics.median(seconds):.1f} s, {statistics.median(ratios):.1f} times as "
            f"fast (from {min(ratios):.1f} to {max(ratios):.1f})"
        )


def _job(work_dir: Path, num_epochs: int) -> FoldJob:
    more = ["augment=none", f"training.epochs={num_epochs}", f"images.cache_dir={work_dir}/cache"]
    config = load_config([*OVERRIDES, *more, "engine.device=cpu"])
    manifest = read_manifest(config.manifest)
    images = pack_images(manifest, config.images, lambda _done, _total: None)
    fold = plan_folds(manifest, config.split).folds[0]
    return FoldJob(config, manifest, fold, images, work_dir, "benchmark")


def _round(job: FoldJob, number: int) -> list[float]:
    """Seconds of a fold: the whole network in every epoch, features made, features found."""
    config = replace(job.config, training=replace(job.config.training, seed=number))
    split, seconds = frozen._split, []
    for name in ("every", "kept", "found"):
        fold_dir = job.fold_dir / f"{name}_{number}"
        fold_dir.mkdir()
        frozen._split = (lambda *_: ("", "")) if name == "every" else split
        started = time.perf_counter()
        train_fold(replace(job, config=config, fold_dir=fold_dir))
        seconds.append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    main()
