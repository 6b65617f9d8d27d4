"""Is one run better than another? Paired over patients: both have judged the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import AnyInts, Floats
from pipeline.evaluation.auroc import paired_delong
from pipeline.evaluation.cases import Cases, LabelCases
from pipeline.evaluation.intervals import MOST_UNDEFINED, Interval, quantile
from pipeline.evaluation.metrics import Metric

NUM_DRAWS = 2000
LEVEL = 0.05
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Pair:
    """The same N rows, judged by two runs."""

    first: Cases | LabelCases
    second: Cases | LabelCases
    folds: AnyInts
    """(N,)"""
    units: AnyInts
    """(N,) what is independent: a patient, or a leakage group; numbers from 0."""


@dataclass(frozen=True)
class Difference:
    """The second run's value less the first's; what cannot be computed is None."""

    first: float
    second: float
    interval: Interval
    """95 %, by a paired bootstrap over patients."""
    p: float
    """Two-sided, of the same bootstrap."""
    probability: float
    """Share of draws in which the second is better."""
    per_fold: Sequence[float | None]
    p_delong: float | None
    """Of AUROCs only."""
    p_mcnemar: float | None
    """Of the decisions of patients only."""
    p_folds: float | None
    """Nadeau and Bengio's t test over folds, of folds that rotate."""


def difference(
    pair: Pair, metric: Metric, target: int | None, test_over_train: float | None
) -> Difference | None:
    """None where the metric is undefined for one of the runs, or in more than 1 draw in 20.

    `test_over_train`: patients that a fold tests, as a share of those that it trains on.
    """
    both = pair.first, pair.second
    first, second = (metric.over(cases, target, pair.folds) for cases in both)
    if first is None or second is None:
        return None
    positive, draws = metric.draws(pair.first, target, pair.folds, pair.units, NUM_DRAWS)
    drawn = np.concatenate(
        [
            metric.weighted(pair.second, target, pair.folds, weights)
            - metric.weighted(pair.first, target, pair.folds, weights)
            for weights in draws.weights()
        ]
    )
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) < (1 - MOST_UNDEFINED) * NUM_DRAWS:
        return None
    sides = [len(np.unique(pair.units[column == has])) for column in positive.T for has in (0, 1)]
    fewest = max(2, min(sides))
    found, error = second - first, draws.correction * float(drawn.std(ddof=1))
    reach = quantile(fewest, clustered=True) * error
    better = drawn > 0 if metric.higher_is_better else drawn < 0
    per_fold = _per_fold(pair, metric, target)
    return Difference(
        first,
        second,
        Interval(found, found - reach, found + reach),
        _two_sided(found, error, fewest - 1),
        float(better.mean() + (drawn == 0).mean() / 2),
        per_fold,
        _delong(pair, metric, target, fewest) if metric.name == "auroc" else None,
        _mcnemar(pair) if target is None else None,
        None if test_over_train is None else corrected_t(per_fold, test_over_train),
    )


def corrected_t(differences: Sequence[float | None], test_over_train: float) -> float | None:
    """Two-sided p of the mean difference over J folds (Nadeau and Bengio 2003).

    Folds share their training patients, so that their differences are alike: the variance of the
    mean is (1/J + test/train) times that of the differences, not 1/J. None for fewer than 2 folds,
    where a fold has no value, and where all folds differ by the same.
    """
    values = [value for value in differences if value is not None]
    if len(values) < max(2, len(differences)):
        return None
    if np.ptp(values) < _ROUNDING:
        return None
    spread = float(np.var(values, ddof=1)) * (1 / len(values) + test_over_train)
    return _two_sided(float(np.mean(values)), float(np.sqrt(spread)), len(values) - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values for all of them together (Holm 1979), in their order."""
    order = np.argsort(p_values, kind="stable")
    scaled = [p_values[at] * (len(p_values) - place) for place, at in enumerate(order)]
    adjusted = np.minimum(1.0, np.maximum.accumulate(scaled))
    found = np.empty(len(p_values))
    found[order] = adjusted
    return [float(value) for value in found]


def verdict(found: Difference, p: float, metric: Metric, first: str, second: str) -> str:
    """One plain sentence; `p` is that of all comparisons together."""
    gain = found.interval.value if metric.higher_is_better else -found.interval.value
    low, high = found.interval.low, found.interval.high
    numbers = f"{metric.name} {found.interval.value:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
    if p < LEVEL:
        which = "better" if gain > 0 else "worse"
        return f"{second} is {which} than {first}: {numbers}, p = {p:.2g}."
    return (
        f"No difference between {second} and {first} is shown: {numbers}, p = {p:.2g}. That is no "
        "proof that they are equal: the interval says how far apart they may be."
    )


def _two_sided(value: float, error: float, degrees: int) -> float:
    from scipy.special import stdtr

    if error == 0:
        return 1.0 if value == 0 else 0.0
    return float(2 * stdtr(max(1, degrees), -abs(value) / error))


def _per_fold(pair: Pair, metric: Metric, target: int | None) -> list[float | None]:
    found: list[float | None] = []
    for fold in np.unique(pair.folds):
        rows = np.flatnonzero(pair.folds == fold)
        first, second = (metric.of(cases.at(rows), target) for cases in (pair.first, pair.second))
        found.append(None if first is None or second is None else second - first)
    return found


def _delong(pair: Pair, metric: Metric, target: int | None, fewest: int) -> float | None:
    """DeLong's paired test, by Student's t: few positives tell too small an error now and then."""
    columns: list[Floats] = []
    for cases in (pair.first, pair.second):
        targets = metric.targets(cases, target)
        columns.append(np.column_stack([of.probabilities[:, 1] for of in targets]))
    labels = np.column_stack([of.labels == 1 for of in metric.targets(pair.first, target)])
    found = paired_delong(labels, columns[0], columns[1], pair.folds, pair.units)
    return None if found is None else _two_sided(*found, fewest - 1)


def _mcnemar(pair: Pair) -> float | None:
    """Exact (binomial) p of the patients that one of both alone decides rightly."""
    from scipy.stats import binomtest

    if not isinstance(pair.first, Cases) or not isinstance(pair.second, Cases):
        return None
    if len(np.unique(pair.units)) < len(pair.units):
        return None  # rows of one patient are not independent
    right = [cases.predicted == cases.labels for cases in (pair.first, pair.second)]
    alone = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    return float(binomtest(alone[0], sum(alone)).pvalue) if sum(alone) else 1.0
