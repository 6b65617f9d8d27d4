"""Metrics of one table of predictions. What cannot be computed is None, never nan.

To add a metric: one function and one line in `METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.arrays import AnyFloats, AnyInts, Bools, Ints
from pipeline.evaluation.predictions import prob_columns
from pipeline.label_names import LabelNames

Level = Literal["patient", "image"]


@dataclass(frozen=True)
class Cases:
    """N images or patients of C classes, judged. Of two classes, the last is the positive one."""

    labels: AnyInts
    """(N,) class indices."""
    predicted: AnyInts
    """(N,) class indices."""
    probabilities: AnyFloats
    """(N, C)."""

    def __post_init__(self) -> None:
        expected = (len(self.labels), self.num_classes)
        if self.probabilities.shape != expected or self.predicted.shape != self.labels.shape:
            raise RuntimeError(
                f"Expected probabilities of shape {expected} and as many decisions, got "
                f"{self.probabilities.shape} and {len(self.predicted)}."
            )
        largest = max(self.labels.max(initial=0), self.predicted.max(initial=0))
        if largest >= self.num_classes:
            raise RuntimeError(f"Expected labels below {self.num_classes}, got {largest}.")

    @property
    def num_classes(self) -> int:
        return int(self.probabilities.shape[-1])

    @cached_property
    def confusion(self) -> Ints:
        """(C, C) counts: row = true class, column = predicted class."""
        size = self.num_classes
        cells = np.bincount(self.labels * size + self.predicted, minlength=size * size)
        return cells.astype(np.int64).reshape(size, size)

    def against_rest(self, target: int) -> Cases:
        """The same cases with two classes: all others, and `target`."""
        score = self.probabilities[:, target]
        labels, predicted = self.labels == target, self.predicted == target
        return Cases(1 * labels, 1 * predicted, np.column_stack([1 - score, score]))


@dataclass(frozen=True)
class LabelCases:
    """N images or patients, judged by L labels that do not exclude each other."""

    labels: Bools
    """(N, L) which labels each has."""
    predicted: Bools
    """(N, L)."""
    probabilities: AnyFloats
    """(N, L)."""

    def __post_init__(self) -> None:
        shapes = {self.labels.shape, self.predicted.shape, self.probabilities.shape}
        if len(shapes) > 1:
            raise RuntimeError(f"Expected three arrays of one shape, got {sorted(shapes)}.")

    @property
    def num_classes(self) -> int:
        return int(self.labels.shape[1])

    @property
    def confusion(self) -> Ints:
        """(L, 2, 2) counts of each label: without and with it, called without and with it."""
        each = [self.against_rest(code).confusion for code in range(self.num_classes)]
        return np.array(each, np.int64)

    def against_rest(self, target: int) -> Cases:
        """The cases of one label: without, and with it."""
        score = self.probabilities[:, target]
        labels, predicted = (1 * of[:, target] for of in (self.labels, self.predicted))
        return Cases(labels, predicted, np.column_stack([1 - score, score]))


def cases_of(table: pd.DataFrame, classes: Sequence[str]) -> Cases | LabelCases:
    """The cases of a table with label, predicted and prob_*."""
    if isinstance(classes, LabelNames):
        has, called = (classes.matrix(table[name]) for name in ("label", "predicted"))
        return LabelCases(has, called, table[prob_columns(classes)].to_numpy())
    label, predicted = (_codes(table[name], classes) for name in ("label", "predicted"))
    return Cases(label, predicted, table[prob_columns(classes)].to_numpy())


def mean_of_all(values: Sequence[float | None]) -> float | None:
    """None where one is missing: a mean over fewer classes or folds would be another quantity."""
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if len(present) == len(values) else None


def auroc(cases: Cases) -> float | None:
    """Area under the ROC curve, of two classes."""
    from sklearn.metrics import roc_auc_score

    return _of_scores(roc_auc_score, cases)


def average_precision(cases: Cases) -> float | None:
    """Mean precision over the thresholds, weighted by the gain in sensitivity, of two classes."""
    from sklearn.metrics import average_precision_score

    return _of_scores(average_precision_score, cases)


def balanced_accuracy(cases: Cases) -> float | None:
    """Mean over classes of the share that is recognised."""
    matrix = cases.confusion
    return mean_of_all([_ratio(row[code], row.sum()) for code, row in enumerate(matrix)])


def accuracy(cases: Cases) -> float | None:
    """Share of right decisions."""
    return _ratio(np.diag(cases.confusion).sum(), cases.confusion.sum())


def sensitivity(cases: Cases) -> float | None:
    """Share of the positive cases that are called positive."""
    return _ratio(cases.confusion[1, 1], cases.confusion[1].sum())


def specificity(cases: Cases) -> float | None:
    """Share of the negative cases that are called negative."""
    return _ratio(cases.confusion[0, 0], cases.confusion[0].sum())


def prevalence(cases: Cases) -> float | None:
    """Share of the positive cases among all."""
    return _ratio(cases.confusion[1].sum(), cases.confusion.sum())


@dataclass(frozen=True)
class Metric:
    """One line of the table of metrics."""

    name: str
    function: Callable[[Cases], float | None]
    over_folds: Literal["mean over folds", "pooled decisions"]
    """Rankings are averaged, because the network of each fold has a score scale of its own.
    Decisions were made with the threshold of each fold, and are pooled."""
    more_classes: Literal["as it is", "mean", "each"] = "as it is"
    """With more than two: the function knows; the mean over classes of one against the rest; or
    one metric for each class, named <name>_<class>."""
    least_classes: int = 2
    for_labels: Literal["mean and each", "each", "not"] = "not"
    """With labels that do not exclude each other: the mean over labels and <name>_<label>, the
    latter only, or nothing."""
    levels: tuple[Level, ...] = ("patient", "image")
    higher_is_better: bool = True
    validates: bool = False
    """Is it computed after every epoch, so that `training.select_by` may name it?"""

    def of(self, cases: Cases | LabelCases, target: int | None = None) -> float | None:
        """Of class `target` against the rest, or of all; None where it cannot be computed."""
        if target is not None:
            return self.function(cases.against_rest(target))
        if isinstance(cases, Cases) and self._takes(cases):
            return self.function(cases)
        targets = range(cases.num_classes)
        return mean_of_all([self.function(cases.against_rest(code)) for code in targets])

    def _takes(self, cases: Cases) -> bool:
        """Does the function know all these classes?"""
        return self.more_classes == "as it is" or cases.num_classes == 2


METRICS = [
    Metric("auroc", auroc, "mean over folds", "mean", for_labels="mean and each", validates=True),
    Metric(
        "average_precision",
        average_precision,
        "mean over folds",
        "mean",
        for_labels="mean and each",
        validates=True,
    ),
    Metric(
        "balanced_accuracy",
        balanced_accuracy,
        "pooled decisions",
        for_labels="mean and each",
        validates=True,
    ),
    Metric("accuracy", accuracy, "pooled decisions", least_classes=3),
    Metric("sensitivity", sensitivity, "pooled decisions", "each", for_labels="each"),
    Metric("specificity", specificity, "pooled decisions", "each", for_labels="each"),
]
PREVALENCE = Metric("prevalence", prevalence, "pooled decisions", for_labels="each")
"""Of labels that do not exclude each other; what an average precision is compared with."""
VAL_METRICS = tuple(metric.name for metric in METRICS if metric.validates)


def named_metrics(classes: Sequence[str], level: Level) -> dict[str, tuple[Metric, int | None]]:
    """Name in metrics.json -> metric, and the class that it is of where each class has its own.

    In the order of metrics.json.
    """
    fit = [m for m in METRICS if len(classes) >= m.least_classes and level in m.levels]
    if isinstance(classes, LabelNames):
        means = [metric for metric in fit if metric.for_labels == "mean and each"]
        each = [metric for metric in fit if metric.for_labels != "not"] + [PREVALENCE]
    else:
        each = [m for m in fit if m.more_classes == "each" and len(classes) > 2]
        means = [metric for metric in fit if metric not in each]
    named: dict[str, tuple[Metric, int | None]] = {m.name: (m, None) for m in means}
    for code, name in enumerate(classes):
        named |= {f"{metric.name}_{name}": (metric, code) for metric in each}
    return named


def metrics(table: pd.DataFrame, classes: Sequence[str], level: Level) -> dict[str, float | None]:
    """The metrics of a level's table with label, predicted and prob_*."""
    cases, named = cases_of(table, classes), named_metrics(classes, level)
    return {name: metric.of(cases, target) for name, (metric, target) in named.items()}


def num_per_class(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, int]:
    """How many rows carry each label, zeros included."""
    if isinstance(classes, LabelNames):
        counts = classes.matrix(table["label"]).sum(axis=0)
    else:
        counts = np.bincount(_codes(table["label"], classes), minlength=len(classes))
    return dict(zip(classes, counts.tolist(), strict=True))


def _of_scores(function: Callable[[AnyInts, AnyFloats], float], cases: Cases) -> float | None:
    both = len(np.unique(cases.labels)) == 2
    return float(function(cases.labels, cases.probabilities[:, 1])) if both else None


def _codes(names: pd.Series, classes: Sequence[str]) -> Ints:
    codes = pd.Index(classes).get_indexer(pd.Index(names)).astype(np.int64)
    if (codes < 0).any():
        unknown = sorted(set(names) - set(classes))
        raise RuntimeError(f"{names.name} must be among {list(classes)}, got {unknown}.")
    return codes


def _ratio(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None
