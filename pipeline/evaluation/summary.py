"""The numbers of one cross-validation: per fold, and over folds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

import numpy as np
import pandas as pd

from pipeline.evaluation.metrics import confusion, decision_metrics, metrics, num_per_class
from pipeline.files import write_json

Level = Literal["patient", "image"]

_RANKING = ("auroc", "average_precision")


class MetricEntry(TypedDict):
    """One metric over the folds; `value` is None where it cannot be computed."""

    value: float | None
    per_fold: list[float | None]
    num_missing: int
    how: str


class FoldCounts(TypedDict):
    """What one fold was tested on."""

    fold: int
    patients: int
    images: int
    patients_per_class: dict[str, int] | None
    images_per_class: dict[str, int]


class Counts(TypedDict):
    """What was tested, over all folds and per fold."""

    patients: int
    images: int
    per_fold: list[FoldCounts]


class Summary(TypedDict):
    """The content of metrics.json; lists over folds follow `num.per_fold`."""

    classes: list[str]
    patient: dict[str, MetricEntry] | None
    image: dict[str, MetricEntry]
    confusion: dict[str, list[list[int]] | None]
    num: Counts
    unsafe: NotRequired[bool]
    """True for a plan that tests patients it trained on; missing otherwise."""


def summarise(tables: Mapping[Level, pd.DataFrame | None], classes: Sequence[str]) -> Summary:
    """Sum up the out-of-fold tables of both levels, decisions included.

    Rankings are averaged over folds, because each fold's network has a score scale of its own;
    decisions were made with each fold's own threshold and are pooled. `tables["patient"]` may be
    missing or None: no patient-level metrics.
    """
    image, patient = tables["image"], tables.get("patient")
    assert image is not None
    if patient is not None and set(patient["fold"]) != set(image["fold"]):
        raise RuntimeError("Expected the same folds at patient and at image level.")
    return {
        "classes": list(classes),
        "patient": None if patient is None else _entries(patient, classes),
        "image": _entries(image, classes),
        "confusion": {
            "patient": None if patient is None else confusion(patient, classes).tolist(),
            "image": confusion(image, classes).tolist(),
        },
        "num": _counts(image, patient, classes),
    }


def write_metrics(summary: Summary, path: Path) -> None:
    """Write metrics.json atomically."""
    write_json(path, summary)


def _entries(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, MetricEntry]:
    per_fold = [metrics(rows, classes) for _, rows in table.groupby("fold", sort=True)]
    pooled = decision_metrics(confusion(table, classes), classes)
    return {name: _entry(name, [fold[name] for fold in per_fold], pooled) for name in per_fold[0]}


def _entry(
    name: str, per_fold: list[float | None], pooled: Mapping[str, float | None]
) -> MetricEntry:
    present = [value for value in per_fold if value is not None]
    num_missing = len(per_fold) - len(present)
    if name not in _RANKING:
        value, how = pooled[name], "pooled decisions"
    else:  # a mean over the folds that happen to have both classes would be another quantity
        value, how = None if num_missing else float(np.mean(present)), "mean over folds"
    return {"value": value, "per_fold": per_fold, "num_missing": num_missing, "how": how}


def _counts(image: pd.DataFrame, patient: pd.DataFrame | None, classes: Sequence[str]) -> Counts:
    per_fold: list[FoldCounts] = []
    for fold in sorted(set(image["fold"])):
        rows = image[image["fold"] == fold]
        patients = None if patient is None else patient[patient["fold"] == fold]
        per_fold.append(
            {
                "fold": int(fold),
                "patients": rows["patient_id"].nunique(),
                "images": len(rows),
                "patients_per_class": (
                    None if patients is None else num_per_class(patients, classes)
                ),
                "images_per_class": num_per_class(rows, classes),
            }
        )
    return {
        "patients": image["patient_id"].nunique(),
        "images": len(image),
        "per_fold": per_fold,
    }
