"""The interval of an AUROC: the mean over folds, patients as units, few positives or many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.arrays import AnyFloats, AnyInts, Bools, Floats
from pipeline.evaluation.intervals import Interval, alike, quantile

FEW, MANY = 10, 100
"""Units of the rarer class: below 10 the wider of both intervals counts, below 100 Newcombe's."""


def auroc_interval(
    positive: Bools, scores: AnyFloats, folds: AnyInts, units: AnyInts
) -> Interval | None:
    """The mean of the folds' AUROCs, of one or several targets, with its 95 % interval over units.

    `positive` and `scores` are (N, T): which rows have each target, and how sure the network is of
    it; `folds` (N,); `units` (N,) numbers from 0. The folds' AUROCs are averaged, not pooled: the
    network of each has a scale of its own. So are the targets'.

    With 100 units of the rarer class or more: DeLong's variance (1988), for several rows a unit in
    Obuchowski's form (1997), on the logit scale. With fewer, that variance is told by too few
    positives: Newcombe's method 5 (2006) takes it from the AUROC itself, times what the rows of a
    unit have in common. None where a fold lacks a class of a target.
    """
    shapes = {positive.shape, scores.shape, (len(folds), positive.shape[1])}
    if len(shapes) > 1 or len(units) != len(folds):
        raise RuntimeError(
            f"Expected labels and scores (N, T), folds and units (N,), got {positive.shape}, "
            f"{scores.shape}, {folds.shape} and {units.shape}."
        )
    if (targets := _targets(positive, scores, folds, units)) is None:
        return None
    found = Auroc(targets)
    return Interval(found.value, *found.bounds(quantile(found.fewest, found.clustered)))


def auroc_within(
    positive: Bools, scores: AnyFloats, strata: AnyInts, units: AnyInts
) -> "Auroc | None":
    """The share of concordant pairs among those within a stratum (N,), as of `auroc_interval`.

    A stratum counts as its pairs do, and one without both classes not at all: so few patients as a
    fold has of a group need not hold both. None where no stratum has a pair of a target.
    """
    found = []
    for side, score in zip(positive.T, scores.T, strict=True):
        _, stratum = np.unique(strata, return_inverse=True)
        num = _counts(side, stratum, int(stratum.max(initial=-1)) + 1)
        both = num.min(axis=1, initial=len(side)) > 0
        rows = both[stratum]
        if not rows.any():
            return None
        _, kept = np.unique(stratum[rows], return_inverse=True)
        num = num[both]
        weights = num.prod(axis=1) / num.prod(axis=1).sum()
        found.append(_Target.of(side[rows], score[rows], kept, units[rows], num, weights))
    size = int(units.max()) + 1
    return Auroc([target.padded(size) for target in found])


def paired_delong(
    positive: Bools, first: AnyFloats, second: AnyFloats, folds: AnyInts, units: AnyInts
) -> tuple[float, float] | None:
    """The second mean AUROC less the first, and its standard error (DeLong 1988; Obuchowski 1997).

    Arguments as of `auroc_interval`, with the scores of two runs on the same rows. None where a
    fold lacks a class of a target.
    """
    one, other = (_targets(positive, scores, folds, units) for scores in (first, second))
    if one is None or other is None:
        return None
    values = [float(np.mean([target.value for target in of])) for of in (one, other)]
    without, having = (
        np.mean([b.sides[side] - a.sides[side] for a, b in zip(one, other, strict=True)], axis=0)
        for side in (0, 1)
    )
    num = [
        min(len(np.unique(units[column == side])) for column in positive.T)
        for side in (False, True)
    ]
    variance = _corrected([without, having], num) + 2 * float(without @ having)
    return values[1] - values[0], float(np.sqrt(max(0.0, variance)))


def one_against_rest(labels: AnyInts, scores: AnyFloats) -> tuple[Bools, AnyFloats]:
    """(N, T) targets and their scores, of class indices (N,) and scores (N, C).

    Of two classes the last is the one target; of more, each against the rest.
    """
    targets = [1] if scores.shape[1] == 2 else list(range(scores.shape[1]))
    return labels[:, None] == np.array(targets), scores[:, targets]


@dataclass(frozen=True)
class _Target:
    """One class against the rest, in all folds."""

    value: float
    sides: list[Floats]
    """(U,) how far each unit moves the value, by its rows without and by those with the target."""
    variance: float
    """Obuchowski's; DeLong's where a unit has one row."""
    model: Callable[[float], float]
    """Newcombe's variance at an AUROC."""
    num_units: int
    """Of the rarer class."""
    clustered: bool

    @classmethod
    def of(
        cls,
        positive: Bools,
        scores: AnyFloats,
        fold_of: AnyInts,
        units: AnyInts,
        num: AnyInts,
        weights: Floats,
    ) -> "_Target":
        """`num` (F, 2): rows of each fold without and with the target; `weights` (F,) sum to 1."""
        num_folds = len(num)
        placed = np.empty(len(scores))
        for fold in range(num_folds):
            rows = np.flatnonzero(fold_of == fold)
            placed[rows] = _placements(positive[rows], scores[rows])
        own = num[fold_of, 1 * positive]  # (N,) rows of its class in its fold
        sums = np.bincount(fold_of[positive], placed[positive])
        value = min(1.0, float(weights @ (sums / num[:, 1])))
        pull = weights[fold_of] * (placed - value) / own
        size = int(units.max()) + 1
        sides = [np.flatnonzero(positive == side) for side in (False, True)]
        of_units: list[Floats] = [
            np.bincount(units[rows], pull[rows], minlength=size).astype(np.float64)
            for rows in sides
        ]
        num_units = [len(np.unique(units[rows])) for rows in sides]
        variance = _corrected(of_units, num_units) + 2 * float(of_units[0] @ of_units[1])
        apart = _corrected([pull[rows] for rows in sides], [len(rows) for rows in sides])
        clustered = max(num_units) < max(map(len, sides)) or bool(
            np.intersect1d(units[sides[0]], units[sides[1]]).size
        )
        worth = max(1.0, variance / apart) if clustered and apart > 0 else 1.0

        def model(auroc: float) -> float:
            return worth * float(weights**2 @ _newcombe_variance(auroc, num))

        return cls(value, of_units, max(variance, 0.0), model, min(num_units), clustered)

    @property
    def pulls(self) -> Floats:
        """(U,) how far each unit moves the value."""
        return self.sides[0] + self.sides[1]

    def padded(self, size: int) -> "_Target":
        """The same with as many units, of which the last move nothing."""
        longer = [np.pad(side, (0, size - len(side))) for side in self.sides]
        return replace(self, sides=longer)


@dataclass(frozen=True)
class Auroc:
    """The mean AUROC of one or several targets, and what its interval is made of."""

    targets: list[_Target]

    @property
    def value(self) -> float:
        return float(np.mean([target.value for target in self.targets]))

    @property
    def pulls(self) -> Floats:
        """(U,) how far each unit moves the value."""
        found: Floats = np.mean([target.pulls for target in self.targets], axis=0)
        return found

    @property
    def fewest(self) -> int:
        """Units of the rarest class."""
        return min(target.num_units for target in self.targets)

    @property
    def clustered(self) -> bool:
        """Has a unit several rows?"""
        return any(target.clustered for target in self.targets)

    def bounds(self, z: float) -> tuple[float, float]:
        """Of the interval that reaches `z` standard errors."""
        targets, value, rarest = self.targets, self.value, self.fewest
        together = alike(np.array([target.pulls for target in targets]))
        share = float(together.sum()) / len(targets) ** 2 if len(targets) > 1 else 1.0
        share = min(1.0, max(share, 1 / len(targets) ** 2))
        found = [_newcombe(value, z, [target.model for target in targets], share)]
        if 0 < value < 1 and (rarest < FEW or rarest >= MANY):
            error = np.sqrt(share) * float(np.mean([np.sqrt(t.variance) for t in targets]))
            found.append(_logit(value, z * error))
        if rarest >= MANY:
            found = found[-1:]
        return min(low for low, _ in found), max(high for _, high in found)


def _targets(
    positive: Bools, scores: AnyFloats, folds: AnyInts, units: AnyInts
) -> "list[_Target] | None":
    """Each target in all folds; None where a fold lacks a class of one."""
    in_folds, fold_of = np.unique(folds, return_inverse=True)
    columns = range(positive.shape[1])
    num = [_counts(positive[:, t], fold_of, len(in_folds)) for t in columns]
    if not all((counts > 0).all() for counts in num):
        return None
    same = np.full(len(in_folds), 1 / len(in_folds))
    return [_Target.of(positive[:, t], scores[:, t], fold_of, units, num[t], same) for t in columns]


def _counts(positive: Bools, fold_of: AnyInts, num_folds: int) -> AnyInts:
    """(F, 2) rows without and with the target."""
    cells = np.bincount(2 * fold_of + positive, minlength=2 * num_folds)
    return cells.reshape(num_folds, 2)


def _placements(positive: Bools, scores: AnyFloats) -> Floats:
    """(N,) of a positive row the share of negatives below it, of a negative of positives above."""
    above, below = np.sort(scores[positive]), np.sort(scores[~positive])
    placed = np.empty(len(scores))
    for rows, others in ((positive, below), (~positive, above)):
        sides = [np.searchsorted(others, scores[rows], side) for side in ("left", "right")]
        placed[rows] = (sides[0] + sides[1]) / (2 * len(others))
    placed[~positive] = 1 - placed[~positive]
    return placed


def _corrected(pulls: Sequence[Floats], num: Sequence[int]) -> float:
    """The variance that both classes make, as if they had nothing in common."""
    return sum(n / max(1, n - 1) * float(side @ side) for side, n in zip(pulls, num, strict=True))


def _newcombe_variance(auroc: float, num: AnyInts) -> Floats:
    """(F,) of Newcombe's method 5: Hanley and McNeil's with the mean size for both classes."""
    without, having = num[:, 0], num[:, 1]
    rest = (without + having) / 2 - 1
    pairs = 1 + rest * ((1 - auroc) / (2 - auroc) + auroc / (1 + auroc))
    found: Floats = auroc * (1 - auroc) * pairs / (without * having)
    return found


def _newcombe(
    value: float, z: float, models: list[Callable[[float], float]], share: float
) -> tuple[float, float]:
    """The AUROCs that lie no more than `z` of their own standard errors from the value."""
    from scipy.optimize import brentq

    def beyond(auroc: float) -> float:
        error = np.sqrt(share) * np.mean([np.sqrt(model(auroc)) for model in models])
        return float(abs(auroc - value) - z * error)

    near = 1e-9
    low = 0.0 if value <= near else float(brentq(beyond, 0.0, value - near * value))
    high = 1.0 if value >= 1 - near else float(brentq(beyond, value + near * (1 - value), 1.0))
    return low, high


def _logit(value: float, reach: float) -> tuple[float, float]:
    """Bounds at a distance of `reach` on the scale of the value, taken on that of its logit."""
    centre, far = np.log(value / (1 - value)), reach / (value * (1 - value))
    low, high = (float(1 / (1 + np.exp(-(centre + side * far)))) for side in (-1, 1))
    return low, high
