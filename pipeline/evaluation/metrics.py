"""The table of metrics: what each is called, and what it is over folds and of several classes.

To add a metric: a function in `scores.py` or `calibration.py`, and its line in `METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from pipeline.arrays import AnyInts, Bools, Floats, Ints
from pipeline.evaluation import calibration, scores
from pipeline.evaluation.cases import Cases, LabelCases, cases_of
from pipeline.evaluation.draws import Draws
from pipeline.evaluation.intervals import Interval, Scale, drawn_interval, spread_interval
from pipeline.evaluation.scores import mean_of_all
from pipeline.label_names import Grades, LabelNames
from pipeline.levels import LEVELS, Level

NUM_DRAWS = 300
"""Of a bootstrap whose spread is asked for; its tails would take more."""


@runtime_checkable
class OfDraws(Protocol):
    """A function that takes all draws of a bootstrap at once."""

    def weighted(self, cases: Cases, weights: Floats) -> Floats:
        """(B,) where the cases count as often as weights (B, N) say; nan where undefined."""


@runtime_checkable
class Smooth(Protocol):
    """A function whose spread follows from how each case pulls it, without draws."""

    @property
    def straight_from(self) -> int:
        """From how many units of the rarest class on that is as good."""

    def pulls(self, cases: Cases) -> Floats:
        """(N,) by how much the value moves with the weight of each case."""


@runtime_checkable
class WithInterval(Protocol):
    """A function that has an interval of its own."""

    def interval(
        self, targets: Sequence[Cases], folds: AnyInts, units: AnyInts, /
    ) -> Interval | None:
        """Of the mean over targets, of cases in `folds` (N,) and of `units` (N,)."""


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
    of_grades: bool = False
    """Is it only of classes that are a scale (`manifest.ordered`)?"""
    for_labels: Literal["mean and each", "each", "not"] = "not"
    """With labels that do not exclude each other: the mean over labels and <name>_<label>, the
    latter only, or nothing."""
    levels: tuple[Level, ...] = LEVELS
    higher_is_better: bool = True
    validates: bool = False
    """Is it computed after every epoch, so that `training.select_by` may name it?"""
    interval: Callable[[Sequence[Cases], AnyInts, AnyInts], Interval | None] | None = None
    """Over folds, of the cases of its targets (the mean over targets), folds (N,), units (N,); by
    default that of the function if it has one, else a bootstrap of units."""
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
        own = self.function.interval if isinstance(self.function, WithInterval) else None
        if (interval := self.interval or own) is not None:
            return interval(self.targets(cases, target), folds, units)
        if (value := self.over(cases, target, folds)) is None:
            return None
        positive, draws = self.draws(cases, target, folds, units, NUM_DRAWS)
        with_it, without = (
            [len(np.unique(units[column])) for column in side.T if column.any()]
            for side in (positive, ~positive)
        )
        rarest = min(with_it + without, default=0)
        fewest = min(with_it, default=0) if self.scale == "share" else rarest
        if self.scale == "share" and not fewest:  # of nobody: how sure it is cannot be told
            return None
        num = fewest, len(np.unique(units))
        if isinstance(self.function, Smooth) and rarest >= self.function.straight_from:
            spread = draws.spread(self._pulls(self.function, cases, target, folds))
            return spread_interval(value, spread, num, self.scale)
        drawn = np.concatenate(
            [self.weighted(cases, target, folds, weights) for weights in draws.weights()]
        )
        return drawn_interval(value, drawn, draws.correction, num, self.scale)

    def draws(
        self,
        cases: Cases | LabelCases,
        target: int | None,
        folds: AnyInts,
        units: AnyInts,
        num: int,
    ) -> tuple[Bools, Draws]:
        """(N, T) the targets that draws are stratified by, and `num` draws.

        What is pooled does not ask for folds: units are drawn within their class alone.
        """
        positive = self._sides(cases, target)
        within = folds if self.over_folds == "mean over folds" else np.zeros_like(folds)
        return positive, Draws.of(positive, within, units, num)

    def _sides(self, cases: Cases | LabelCases, target: int | None) -> Bools:
        """(N, T) every class, but the first of two."""
        if target is None and isinstance(cases, Cases) and cases.num_classes > 2:
            found: Bools = cases.labels[:, None] == np.arange(cases.num_classes)
            return found
        return np.column_stack([of.labels == 1 for of in self.targets(cases, target)])

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

    def _pulls(
        self, function: Smooth, cases: Cases | LabelCases, target: int | None, folds: AnyInts
    ) -> Floats:
        """(N,) by how much each case moves the value over folds."""
        targets, parts = self.targets(cases, target), self._parts(folds)
        pulls = np.zeros(len(folds))
        for of_target in targets:
            for rows in parts:
                pulls[rows] += function.pulls(of_target.at(rows))
        return pulls / (len(targets) * len(parts))

    def _weighted(self, cases: Cases, weights: Floats) -> Floats:
        if isinstance(self.function, OfDraws):
            return self.function.weighted(cases, weights)
        every = np.arange(len(cases.labels))
        values = [self.function(cases.at(every.repeat(times))) for times in weights.astype(int)]
        return np.array([np.nan if value is None else value for value in values])

    def _of_parts(self, cases: Cases, folds: AnyInts) -> float | None:
        return mean_of_all([self.function(cases.at(rows)) for rows in self._parts(folds)])

    def _parts(self, folds: AnyInts) -> list[Ints | slice]:
        """The rows that are one value each: those of a fold, or all."""
        if self.over_folds == "mean over folds":
            return [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
        return [slice(None)]

    def _takes(self, cases: Cases) -> bool:
        """Does the function know all these classes?"""
        return self.more_classes == "as it is" or cases.num_classes == 2


_ranked = partial(
    Metric,
    over_folds="mean over folds",
    more_classes="mean and each",
    for_labels="mean and each",
    validates=True,
)
_decided = partial(Metric, over_folds="pooled decisions")
_of_class = partial(_decided, more_classes="each", for_labels="each")
_told = partial(Metric, over_folds="pooled probabilities", headline=False)
_loss = partial(_told, higher_is_better=False, scale="loss")
_line = partial(_told, more_classes="each", for_labels="each", scale="number")
METRICS = [
    _ranked("auroc", scores.auroc, interval=scores.interval_of_auroc),
    _ranked("average_precision", scores.average_precision),
    _decided(
        "balanced_accuracy", scores.balanced_accuracy, for_labels="mean and each", validates=True
    ),
    _decided("accuracy", scores.accuracy, least_classes=3),
    _of_class("sensitivity", scores.sensitivity),
    _of_class("specificity", scores.specificity),
    _of_class("ppv", scores.positive_predictive_value, headline=False),
    _of_class("npv", scores.negative_predictive_value, headline=False),
    _decided(
        "f1", scores.f1, more_classes="mean and each", for_labels="mean and each", headline=False
    ),
    _decided("mcc", scores.matthews, for_labels="each", scale="correlation", headline=False),
    _decided(
        "kappa",
        scores.weighted_kappa,
        least_classes=3,
        of_grades=True,
        validates=True,
        scale="correlation",
    ),
    _loss("brier", calibration.brier, for_labels="mean and each"),
    _told("brier_skill", calibration.brier_skill, for_labels="each", scale="skill"),
    _loss("log_loss", calibration.log_loss, for_labels="mean and each"),
    _loss("ece", calibration.expected_calibration_error, for_labels="each"),
    _line("calibration_slope", calibration.calibration_slope),
    _line("calibration_intercept", calibration.calibration_intercept),
]
PREVALENCE = _decided("prevalence", scores.prevalence, for_labels="each")
"""Of labels that do not exclude each other; what an average precision is compared with."""
VAL_METRICS = tuple(metric.name for metric in METRICS if metric.validates)


def named_metrics(
    classes: Sequence[str], level: Level, own: Sequence[Metric] = ()
) -> dict[str, tuple[Metric, int | None]]:
    """Name in metrics.json -> metric, and the class that it is of where each class has its own.

    In the order of metrics.json; `own` are a user's (`own_metrics.py`).
    """
    fit = [m for m in [*METRICS, *own] if len(classes) >= m.least_classes and level in m.levels]
    if isinstance(classes, LabelNames):
        means = [metric for metric in fit if metric.for_labels == "mean and each"]
        each = [metric for metric in fit if metric.for_labels != "not"] + [PREVALENCE]
    else:
        fit = [metric for metric in fit if isinstance(classes, Grades) or not metric.of_grades]
        each = [m for m in fit if m.more_classes.endswith("each") and len(classes) > 2]
        means = [m for m in fit if m not in each or m.more_classes != "each"]
    named: dict[str, tuple[Metric, int | None]] = {m.name: (m, None) for m in means}
    for code, name in enumerate(classes):
        named |= {f"{metric.name}_{name}": (metric, code) for metric in each}
    return named


def metrics(
    table: pd.DataFrame,
    classes: Sequence[str],
    level: Level,
    names: Sequence[str] | None = None,
    own: Sequence[Metric] = (),
) -> dict[str, float | None]:
    """The metrics of a level's table with label, predicted and prob_*: all, or these names."""
    cases, named = cases_of(table, classes), named_metrics(classes, level, own)
    wanted = named if names is None else {name: named[name] for name in names if name in named}
    return {name: metric.of(cases, target) for name, (metric, target) in wanted.items()}
