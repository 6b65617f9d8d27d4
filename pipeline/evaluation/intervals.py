"""How sure a number is: 95 % intervals over patients, never over images.

A *unit* is what can be drawn independently: a patient, or a leakage group of several. Images of one
unit, and the same unit in the folds of several repeats, count together.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.arrays import AnyFloats, AnyInts, Bools, Floats, Ints

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

_CELLS_AT_ONCE = 4_000_000  # weights held in memory: draws x rows
_MOST_UNDEFINED = 0.05


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the bounds of its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_of_shares_interval(
    pairs: Sequence[tuple[Bools, Bools]], units: AnyInts
) -> Interval | None:
    """The mean of C shares, each of the rows (N,) that count and that are right; `units` (N,).

    Wilson's interval (1927) for each share, of as many rows as the images of a unit are worth
    independent ones; the shares' distances are joined as Zou and Donner (2008) do, with the
    correlation that units with rows in several shares make. None where a share counts no row.
    """
    if not all(rows.any() for rows, _ in pairs):
        return None
    shares = [_wilson(hits[rows], units[rows]) for rows, hits in pairs]
    pulls = [
        np.bincount(units, rows * (hits - share.value), minlength=int(units.max()) + 1)
        for (rows, hits), share in zip(pairs, shares, strict=True)
    ]
    together = alike(np.array(pulls))
    value = float(np.mean([share.value for share in shares]))
    below, above = (
        np.array([abs(bound - share.value) for share, bound in zip(shares, bounds, strict=True)])
        for bounds in ([s.low for s in shares], [s.high for s in shares])
    )
    low, high = (float(np.sqrt(d @ together @ d)) / len(shares) for d in (below, above))
    return Interval(value, max(0.0, value - low), min(1.0, value + high))


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


def _wilson(right: Bools, units: AnyInts) -> Interval:
    _, codes, rows = np.unique(units, return_inverse=True, return_counts=True)
    num, num_units, share = len(right), len(rows), float(right.mean())
    clustered = num > num_units
    worth = float(num)
    if clustered:
        worth = num**2 / float((rows**2).sum())  # as if the rows of a unit were one
        if 0 < share < 1 and num_units >= FEWEST_UNITS:
            totals = np.bincount(codes, right - share)
            spread = num_units / (num_units - 1) * float((totals**2).sum()) / num**2
            worth = min(float(num), share * (1 - share) / spread) if spread > 0 else float(num)
    z2 = quantile(num_units, clustered) ** 2
    middle = (share + z2 / (2 * worth)) / (1 + z2 / worth)
    half = np.sqrt(z2 * (share * (1 - share) / worth + z2 / (4 * worth**2))) / (1 + z2 / worth)
    return Interval(share, max(0.0, float(middle - half)), min(1.0, float(middle + half)))


def drawn_interval(
    value: Callable[[Floats], Floats],
    positive: Bools,
    folds: AnyInts,
    units: AnyInts,
    num_draws: int = 500,
    scale: Scale = "share",
    whole: bool = False,
) -> Interval | None:
    """A value whose spread a bootstrap over units tells; of a share on the logit scale.

    `value` maps weights (B, N) to (B,), nan where undefined; `positive` (N, T). Units are drawn
    within their class and fold. The spread of a share is no less than that of a share of as many
    positive units (Boyd, Eng and Page 2013), since few positives vary less among themselves than
    they would in another sample. `whole`: weights are whole numbers. None where the value is
    undefined, or more than 1 draw in 20 is.
    """
    (found,) = value(np.ones((1, len(folds)))).tolist()
    if np.isnan(found):
        return None
    generator = np.random.default_rng(0)
    strata = strata_of(positive @ (1 << np.arange(positive.shape[1])), folds, units)
    at_once = max(1, _CELLS_AT_ONCE // max(1, len(folds)))
    sizes = [min(at_once, num_draws - start) for start in range(0, num_draws, at_once)]
    drawn = [value(_draw(strata, generator, size, whole)[:, units]) for size in sizes]
    draws = np.concatenate(drawn)
    draws = draws[~np.isnan(draws)]
    if len(draws) < (1 - _MOST_UNDEFINED) * num_draws:
        return None
    fewest = min(len(np.unique(units[positive[:, t]])) for t in range(positive.shape[1]))
    spread = float(draws.std(ddof=1))
    if whole:  # n of n were drawn: too small a spread by this factor
        smallest = min((len(stratum) for stratum in strata if len(stratum) > 1), default=2)
        spread *= float(np.sqrt(smallest / (smallest - 1)))
    many = quantile(fewest, clustered=True)
    if scale != "share":
        least, most = BOUNDS[scale]
        return Interval(found, max(least, found - many * spread), min(most, found + many * spread))
    inside = float(np.clip(found, 0.5 / (fewest + 1), 1 - 0.5 / (fewest + 1)))
    of_a_share = float(np.sqrt(inside * (1 - inside) / fewest))
    reach = many * max(spread, of_a_share) / (inside * (1 - inside))
    centre = np.log(inside / (1 - inside))
    low, high = (float(1 / (1 + np.exp(-(centre + side * reach)))) for side in (-1, 1))
    return Interval(found, min(low, found), max(high, found))


def strata_of(labels: AnyInts, folds: AnyInts, units: AnyInts) -> list[Ints]:
    """The unit numbers of each stratum, a class (the latest of a unit's) in a fold.

    Together every unit once; where several folds share units, a stratum is a class only.
    """
    num = int(units.max()) + 1
    latest, first, last = np.full(num, -1), np.full(num, folds.max()), np.full(num, folds.min())
    np.maximum.at(latest, units, labels)
    np.minimum.at(first, units, folds)
    np.maximum.at(last, units, folds)
    keys = np.column_stack([latest, first]) if (first == last).all() else latest[:, None]
    _, stratum = np.unique(keys, axis=0, return_inverse=True)
    return [np.flatnonzero(stratum == number) for number in range(stratum.max() + 1)]


def _draw(
    strata: Sequence[Ints], generator: np.random.Generator, num_draws: int, whole: bool
) -> Floats:
    """(num_draws, U): the weight of each unit, drawn with replacement within its stratum.

    Of n units n - 1 are drawn and weighted n / (n - 1) (Rao and Wu 1988): drawing n would make the
    spread too small by that factor, which counts where a fold has three patients of a class. A
    stratum of one unit adds no spread at all. `whole`: n are drawn, and weighted 1.
    """
    counts = np.zeros((num_draws, sum(len(stratum) for stratum in strata)))
    for stratum in strata:
        size = len(stratum)
        num_picks = size if whole else max(1, size - 1)
        picks = generator.integers(size, size=(num_draws, num_picks))
        cells = picks + size * np.arange(num_draws)[:, None]
        drawn = np.bincount(cells.ravel(), minlength=num_draws * size)
        counts[:, stratum] = drawn.reshape(num_draws, size) * (size / num_picks)
    return counts


def weighted_average_precision(positive: Bools, scores: AnyFloats, weights: Floats) -> Floats:
    """(B,) of labels and scores (N,) under weights (B, N): one sort for all draws; nan without."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    of_rows = weights[:, order]
    hits = np.add.reduceat(of_rows * positive[order], starts, axis=1)
    called = np.cumsum(np.add.reduceat(of_rows, starts, axis=1), axis=1)
    found = np.cumsum(hits, axis=1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    whole = found[:, -1]
    areas = np.full(len(weights), np.nan)
    np.divide((hits * precision).sum(axis=1), whole, out=areas, where=whole > 0)
    return areas
