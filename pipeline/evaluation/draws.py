"""A bootstrap over units: patients are drawn with replacement, within their class and fold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import AnyFloats, AnyInts, Bools, Floats, Ints

_CELLS_AT_ONCE = 4_000_000  # weights held in memory: draws x rows


@dataclass(frozen=True)
class Draws:
    """How often each row counts in each draw; the same seed draws the same."""

    strata: Sequence[Ints]
    """The unit numbers of each stratum; together every unit once."""
    units: AnyInts
    """(N,) unit of each row."""
    num: int
    seed: int = 0

    @classmethod
    def of(
        cls, positive: Bools, folds: AnyInts, units: AnyInts, num: int, seed: int = 0
    ) -> "Draws":
        """Rows with targets `positive` (N, T), in `folds` (N,), of `units` (N,) from 0.

        A stratum is a class (the latest of a unit's) in a fold; where folds share units, a class.
        """
        labels = positive @ (1 << np.arange(positive.shape[1]))
        return cls(strata_of(labels, folds, units), units, num, seed)

    def weights(self) -> Iterator[Floats]:
        """(B, N) at a time, `num` draws in all."""
        generator = np.random.default_rng(self.seed)
        at_once = max(1, _CELLS_AT_ONCE // max(1, len(self.units)))
        for start in range(0, self.num, at_once):
            size = min(at_once, self.num - start)
            counts = np.zeros((size, sum(len(stratum) for stratum in self.strata)))
            for stratum in self.strata:
                many = len(stratum)
                picks = generator.integers(many, size=(size, many))
                cells = picks + many * np.arange(size)[:, None]
                drawn = np.bincount(cells.ravel(), minlength=size * many)
                counts[:, stratum] = drawn.reshape(size, many)
            yield counts[:, self.units]

    def spread(self, pulls: AnyFloats) -> float:
        """The standard error of a value that each row pulls by so much (N,): what draws come to."""
        whole = np.bincount(self.units, pulls)
        squares = 0.0
        for stratum in self.strata:
            of_units = whole[stratum]
            if (many := len(stratum)) > 1:  # one alone cannot vary: it counts as it is
                of_units = (of_units - of_units.mean()) * np.sqrt(many / (many - 1))
            squares += float(of_units @ of_units)
        return float(np.sqrt(squares))

    @property
    def correction(self) -> float:
        """What the spread of draws is too small by: n of n are drawn, not n - 1 (Rao, Wu 1988)."""
        smallest = min((len(of) for of in self.strata if len(of) > 1), default=2)
        return float(np.sqrt(smallest / (smallest - 1)))


def strata_of(labels: AnyInts, folds: AnyInts, units: AnyInts) -> list[Ints]:
    """The unit numbers of each class (the latest of a unit's) in each fold.

    Where several folds share units, a stratum is a class only.
    """
    num = int(units.max()) + 1
    latest, first, last = np.full(num, -1), np.full(num, folds.max()), np.full(num, folds.min())
    np.maximum.at(latest, units, labels)
    np.minimum.at(first, units, folds)
    np.maximum.at(last, units, folds)
    keys = np.column_stack([latest, first]) if (first == last).all() else latest[:, None]
    _, stratum = np.unique(keys, axis=0, return_inverse=True)
    return [np.flatnonzero(stratum == number) for number in range(stratum.max() + 1)]


def weighted_auroc(positive: Bools, scores: AnyFloats, weights: Floats) -> Floats:
    """(B,) share of concordant pairs, ties one half, under weights (B, N); nan where undefined."""
    order, starts = steps(scores)
    of_rows = weights[:, order]
    above = np.add.reduceat(of_rows * positive[order], starts, axis=1)
    below = np.add.reduceat(of_rows * ~positive[order], starts, axis=1)
    concordant = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
    return ratio(concordant, above.sum(axis=1) * below.sum(axis=1))


def weighted_average_precision(positive: Bools, scores: AnyFloats, weights: Floats) -> Floats:
    """(B,) of labels and scores (N,) under weights (B, N): one sort for all draws; nan without."""
    order, starts = steps(-scores)
    of_rows = weights[:, order]
    hits = np.add.reduceat(of_rows * positive[order], starts, axis=1)
    called = np.cumsum(np.add.reduceat(of_rows, starts, axis=1), axis=1)
    found = np.cumsum(hits, axis=1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return ratio((hits * precision).sum(axis=1), found[:, -1])


def pulls_of_average_precision(positive: Bools, scores: AnyFloats) -> Floats:
    """(N,) by how much the average precision moves with the weight of each row."""
    order, starts = steps(-scores)
    hits = np.add.reduceat(1.0 * positive[order], starts)
    called, found = np.append(starts[1:], len(order)), np.cumsum(hits)
    precision, total = found / called, found[-1]
    value = float(hits @ precision / total)
    # A row joins those called at its own score and at all lower ones.
    if_hit = np.cumsum((hits / called)[::-1])[::-1]
    if_not = np.cumsum((hits * precision / called)[::-1])[::-1]
    at = np.empty(len(order), np.int64)
    at[order] = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
    pulled: Floats = (positive * (precision[at] - value + if_hit[at]) - if_not[at]) / total
    return pulled


def weighted_counts(cells: AnyInts, num: int, weights: Floats) -> Floats:
    """(B, num) how much lies in each cell, of rows in `cells` (N,) under weights (B, N)."""
    order, starts = steps(cells)
    counts = np.zeros((len(weights), num))
    if len(cells):
        counts[:, cells[order][starts]] = np.add.reduceat(weights[:, order], starts, axis=1)
    return counts


def steps(values: AnyFloats | AnyInts) -> tuple[Ints, Ints]:
    """The order of rising values, and where in it a new value begins."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    return order, np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))


def ratio(parts: Floats, wholes: Floats) -> Floats:
    """nan where there is no whole."""
    found = np.full(len(parts), np.nan)
    np.divide(parts, wholes, out=found, where=wholes > 0)
    return found
