"""The numbers of one cross-validation: per fold, and over folds."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

import pandas as pd

from pipeline.evaluation.cases import Cases, cases_of, num_per_class
from pipeline.evaluation.fit import Fit
from pipeline.evaluation.image_count import ImageCount
from pipeline.evaluation.intervals import Interval
from pipeline.evaluation.metrics import Level, named_metrics
from pipeline.evaluation.subgroups import Subgroups
from pipeline.label_names import LabelNames

Mark = Literal["unstable", "imprecise"]
UNSTABLE_BELOW = 10
"""Patients with or without the class: fewer make a metric jump when one is exchanged."""
IMPRECISE_ABOVE = 0.10
"""Half the width of the interval, of a share."""


class MetricEntry(TypedDict):
    """One metric over the folds; what cannot be computed is None."""

    value: float | None
    ci_low: float | None
    """95 % interval over patients (leakage groups)."""
    ci_high: float | None
    num_positive: int
    """Patients with the class that it is of; of several classes, with the rarest."""
    marks: list[Mark]
    per_fold: list[float | None]
    num_missing: int
    how: str
    pooled: NotRequired[float | None]
    """Of a ranking that is averaged over folds: that of all folds' scores together. None where a
    fold lacks a class: it would compare networks, which have scales of their own."""


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
    confusion: dict[str, list[Any] | None]
    """(C, C) rows = true; of labels that do not exclude each other (L, 2, 2), without and with."""
    num: Counts
    unsafe: NotRequired[bool]
    """True for a plan that tests patients it trained on; missing otherwise."""
    fit: NotRequired[list[Fit]]
    """Over- or under-fitting; missing where the learning curves show neither."""
    image_count: NotRequired[ImageCount]
    """Where the rule of patients grows with the number of images, and that tells a class."""
    subgroups: NotRequired[Subgroups]
    """Metrics of each group of patients; missing where the manifest has no column to group by."""
    multilabel: NotRequired[bool]
    """True where the classes are labels that do not exclude each other; missing otherwise."""


def classes_of(summary: Summary) -> Sequence[str]:
    """The classes, which know whether they exclude each other."""
    classes = summary["classes"]
    return LabelNames(classes) if summary.get("multilabel") else classes


def summarise(
    tables: Mapping[Level, pd.DataFrame | None],
    classes: Sequence[str],
    groups: Mapping[str, str] | None = None,
) -> Summary:
    """Sum up the out-of-fold tables of both levels, decisions included.

    Each metric is averaged over folds or pooled, as its line in the table of metrics says.
    `tables["patient"]` may be missing or None: no patient-level metrics. `groups`: patient id ->
    leakage group, what intervals are over; by default each patient is one.
    """
    image, patient = tables["image"], tables.get("patient")
    assert image is not None
    if patient is not None and set(patient["fold"]) != set(image["fold"]):
        raise RuntimeError("Expected the same folds at patient and at image level.")
    summary: Summary = {
        "classes": list(classes),
        "patient": None if patient is None else _entries(patient, classes, "patient", groups),
        "image": _entries(image, classes, "image", groups),
        "confusion": {
            level: None if table is None else cases_of(table, classes).confusion.tolist()
            for level, table in (("patient", patient), ("image", image))
        },
        "num": _counts(image, patient, classes),
    }
    if isinstance(classes, LabelNames):
        summary["multilabel"] = True
    return summary


def _entries(
    table: pd.DataFrame, classes: Sequence[str], level: Level, groups: Mapping[str, str] | None
) -> dict[str, MetricEntry]:
    folds = table["fold"].to_numpy()
    parts = [cases_of(rows, classes) for _, rows in table.groupby("fold", sort=True)]
    pooled = cases_of(table, classes)
    patients = table["patient_id"]
    units, _ = pd.factorize(patients if groups is None else patients.map(groups))
    sides = [pooled.against_rest(code).labels for code in range(len(classes))]
    num = [tuple(patients[side == has].nunique() for has in (1, 0)) for side in sides]
    entries: dict[str, MetricEntry] = {}
    for name, (metric, target) in named_metrics(classes, level).items():
        per_fold = [metric.of(cases, target) for cases in parts]
        interval = metric.interval_of(pooled, target, folds, units)
        if target is not None:
            positive, rarest = num[target][0], min(num[target])
        elif len(classes) == 2 and isinstance(pooled, Cases):
            positive, rarest = num[1][0], min(num[1])
        else:
            positive = min(with_it for with_it, _ in num)
            rarest = min(map(min, num))
        entry: MetricEntry = {
            "value": metric.over(pooled, target, folds),
            "ci_low": None if interval is None else interval.low,
            "ci_high": None if interval is None else interval.high,
            "num_positive": positive,
            "marks": _marks(rarest, interval if metric.scale == "share" else None),
            "per_fold": per_fold,
            "num_missing": per_fold.count(None),
            "how": metric.over_folds,
        }
        if metric.over_folds == "mean over folds":
            entry["pooled"] = None if None in per_fold else metric.of(pooled, target)
        entries[name] = entry
    return entries


def _marks(rarest: int, interval: Interval | None) -> list[Mark]:
    marks: list[Mark] = ["unstable"] if rarest < UNSTABLE_BELOW else []
    if interval is not None and interval.high - interval.low > 2 * IMPRECISE_ABOVE:
        marks.append("imprecise")
    return marks


def _counts(image: pd.DataFrame, patient: pd.DataFrame | None, classes: Sequence[str]) -> Counts:
    per_fold: list[FoldCounts] = []
    for fold in sorted(set(image["fold"].tolist())):
        rows = image[image["fold"] == fold]
        patients = None if patient is None else patient[patient["fold"] == fold]
        counts: FoldCounts = {
            "fold": fold,
            "patients": rows["patient_id"].nunique(),
            "images": len(rows),
            "patients_per_class": None if patients is None else num_per_class(patients, classes),
            "images_per_class": num_per_class(rows, classes),
        }
        per_fold.append(counts)
    num_patients = image["patient_id"].nunique()
    return {"patients": num_patients, "images": len(image), "per_fold": per_fold}
