"""The table of metrics: what each is called, and what it is over folds and of several classes.

To add a metric: one function and one line in `METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.arrays import AnyInts, Floats, Ints
from pipeline.evaluation.calibration import (
    brier,
    brier_skill,
    calibration_intercept,
    calibration_slope,
    expected_calibration_error,
    log_loss,
)
from pipeline.evaluation.cases import Cases, LabelCases, cases_of
from pipeline.evaluation.draws import Draws
from pipeline.evaluation.intervals import Interval, Scale, drawn_interval
from pipeline.evaluation.scores import (
    MeanOfShares,
    Ranking,
    accuracy,
    auroc,
    average_precision,
    balanced_accuracy,
    f1,
    interval_of_auroc,
    matthews,
    mean_of_all,
    negative_predictive_value,
    positive_predictive_value,
    prevalence,
    sensitivity,
    specificity,
)
from pipeline.label_names import LabelNames
from pipeline.levels import LEVELS, Level

NUM_DRAWS = 300
"""Of a bootstrap whose spread is asked for; its tails would take more."""


@dataclass(frozen=True)
class Metric:
    """One line of the table of metrics."""

    name: str
    function: Callable[[Cases], float | None]
    over_folds: Literal["mean over folds", "pooled decisions", "pooled probabilities"]
    """Rankings are averaged, because the network of each fold has a score scale of its own.
    Decisions were made with the threshold of each fold, and are pooled. So are probabilities, where
    they are taken at their word."""
    more_classes: Literal["as it is", "mean and each", "mean", "each"] = "as it is"
    """With more than two: the function knows; the mean over classes of one against the rest, and
    one metric for each class, named <name>_<class>; or one of both."""
    least_classes: int = 2
    for_labels: Literal["mean and each", "each", "not"] = "not"
    """With labels that do not exclude each other: the mean over labels and <name>_<label>, the
    latter only, or nothing."""
    levels: tuple[Level, ...] = LEVELS
    higher_is_better: bool = True
    validates: bool = False
    """Is it computed after every epoch, so that `training.select_by` may name it?"""
    interval: Callable[[Sequence[Cases], AnyInts, AnyInts], Interval | None] | None = None
    """Over folds, of the cases of its targets (the mean over targets), folds (N,), units (N,); by
    default a bootstrap of units."""
    scale: Scale = "share"
    """Between which values it lies."""
    headline: bool = True
    """Is it in the table on the console? All are in metrics.json."""

    def of(self, cases: Cases | LabelCases, target: int | None = None) -> float | None:
        """Of class `target` against the rest, or of all; None where it cannot be computed."""
        return mean_of_all([self.function(of_target) for of_target in self.targets(cases, target)])

    def targets(self, cases: Cases | LabelCases, target: int | None = None) -> list[Cases]:
        """The cases that it is the mean over: one, or each class against the rest."""
        if target is not None:
            return [cases.against_rest(target)]
        if isinstance(cases, Cases) and self._takes(cases):
            return [cases]
        return [cases.against_rest(code) for code in range(cases.num_classes)]

    def interval_of(
        self, cases: Cases | LabelCases, target: int | None, folds: AnyInts, units: AnyInts
    ) -> Interval | None:
        """Its 95 % interval over folds, of cases (N,) in `folds` (N,) and of `units` (N,)."""
        targets = self.targets(cases, target)
        if self.interval is not None:
            return self.interval(targets, folds, units)
        if (value := self.over(cases, target, folds)) is None:
            return None
        positive = np.column_stack([of_target.labels > 0 for of_target in targets])
        draws = Draws.of(positive, folds, units, NUM_DRAWS)
        drawn = np.concatenate(
            [self.weighted(cases, target, folds, weights) for weights in draws.weights()]
        )
        fewest = min(len(np.unique(units[column])) for column in positive.T)
        return drawn_interval(value, drawn, draws.correction, fewest, self.scale)

    def over(self, cases: Cases | LabelCases, target: int | None, folds: AnyInts) -> float | None:
        """The value over folds (N,), as `over_folds` says."""
        return mean_of_all([self._of_parts(of, folds) for of in self.targets(cases, target)])

    def weighted(
        self, cases: Cases | LabelCases, target: int | None, folds: AnyInts, weights: Floats
    ) -> Floats:
        """(B,) the value over folds where cases count as often as weights (B, N) say, or nan."""
        found = [
            self._weighted(of_target.at(rows), weights[:, rows])
            for of_target in self.targets(cases, target)
            for rows in self._parts(folds)
        ]
        means: Floats = np.mean(found, axis=0)
        return means

    def _weighted(self, cases: Cases, weights: Floats) -> Floats:
        if isinstance(self.function, Ranking | MeanOfShares):
            return self.function.weighted(cases, weights)
        every = np.arange(len(cases.labels))
        values = [self.function(cases.at(every.repeat(times))) for times in weights.astype(int)]
        return np.array([np.nan if value is None else value for value in values])

    def _of_parts(self, cases: Cases, folds: AnyInts) -> float | None:
        return mean_of_all([self.function(cases.at(rows)) for rows in self._parts(folds)])

    def _parts(self, folds: AnyInts) -> list[Ints]:
        """The rows that are one value each: those of a fold, or all."""
        if self.over_folds == "mean over folds":
            return [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
        return [np.arange(len(folds))]

    def _takes(self, cases: Cases) -> bool:
        """Does the function know all these classes?"""
        return self.more_classes == "as it is" or cases.num_classes == 2


_told = partial(Metric, over_folds="pooled probabilities", headline=False)
_loss = partial(_told, higher_is_better=False, scale="loss")
_line = partial(_told, more_classes="each", for_labels="each", scale="number")
METRICS = [
    Metric(
        "auroc",
        auroc,
        "mean over folds",
        "mean and each",
        for_labels="mean and each",
        validates=True,
        interval=interval_of_auroc,
    ),
    Metric(
        "average_precision",
        average_precision,
        "mean over folds",
        "mean and each",
        for_labels="mean and each",
        validates=True,
    ),
    Metric(
        "balanced_accuracy",
        balanced_accuracy,
        "pooled decisions",
        for_labels="mean and each",
        validates=True,
        interval=balanced_accuracy.interval,
    ),
    Metric(
        "accuracy",
        accuracy,
        "pooled decisions",
        least_classes=3,
        interval=accuracy.interval,
    ),
    Metric(
        "sensitivity",
        sensitivity,
        "pooled decisions",
        "each",
        for_labels="each",
        interval=sensitivity.interval,
    ),
    Metric(
        "specificity",
        specificity,
        "pooled decisions",
        "each",
        for_labels="each",
        interval=specificity.interval,
    ),
    Metric(
        "ppv",
        positive_predictive_value,
        "pooled decisions",
        "each",
        for_labels="each",
        interval=positive_predictive_value.interval,
        headline=False,
    ),
    Metric(
        "npv",
        negative_predictive_value,
        "pooled decisions",
        "each",
        for_labels="each",
        interval=negative_predictive_value.interval,
        headline=False,
    ),
    Metric(
        "f1", f1, "pooled decisions", "mean and each", for_labels="mean and each", headline=False
    ),
    Metric(
        "mcc",
        matthews,
        "pooled decisions",
        for_labels="each",
        scale="correlation",
        headline=False,
    ),
    _loss("brier", brier, for_labels="mean and each"),
    _told("brier_skill", brier_skill, for_labels="each", scale="number"),
    _loss("log_loss", log_loss, for_labels="mean and each"),
    _loss("ece", expected_calibration_error, for_labels="each"),
    _line("calibration_slope", calibration_slope, interval=calibration_slope.interval),
    _line("calibration_intercept", calibration_intercept, interval=calibration_intercept.interval),
]
PREVALENCE = Metric(
    "prevalence",
    prevalence,
    "pooled decisions",
    for_labels="each",
    interval=prevalence.interval,
)
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
        each = [m for m in fit if m.more_classes.endswith("each") and len(classes) > 2]
        means = [m for m in fit if m not in each or m.more_classes != "each"]
    named: dict[str, tuple[Metric, int | None]] = {m.name: (m, None) for m in means}
    for code, name in enumerate(classes):
        named |= {f"{metric.name}_{name}": (metric, code) for metric in each}
    return named


def metrics(
    table: pd.DataFrame, classes: Sequence[str], level: Level, names: Sequence[str] | None = None
) -> dict[str, float | None]:
    """The metrics of a level's table with label, predicted and prob_*: all, or these names."""
    cases, named = cases_of(table, classes), named_metrics(classes, level)
    wanted = named if names is None else {name: named[name] for name in names if name in named}
    return {name: metric.of(cases, target) for name, (metric, target) in wanted.items()}
