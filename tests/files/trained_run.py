"""Run folders of small networks, trained in this process in a second: no command, no MLflow."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from finished_run import gather, record_of
from numpy.typing import NDArray
from PIL import Image

from pipeline.commands.door import load_config
from pipeline.engine.finished import Finished
from pipeline.engine.run_folder import Run, open_run
from pipeline.engine.training_images import write_training_images
from pipeline.images.packing import pack_images
from pipeline.manifest import read_manifest
from pipeline.training.fold import train_fold
from pipeline.training.planning import make_plan

SIDE = 24
COMMON = (
    "manifest.columns.site=null",
    "images.transforms=[]",
    "model=lenet5",
    "split.num_folds=3",
    "training.epochs=1",
    "training.batch_size=8",
    "augment=none",
    "engine.device=cpu",
)


def trained_run(folder: Path, *overrides: str) -> Finished:
    """A finished run, folder/run, of folder/data/manifest.csv; its cache is folder/cache."""
    config = load_config(
        [
            *COMMON,
            f"manifest.path={folder}/data/manifest.csv",
            f"images.cache_dir={folder}/cache",
            f"run_dir={folder}/run",
            *overrides,
        ]
    )
    manifest = read_manifest(config.manifest, config.privacy)
    images = pack_images(manifest, config.images, lambda _done, _total: None)
    planned = make_plan(config, manifest)
    run = Run(config, planned.manifest, planned.plan, images)
    with open_run(run):
        for fold in run.folds:
            train_fold(run.job(fold))
    record_of(run).save(run.dir)
    write_training_images(run)
    gather(run)
    return Finished.read(run.dir)


def write_images(
    folder: Path,
    num_patients: int = 12,
    columns: Sequence[str] = ("image_path",),
    dims: int = 2,
    kind: type[np.generic] = np.uint8,
    seed: int = 0,
    prefix: str = "P",
) -> list[dict[str, str]]:
    """folder/manifest.csv: 1 to 3 images a patient, every second with a bright block."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(num_patients):
        for image in range(1 + number % 3):
            row = {"patient_id": f"{prefix}{number:02d}"}
            for column in columns:
                pixels = rng.normal(90, 25, (SIDE,) * dims)
                pixels[(slice(6, 14),) * dims] += 60 * (number % 2)
                name = f"{prefix}{number:02d}_{image}_{column}"
                row[column] = save(folder / name, pixels.clip(0, 255).astype(kind))
            rows.append({**row, "label": ("healthy", "lesion")[number % 2]})
    write_rows(folder / "manifest.csv", rows)
    return rows


def save(path: Path, pixels: NDArray[Any]) -> str:
    """A PNG, or a NIfTI volume; its name."""
    if pixels.ndim == 2:
        path = path.with_name(f"{path.name}.png")
        Image.fromarray(pixels).save(path)
    else:
        path = path.with_name(f"{path.name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(pixels.astype(np.int16), np.eye(4)), path)
    return path.name


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
