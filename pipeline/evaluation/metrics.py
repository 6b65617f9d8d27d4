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

from pipeline.arrays import AnyFloats, AnyInts, Ints
from pipeline.evaluation.predictions import prob_columns

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
        num_classes = self.probabilities.shape[-1]
        expected = (len(self.labels), num_classes)
        if self.probabilities.shape != expected or len(self.predicted) != len(self.labels):
            raise RuntimeError(
                f"Expected probabilities of shape {expected} and as many decisions, got "
                f"{self.probabilities.shape} and {len(self.predicted)}."
            )
        if max(self.labels.max(initial=0), self.predicted.max(initial=0)) >= num_classes:
            raise RuntimeError(f"Expected labels below {num_classes}, got {self.labels.max()}.")

    @cached_property
    def confusion(self) -> Ints:
        """(C, C) counts: row = true class, column = predicted class."""
        size = self.probabilities.shape[1]
        cells = self.labels * size + self.predicted
        return np.bincount(cells, minlength=size * size).astype(np.int64).reshape(size, size)

    def against_rest(self, target: int) -> Cases:
        """The same cases with two classes: all others, and `target`."""
        scores = self.probabilities[:, target]
        return Cases(
            (self.labels == target).astype(np.int64),
            (self.predicted == target).astype(np.int64),
            np.column_stack([1 - scores, scores]),
        )


def cases_of(table: pd.DataFrame, classes: Sequence[str]) -> Cases:
    """The cases of a table with label, predicted and prob_*."""
    return Cases(
        _codes(table["label"], classes),
        _codes(table["predicted"], classes),
        table[prob_columns(classes)].to_numpy(),
    )


def auroc(cases: Cases) -> float | None:
    """Area under the ROC curve, of two classes."""
    from sklearn.metrics import roc_auc_score

    scores = cases.probabilities[:, 1]
    return float(roc_auc_score(cases.labels, scores)) if _has_both(cases) else None


def average_precision(cases: Cases) -> float | None:
    """Mean precision over the thresholds, weighted by the gain in sensitivity, of two classes."""
    from sklearn.metrics import average_precision_score

    scores = cases.probabilities[:, 1]
    return float(average_precision_score(cases.labels, scores)) if _has_both(cases) else None


def balanced_accuracy(cases: Cases) -> float | None:
    """Mean over classes of the share that is recognised."""
    shares = [_ratio(row[code], row.sum()) for code, row in enumerate(cases.confusion)]
    present = [share for share in shares if share is not None]
    complete = len(present) == len(shares)  # else the mean would be over fewer classes
    return float(np.mean(present)) if complete else None


def accuracy(cases: Cases) -> float | None:
    """Share of right decisions."""
    return _ratio(np.diag(cases.confusion).sum(), cases.confusion.sum())


def sensitivity(cases: Cases) -> float | None:
    """Share of the positive cases that are called positive."""
    return _ratio(cases.confusion[1, 1], cases.confusion[1].sum())


def specificity(cases: Cases) -> float | None:
    """Share of the negative cases that are called negative."""
    return _ratio(cases.confusion[0, 0], cases.confusion[0].sum())


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
    levels: tuple[Level, ...] = ("patient", "image")
    higher_is_better: bool = True
    validates: bool = False
    """Is it computed after every epoch, so that `training.select_by` may name it?"""


METRICS = [
    Metric("auroc", auroc, "mean over folds", "mean", validates=True),
    Metric("average_precision", average_precision, "mean over folds", "mean", validates=True),
    Metric("balanced_accuracy", balanced_accuracy, "pooled decisions", validates=True),
    Metric("accuracy", accuracy, "pooled decisions", least_classes=3),
    Metric("sensitivity", sensitivity, "pooled decisions", "each"),
    Metric("specificity", specificity, "pooled decisions", "each"),
]
VAL_METRICS = tuple(metric.name for metric in METRICS if metric.validates)


def higher_is_better(name: str) -> bool:
    """The direction of a metric as it is logged, e.g. val/patient/auroc; a loss should be low."""
    last = name.rsplit("/", 1)[-1]
    directions = {metric.name: metric.higher_is_better for metric in METRICS} | {"loss": False}
    return directions[last]


@dataclass(frozen=True)
class NamedMetric:
    """A metric of some classes, under the name that metrics.json gives it."""

    name: str
    metric: Metric
    target: int | None = None
    """The class that it is of, where each class has its own."""

    def of(self, cases: Cases) -> float | None:
        """None where it cannot be computed."""
        num_classes = cases.probabilities.shape[1]
        if self.target is not None:
            return self.metric.function(cases.against_rest(self.target))
        if self.metric.more_classes == "as it is" or num_classes == 2:
            return self.metric.function(cases)
        found = [self.metric.function(cases.against_rest(code)) for code in range(num_classes)]
        values = [value for value in found if value is not None]
        return float(np.mean(values)) if len(values) == num_classes else None


def named_metrics(classes: Sequence[str], level: Level | None = None) -> list[NamedMetric]:
    """The metrics of these classes, at one level or at any, in the order of metrics.json."""
    table = [
        metric
        for metric in METRICS
        if len(classes) >= metric.least_classes and (level is None or level in metric.levels)
    ]
    each = [m for m in table if m.more_classes == "each" and len(classes) > 2]
    return [NamedMetric(metric.name, metric) for metric in table if metric not in each] + [
        NamedMetric(f"{metric.name}_{name}", metric, code)
        for code, name in enumerate(classes)
        for metric in each
    ]


def metrics(
    table: pd.DataFrame, classes: Sequence[str], level: Level | None = None
) -> dict[str, float | None]:
    """The metrics of a table with label, predicted and prob_*."""
    cases = cases_of(table, classes)
    return {metric.name: metric.of(cases) for metric in named_metrics(classes, level)}


def num_per_class(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, int]:
    """How many rows carry each label, zeros included."""
    counts = np.bincount(_codes(table["label"], classes), minlength=len(classes))
    return dict(zip(classes, counts.tolist(), strict=True))


def _has_both(cases: Cases) -> bool:
    return len(np.unique(cases.labels)) == 2


def _codes(names: pd.Series, classes: Sequence[str]) -> Ints:
    codes = pd.Index(classes).get_indexer(pd.Index(names)).astype(np.int64)
    if (codes < 0).any():
        unknown = sorted(set(names) - set(classes))
        raise RuntimeError(f"{names.name} must be among {list(classes)}, got {unknown}.")
    return codes


def _ratio(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None
