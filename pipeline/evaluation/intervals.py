"""How sure a number is: 95 % intervals over patients, never over images.

A *unit* is what can be drawn independently: a patient, or a leakage group of several. Images of one
unit, and the same unit in the folds of several repeats, count together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.arrays import AnyFloats, AnyInts, Bools, Floats

COVERAGE = 0.95
Scale = Literal["share", "correlation", "loss", "number"]
BOUNDS: dict[Scale, tuple[float, float]] = {
    "share": (0.0, 1.0),
    "correlation": (-1.0, 1.0),
    "loss": (0.0, math.inf),
    "number": (-math.inf, math.inf),
}
FEWEST_UNITS = 5
"""Of a class: with fewer, how alike a unit's images are cannot be told, and they count as one."""

MOST_UNDEFINED = 0.05
"""Share of draws in which a value may be undefined."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the bounds of its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_of_shares_interval(
    pairs: Sequence[tuple[Bools, Bools]], units: AnyInts, z: float | None = None
) -> Interval | None:
    """The mean of C shares, each of the rows (N,) that count and that are right; `units` (N,).

    It reaches `z` standard errors, by default those of 95 %.

    Wilson's interval (1927) for each share, of as many rows as the images of a unit are worth
    independent ones; the shares' distances are joined as Zou and Donner (2008) do, with the
    correlation that units with rows in several shares make. None where a share counts no row.
    """
    if not all(rows.any() for rows, _ in pairs):
        return None
    shares = [_wilson(hits[rows], units[rows], z) for rows, hits in pairs]
    together = alike(pulls_of_shares(pairs, units))
    value = float(np.mean([share.value for share in shares]))
    below, above = (
        np.array([abs(bound - share.value) for share, bound in zip(shares, bounds, strict=True)])
        for bounds in ([s.low for s in shares], [s.high for s in shares])
    )
    low, high = (float(np.sqrt(d @ together @ d)) / len(shares) for d in (below, above))
    return Interval(value, max(0.0, value - low), min(1.0, value + high))


def pulls_of_shares(pairs: Sequence[tuple[Bools, Bools]], units: AnyInts) -> Floats:
    """(C, U) how far each unit moves each share, of which no one is of no rows."""
    size = int(units.max()) + 1
    found = [
        np.bincount(units, rows * (hits - hits[rows].mean()), minlength=size) / rows.sum()
        for rows, hits in pairs
    ]
    return np.array(found)


def alike(pulls: Floats) -> Floats:
    """(C, C) correlation of how units pull C values, from (C, U); 1 where nothing is known."""
    products = pulls @ pulls.T
    sizes = np.sqrt(np.diag(products))
    scale = np.outer(sizes, sizes)
    found = np.ones_like(products)
    np.divide(products, scale, out=found, where=scale > 0)
    if (pulls != 0).sum(axis=0).max(initial=0) <= 1:  # no unit pulls two: independent
        found = np.eye(len(pulls))
    return found.clip(-1, 1)


def quantile(num_units: int, clustered: bool) -> float:
    """How many standard errors; more where their size is told by few units with several rows."""
    from scipy.special import ndtri, stdtrit  # scipy.stats would take a second to import

    middle = (1 + COVERAGE) / 2
    return float(stdtrit(max(1, num_units - 1), middle) if clustered else ndtri(middle))


def shares_interval(
    hits: AnyInts | AnyFloats, rows: AnyInts, z: float | None = None
) -> tuple[Floats, Floats, Floats]:
    """K shares and their bounds, (K,) each, of how many `rows` and `hits`, (U, K), a unit has.

    Wilson's interval, of as many rows as those of a unit are worth independent ones, that reaches
    `z` standard errors (by default those of 95 %). Every share counts a row; `rows` are (U, 1)
    where all count the same.
    """
    num, num_units = rows.sum(axis=0), (rows > 0).sum(axis=0)
    share: Floats = hits.sum(axis=0) / num
    clustered = num > num_units
    as_if_one = num**2 / (rows**2).sum(axis=0)  # the rows of a unit
    pulls = pulling(hits, hits, rows)
    spread = num_units / np.maximum(1, num_units - 1) * pulls / num**2
    told = np.divide(share * (1 - share), spread, out=share * 0 + num, where=spread > 0)
    known = (share > 0) & (share < 1) & (num_units >= FEWEST_UNITS)
    worth = np.where(clustered, np.where(known, np.minimum(num, told), as_if_one), num)
    quantiles = [quantile(*of) for of in zip(num_units, clustered, strict=True)]
    z2 = np.array(quantiles if z is None else [z] * len(quantiles)) ** 2
    middle = (share + z2 / (2 * worth)) / (1 + z2 / worth)
    half = np.sqrt(z2 * (share * (1 - share) / worth + z2 / (4 * worth**2))) / (1 + z2 / worth)
    return share, np.maximum(0.0, middle - half), np.minimum(1.0, middle + half)


def pulling(one: AnyInts | AnyFloats, other: AnyInts | AnyFloats, rows: AnyInts) -> Floats:
    """(K,) sums over units of how far each pulls two shares, (U, K) each, times one another."""
    shares = [hits.sum(axis=0) / rows.sum(axis=0) for hits in (one, other)]
    # multiplied out, since an array of differences would be large
    together = np.einsum("uk,uk->k", one, other)
    apart = [np.einsum("uk,uk->k", hits, rows) for hits in (one, other)]
    found: Floats = together - shares[0] * apart[1] - shares[1] * apart[0]
    found += shares[0] * shares[1] * (rows**2).sum(axis=0)
    return found


def _wilson(right: Bools, units: AnyInts, z: float | None) -> Interval:
    _, codes, rows = np.unique(units, return_inverse=True, return_counts=True)
    hits = np.bincount(codes, right)
    bounds = shares_interval(hits[:, None], rows[:, None], z)
    return Interval(*(float(bound[0]) for bound in bounds))


def drawn_interval(
    value: float, drawn: Floats, correction: float, fewest: int, scale: Scale
) -> Interval | None:
    """A value whose spread `drawn` (B,) values tell; of a share on the logit scale.

    `fewest` units have the rarest target. The spread of a share is no less than that of a share of
    as many units (Boyd, Eng and Page 2013), since few positives vary less among themselves than
    they would in another sample. None where more than 1 draw in 20 is undefined.
    """
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < (1 - MOST_UNDEFINED) * len(drawn):
        return None
    spread, many = correction * float(defined.std(ddof=1)), quantile(fewest, clustered=True)
    if scale != "share":
        least, most = BOUNDS[scale]
        return Interval(value, max(least, value - many * spread), min(most, value + many * spread))
    inside = float(np.clip(value, 0.5 / (fewest + 1), 1 - 0.5 / (fewest + 1)))
    of_a_share = float(np.sqrt(inside * (1 - inside) / fewest))
    reach = many * max(spread, of_a_share) / (inside * (1 - inside))
    centre = np.log(inside / (1 - inside))
    low, high = (float(1 / (1 + np.exp(-(centre + side * reach)))) for side in (-1, 1))
    return Interval(value, min(low, value), max(high, value))
