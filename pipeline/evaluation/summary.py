"""The numbers of one cross-validation: per fold, and over folds."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

import pandas as pd

from pipeline.evaluation.cases import Cases, cases_of, num_per_class
from pipeline.evaluation.fit import Fit
from pipeline.evaluation.image_count import ImageCount
from pipeline.evaluation.intervals import Interval
from pipeline.evaluation.metrics import Metric, named_metrics
from pipeline.evaluation.operating_points import Reached
from pipeline.evaluation.subgroups import Subgroups
from pipeline.label_names import Grades, LabelNames
from pipeline.levels import COLUMNS, LEVELS, MIDDLES, Level

Mark = Literal["unstable", "imprecise"]
UNSTABLE_BELOW = 10
"""Patients with or without the class: fewer make a metric jump when one is exchanged."""
IMPRECISE_ABOVE = 0.10
"""Half the width of the interval, of a share."""

SHIFT = 0.02


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


class Own(TypedDict):
    """What a user's own metric is."""

    function: str
    higher_is_better: bool


class Tested(TypedDict):
    """Who was tested, each once."""

    patients: int
    images: int
    patients_per_class: dict[str, int] | None
    images_per_class: dict[str, int]
    middle: NotRequired[int]
    """Slides or studies, where that level is there."""
    middle_per_class: NotRequired[dict[str, int]]


class FoldCounts(Tested):
    """What one fold was tested on."""

    fold: int


class Counts(Tested):
    """What was tested, over all folds and per fold; what several repeats test counts once."""

    per_fold: list[FoldCounts]


class Calibrated(TypedDict):
    """How the probabilities of the folds were calibrated."""

    method: str
    temperature: list[float | dict[str, float]]
    """Of each fold; of labels that do not exclude each other, of each label."""
    skipped: dict[str, dict[str, str]]
    """Fold -> what was left as it was ("all", or a label), and why."""


class Summary(TypedDict):
    """The content of metrics.json; lists over folds follow `num.per_fold`."""

    classes: list[str]
    patient: dict[str, MetricEntry] | None
    study: NotRequired[dict[str, MetricEntry]]
    slide: NotRequired[dict[str, MetricEntry]]
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
    middle_count: NotRequired[ImageCount]
    """The same of the level between images and patients."""
    operating_points: NotRequired[dict[str, dict[str, Reached]]]
    """Level -> class with a threshold -> what its decisions came to on validation and on test, all
    folds together; missing where a fold's result.json does not have them."""
    calibration: NotRequired[Calibrated]
    """Missing where nothing was calibrated."""
    subgroups: NotRequired[Subgroups]
    """Metrics of each group of patients; missing where the manifest has no column to group by."""
    multilabel: NotRequired[bool]
    """True where the classes are labels that do not exclude each other; missing otherwise."""

    ordered: NotRequired[bool]
    """True where the classes are a scale, from its lowest grade; missing otherwise."""
    own: NotRequired[dict[str, Own]]
    """A user's own metrics, by their names; missing where there are none."""


def shifted(entries: Mapping[str, MetricEntry]) -> tuple[float, float] | None:
    """AUROC of all folds' scores together, and the mean of the folds', where they differ by more
    than SHIFT: then the scores of the folds have scales of their own.
    """
    entry = entries.get("auroc")
    if entry is None or (value := entry["value"]) is None:
        return None
    pooled = entry.get("pooled")
    return None if pooled is None or abs(pooled - value) <= SHIFT else (pooled, value)


def classes_of(summary: Summary) -> Sequence[str]:
    """The classes, which know whether they exclude each other, or are a scale."""
    classes = summary["classes"]
    if summary.get("multilabel"):
        return LabelNames(classes)
    return Grades(classes) if summary.get("ordered") else classes


def levels_of(summary: Summary) -> list[Level]:
    """The levels that it has, from patients to images."""
    return [level for level in LEVELS if summary.get(level) is not None]


def summarise(
    tables: Mapping[Level, pd.DataFrame | None],
    classes: Sequence[str],
    groups: Mapping[str, str] | None = None,
    own: Sequence[Metric] = (),
) -> Summary:
    """Sum up the out-of-fold tables of all levels, decisions included.

    Each metric is averaged over folds or pooled, as its line in the table of metrics says.
    `tables["patient"]` may be missing or None: no patient-level metrics. `groups`: patient id ->
    leakage group, what intervals are over; by default each patient is one. `own` metrics are a
    user's (`own_metrics.py`).
    """
    there = {level: table for level in LEVELS if (table := tables.get(level)) is not None}
    if len({frozenset(table["fold"]) for table in there.values()}) > 1:
        raise RuntimeError("Expected the same folds at all levels.")
    entries = {
        level: _entries(table, classes, level, groups, own) for level, table in there.items()
    }
    confusion: dict[str, list[Any] | None] = {"patient": None}
    for level, table in there.items():
        confusion[level] = cases_of(table, classes).confusion.tolist()
    summary: Summary = {
        "classes": list(classes),
        "patient": entries.get("patient"),
        "image": entries["image"],
        "confusion": confusion,
        "num": _counts(there, classes),
    }
    for middle in MIDDLES:
        if middle in entries:
            summary[middle] = entries[middle]
    if isinstance(classes, LabelNames):
        summary["multilabel"] = True
    if isinstance(classes, Grades):
        summary["ordered"] = True
    if own:
        summary["own"] = {
            metric.name: {
                "function": getattr(metric.function, "target", ""),
                "higher_is_better": metric.higher_is_better,
            }
            for metric in own
        }
    return summary


def _entries(
    table: pd.DataFrame,
    classes: Sequence[str],
    level: Level,
    groups: Mapping[str, str] | None,
    own: Sequence[Metric],
) -> dict[str, MetricEntry]:
    folds = table["fold"].to_numpy()
    parts = [cases_of(rows, classes) for _, rows in table.groupby("fold", sort=True)]
    pooled = cases_of(table, classes)
    patients = table["patient_id"]
    units, _ = pd.factorize(patients if groups is None else patients.map(groups))
    sides = [pooled.against_rest(code).labels for code in range(len(classes))]
    num = [tuple(patients[side == has].nunique() for has in (1, 0)) for side in sides]
    entries: dict[str, MetricEntry] = {}
    for name, (metric, target) in named_metrics(classes, level, own).items():
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
            "value": metric.over(pooled, target, folds) if interval is None else interval.value,
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


def _counts(tables: Mapping[Level, pd.DataFrame], classes: Sequence[str]) -> Counts:
    folds = sorted(set(tables["image"]["fold"].tolist()))
    parts = {
        fold: {level: of[of["fold"] == fold] for level, of in tables.items()} for fold in folds
    }
    return {
        **_tested({level: _once(of, level) for level, of in tables.items()}, classes),
        "per_fold": [{"fold": fold, **_tested(part, classes)} for fold, part in parts.items()],
    }


def _once(table: pd.DataFrame, level: Level) -> pd.DataFrame:
    """Without the rows of further repeats."""
    return table.drop_duplicates([*dict.fromkeys(["patient_id", COLUMNS[level]])])


def _tested(tables: Mapping[Level, pd.DataFrame], classes: Sequence[str]) -> Tested:
    images, patients = tables["image"], tables.get("patient")
    counts: Tested = {
        "patients": images["patient_id"].nunique(),
        "images": len(images),
        "patients_per_class": None if patients is None else num_per_class(patients, classes),
        "images_per_class": num_per_class(images, classes),
    }
    for middle in tables.keys() & MIDDLES:
        counts["middle"] = len(tables[middle])
        counts["middle_per_class"] = num_per_class(tables[middle], classes)
    return counts
