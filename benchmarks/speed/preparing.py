"""Before the clock: one run of ours that decodes and plans, so that all loops get its folds."""

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.commands.door import load_config
from pipeline.images.packing import pack_images
from pipeline.manifest import read_manifest
from pipeline.processes import num_cores
from pipeline.splits import load_plan
from speed import ours
from speed.data import settings_for
from speed.task import FoldRows, Task
from speed.workload import Workload


@dataclass(frozen=True)
class Prepared:
    """A folder to measure in: a warm cache, a database that exists, and the task of the others."""

    workload: Workload
    folder: Path
    settings: tuple[str, ...]
    """Of our command, but for epochs and cache."""
    task: Task

    def overrides(self, cache_dir: Path) -> list[str]:
        return [*self.settings, f"images.cache_dir={cache_dir}"]

    @property
    def warm(self) -> Path:
        """The cache that preparing has filled."""
        return self.folder / "cache"


def prepare(workload: Workload, folder: Path, epochs: int, loader_workers: int) -> Prepared:
    """One epoch of our command; its plan and pixels become the task of the loops beside it."""
    data = settings_for(workload, folder / "data", workload.num_images)
    settings = [*workload.overrides(epochs), *data]
    cached = [*settings, f"images.cache_dir={folder / 'cache'}"]
    run_dir = folder / "first"
    ours.cross_validate([*cached, "training.epochs=1"], run_dir, folder)
    os.chdir(folder)
    config = load_config(cached)
    manifest = read_manifest(config.manifest)
    images = pack_images(manifest, config.images, lambda _done, _total: None)
    folds = []
    for fold in load_plan(run_dir / "plan.csv").folds:
        rows = {part: manifest.of(fold.of(part)) for part in ("train", "val", "test")}
        fitted = images.fit_normalisation(rows["train"])
        parts = {part: found.tolist() for part, found in rows.items()}
        folds.append(FoldRows(**parts, mean=list(fitted.mean), std=list(fitted.std)))
    facts = {
        "num_channels": images.num_channels,
        "num_classes": len(manifest.classes),
        "spatial_dims": config.images.spatial_dims,
        "spatial_size": list(images.spatial_shape),
    }
    return Prepared(
        workload,
        folder,
        tuple(settings),
        Task(
            pixels=str((images.path / "images.npy").absolute()),
            files=[str(files[0]) for files in manifest.image_sets],
            labels=manifest.labels.tolist(),
            num_classes=len(manifest.classes),
            folds=folds,
            network=_resolved(config.model, facts),
            transforms=list(workload.transforms),
            num_channels=images.num_channels,
            epochs=epochs,
            batch_size=workload.batch_size,
            lr=workload.lr,
            flip_axes=list(workload.flip_axes),
            rotate_degrees=workload.rotate_degrees,
            zoom=workload.zoom,
            device=workload.device,
            precision=workload.precision,
            channels_last=workload.channels_last,
            num_processes=num_cores() if workload.device == "cpu" else 1,
            loader_workers=loader_workers,
        ),
    )


def _resolved(leaf: dict[str, object], facts: dict[str, object]) -> dict[str, object]:
    """The network's arguments, with "@num_classes" and the like filled in."""
    return {
        name: facts[value[1:]] if isinstance(value, str) and value.startswith("@") else value
        for name, value in leaf.items()
    }
