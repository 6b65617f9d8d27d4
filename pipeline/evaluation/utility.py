"""A decision curve: is it worth to decide by the model, rather than to treat all or nobody?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import AnyFloats, AnyInts, Floats
from pipeline.evaluation.cases import Cases
from pipeline.evaluation.intervals import pulling, shares_interval

THRESHOLDS: Floats = np.arange(1, 100) / 100


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit at T threshold probabilities, in true positives per case; (T,) each.

    That of treating nobody is 0.
    """

    thresholds: Floats
    model: Floats
    low: Floats
    """95 % interval of `model`, over units."""
    high: Floats
    treat_all: Floats


def decision_curve(
    cases: Cases, units: AnyInts, thresholds: AnyFloats = THRESHOLDS
) -> DecisionCurve:
    """The curve of N cases of two classes, of `units` (N,): patients or leakage groups.

    Who treats from a threshold probability t on takes t / (1 - t) false positives for one true
    positive: net benefit = TP / N - FP / N * t / (1 - t) (Vickers and Elkin 2006). The decisions of
    all folds are counted together. The interval joins Wilson's intervals of both shares (Zou and
    Donner 2008), with the correlation that they have, and is widened where the cases of a unit are
    alike.

    Raises:
        RuntimeError: more than two classes, no case, or thresholds that do not rise from 0 on and
            stay below 1.
    """
    if cases.num_classes != 2 or not len(cases.labels):
        raise RuntimeError(f"Expected cases of 2 classes, got {len(units)} of {cases.num_classes}.")
    at = np.asarray(thresholds, np.float64)
    if not (at.size and at[0] >= 0 and at[-1] < 1 and (np.diff(at) > 0).all()):
        raise RuntimeError(f"Expected rising thresholds from 0 to below 1, got {at.tolist()}.")
    _, codes, sizes = np.unique(units, return_inverse=True, return_counts=True)
    reached = np.searchsorted(at, cases.probabilities[:, 1], side="right")  # (N,) of thresholds
    alarms, hits = (
        _called(codes[cases.labels == label], reached[cases.labels == label], len(sizes), len(at))
        for label in (0, 1)
    )
    weights = at / (1 - at)
    rows = sizes[:, None]
    (of_hits, *hit_bounds), (of_alarms, *alarm_bounds) = (
        shares_interval(counts, rows) for counts in (hits, alarms)
    )
    together = _correlation(hits, alarms, rows)
    found = of_hits - weights * of_alarms
    low, high = (
        _joined(
            np.abs(hit_bounds[side] - of_hits),
            weights * np.abs(alarm_bounds[1 - side] - of_alarms),
            together,
        )
        for side in (0, 1)
    )
    share = float(cases.labels.mean())
    return DecisionCurve(at, found, found - low, found + high, share - weights * (1 - share))


def _called(units: AnyInts, reached: AnyInts, num_units: int, num: int) -> AnyInts:
    """(U, T) how many cases of each unit are called positive at each threshold."""
    cells = np.bincount(units * (num + 1) + reached, minlength=num_units * (num + 1))
    of_units = cells.reshape(num_units, num + 1)
    above: AnyInts = of_units[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    return above


def _correlation(hits: AnyInts, alarms: AnyInts, rows: AnyInts) -> Floats:
    """(T,) of how units pull both shares; 0 where one does not vary."""
    products = pulling(hits, alarms, rows)
    squares = pulling(hits, hits, rows) * pulling(alarms, alarms, rows)
    found = np.zeros_like(products)
    np.divide(products, np.sqrt(np.maximum(0.0, squares)), out=found, where=squares > 0)
    return found.clip(-1, 1)


def _joined(one: Floats, other: Floats, correlation: Floats) -> Floats:
    """The distance of a bound of a difference, from those of its two terms."""
    squares = one**2 + other**2 - 2 * correlation * one * other
    joined: Floats = np.sqrt(np.maximum(0.0, squares))
    return joined
