"""A fold of images that have several labels, or none, made in memory."""

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.commands.door import load_config
from pipeline.images.packed import PackedImages
from pipeline.label_names import LabelNames
from pipeline.manifest import Manifest
from pipeline.splits import Fold
from pipeline.training.job import FoldJob

LABELS = LabelNames(("edema", "effusion", "nodule"))
PLACES = {"edema": (5, 5), "effusion": (5, 13), "nodule": (13, 9)}
SIDE, NUM_PATIENTS = 24, 60
TASK = ("manifest.task=multilabel", "loss=binary_cross_entropy", "training.batch_size=16")
Plant = Callable[[Any, Collection[str]], None]


def job_of(folder: Path, *overrides: str, plant: Plant | None = None, side: int = SIDE) -> FoldJob:
    """Two images of each of 60 patients, a bright square inside for each of their labels.

    A quarter have none. Every fifth patient is tested, every fifth validates.
    """
    generator = np.random.default_rng(0)
    has = generator.random((NUM_PATIENTS, len(LABELS))) < (0.5, 0.4, 0.3)
    has[::4] = False
    pixels = generator.normal(90, 20, (2 * NUM_PATIENTS, 1, side, side))
    rows = []
    for row, image in enumerate(pixels[:, 0]):
        found = [name for name, yes in zip(LABELS, has[row // 2], strict=True) if yes]
        for y, x in (PLACES[name] for name in found):
            image[y : y + 6, x : x + 6] += 90
        if plant is not None:
            plant(image, found)
        patient = f"P{row // 2:02d}"
        rows.append((patient, f"{row}.png", "|".join(found) or "none", patient, row + 2))
    columns = ["patient_id", "image_path", "label", "group", "line"]
    folder.mkdir(exist_ok=True)
    pixels = pixels.clip(0, 255).astype(np.uint8)
    np.save(folder / "images.npy", pixels)
    values = pixels.astype(np.float64).reshape(len(pixels), -1)
    sums = {"sum": values.sum(axis=1), "sum_squares": (values**2).sum(axis=1)}
    pd.DataFrame(sums).to_csv(folder / "table.csv", index=False)
    patients = [f"P{i:02d}" for i in range(NUM_PATIENTS)]
    val, test = (frozenset(patients[first::5]) for first in (1, 2))
    config = load_config(["manifest=demo", *TASK, *overrides])
    manifest = Manifest(folder / "x.csv", folder, LABELS, pd.DataFrame(rows, columns=columns))
    fold = Fold(0, frozenset(patients) - val - test, val, test)
    return FoldJob(
        config, manifest, fold, PackedImages(folder, "key"), folder / "fold_00", "a" * 64
    )


def with_labels(job: FoldJob, classes: LabelNames, texts: Collection[str]) -> FoldJob:
    table = job.manifest.table.assign(label=list(texts))
    return replace(job, manifest=replace(job.manifest, classes=classes, table=table))
