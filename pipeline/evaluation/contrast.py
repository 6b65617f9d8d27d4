"""The difference of a metric between two groups of patients, and how sure it is.

The bounds of both sides are joined (Newcombe 1998; Zou and Donner 2008), so that the difference of
few patients, or of values near 1, has an interval as sound as theirs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Floats
from pipeline.evaluation.intervals import Interval, quantile

UNSURE, SURE = 0.01, 12.0
"""Standard errors of a difference that is none, and beyond which it is not measured."""


@dataclass(frozen=True)
class Measured:
    """A metric of some rows, and what its interval is made of."""

    value: float
    pulls: Floats
    """(U,) how far each unit moves it."""
    bounds: Callable[[float], tuple[float, float]]
    """Of the interval that reaches so many standard errors."""
    fewest: int
    """Units of the rarest class that it counts."""
    clustered: bool

    @property
    def interval(self) -> Interval:
        return Interval(self.value, *self.bounds(quantile(self.fewest, self.clustered)))


def difference(inside: Measured, outside: Measured) -> Interval:
    """The first less the second, with its 95 % interval."""
    fewest, clustered = _fewest(inside, outside)
    return _apart(inside, outside, quantile(fewest, clustered))


def _fewest(inside: Measured, outside: Measured) -> tuple[int, bool]:
    return min(inside.fewest, outside.fewest), inside.clustered or outside.clustered


def _apart(inside: Measured, outside: Measured, z: float) -> Interval:
    """The difference, from the bounds of both sides; units on both sides move both."""
    both = float(np.linalg.norm(inside.pulls) * np.linalg.norm(outside.pulls))
    alike = float(np.clip(inside.pulls @ outside.pulls / both, -1, 1)) if both > 0 else 0.0
    (low, high), (other_low, other_high) = inside.bounds(z), outside.bounds(z)

    def joined(one: float, other: float) -> float:
        return float(np.sqrt(max(0.0, one**2 + other**2 - 2 * alike * one * other)))

    value = inside.value - outside.value
    below = joined(inside.value - low, other_high - outside.value)
    above = joined(high - inside.value, outside.value - other_low)
    return Interval(value, value - below, value + above)


def p_of(inside: Measured, outside: Measured) -> float:
    """Two-sided: of the narrowest interval that holds 0."""
    from scipy.optimize import brentq
    from scipy.special import ndtr, stdtr

    value = inside.value - outside.value

    def beyond(z: float) -> float:
        """Above 0 where the interval holds no 0."""
        found = _apart(inside, outside, z)
        return found.low if value > 0 else -found.high

    if beyond(UNSURE) <= 0:
        return 1.0
    z = SURE if beyond(SURE) > 0 else float(brentq(beyond, UNSURE, SURE, xtol=1e-3))
    fewest, clustered = _fewest(inside, outside)
    return float(2 * (stdtr(max(1, fewest - 1), -z) if clustered else ndtr(-z)))
