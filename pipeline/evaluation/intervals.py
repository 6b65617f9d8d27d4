"""How sure an AUROC is: percentile bootstrap over patients, never over images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import AnyFloats, AnyInts, Bools, Floats, Floats32, Ints

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


def auroc_interval(
    labels: AnyInts,
    scores: AnyFloats,
    folds: AnyInts,
    patients: NDArray[Any],
    seed: int = 0,
    num_draws: int = 1000,
    coverage: float = 0.95,
) -> Interval | None:
    """Return the mean of the folds' AUROCs with its percentile bootstrap interval.

    `labels` (N,) class indices, `scores` (N, C), `folds` (N,), `patients` (N,) ids; a row is an
    image or a patient. Two classes: AUROC of the last; more: mean of one against the rest. The
    folds' AUROCs are averaged, not pooled: each fold's network has its own scale.

    Whole patients are drawn, stratified by class (of several, the latest) and by fold; a patient
    that several folds test is drawn for all of them at once, stratified by class only.

    None where a fold misses a class, or more than 1 draw in 20 does.
    """
    if scores.shape[0] != len(labels) or len(folds) != len(labels) or len(patients) != len(labels):
        raise RuntimeError(
            f"Expected {len(labels)} scores, folds and patients, got {scores.shape[0]}, "
            f"{len(folds)} and {len(patients)}."
        )
    value = float(_aurocs(labels, scores, folds, np.ones((1, len(labels)), np.float32))[0])
    if np.isnan(value):
        return None
    units, _ = pd.factorize(patients)
    generator = np.random.default_rng(seed)
    strata = _strata(labels, folds, units)
    at_once = max(1, _CELLS_AT_ONCE // max(1, len(labels)))
    counts = [min(at_once, num_draws - start) for start in range(0, num_draws, at_once)]
    weights = (_draw(strata, generator, count)[:, units] for count in counts)
    draws = np.concatenate([_aurocs(labels, scores, folds, chunk) for chunk in weights])
    defined = draws[~np.isnan(draws)]
    if len(defined) < (1 - _MOST_UNDEFINED) * num_draws:
        return None
    low, high = np.quantile(defined, [(1 - coverage) / 2, (1 + coverage) / 2])
    return Interval(value, float(low), float(high))


def _strata(labels: AnyInts, folds: AnyInts, units: Ints) -> list[Ints]:
    """The unit numbers of each stratum; together every unit once."""
    rows = pd.DataFrame({"unit": units, "label": labels, "fold": folds}).groupby("unit")
    table = rows.agg(label=("label", "max"), first=("fold", "min"), last=("fold", "max"))
    once = bool((table["first"] == table["last"]).all())
    keys = ["label", "first"] if once else ["label"]
    return [part.index.to_numpy(dtype=np.intp) for _, part in table.groupby(keys)]


def _draw(strata: Sequence[Ints], generator: np.random.Generator, num_draws: int) -> Floats32:
    """(num_draws, U): the weight of each unit, drawn with replacement within its stratum.

    Of n units n - 1 are drawn and weighted n / (n - 1) (Rao and Wu 1988): drawing n would make the
    spread too small by that factor, which counts where a fold has three patients of a class. A
    stratum of one unit adds no spread at all.
    """
    counts = np.zeros((num_draws, sum(len(stratum) for stratum in strata)), np.float32)
    for stratum in strata:
        size = len(stratum)
        num_picks = max(1, size - 1)
        picks = generator.integers(size, size=(num_draws, num_picks))
        cells = picks + size * np.arange(num_draws)[:, None]
        drawn = np.bincount(cells.ravel(), minlength=num_draws * size)
        counts[:, stratum] = drawn.reshape(num_draws, size) * (size / num_picks)
    return counts


def _aurocs(labels: AnyInts, scores: AnyFloats, folds: AnyInts, weights: Floats32) -> Floats:
    """(B,) mean over folds and targets of the AUROC under weights (B, N); nan if undefined."""
    num_classes = scores.shape[1]
    targets = [1] if num_classes == 2 else range(num_classes)
    values = [
        _weighted_auroc(labels[rows] == target, scores[rows, target], weights[:, rows])
        for fold in np.unique(folds)
        for rows in [np.flatnonzero(folds == fold)]
        for target in targets
    ]
    means: Floats = np.mean(values, axis=0)
    return means


def _weighted_auroc(positive: Bools, scores: AnyFloats, weights: Floats32) -> Floats:
    """(B,) share of concordant pairs, ties one half: one sort, then sums along it for all draws."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    sorted_weights = weights[:, order].astype(np.float64)
    above = np.add.reduceat(sorted_weights * positive[order], starts, axis=1)
    below = np.add.reduceat(sorted_weights * ~positive[order], starts, axis=1)
    concordant = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
    pairs = above.sum(axis=1) * below.sum(axis=1)
    shares = np.full(len(pairs), np.nan)
    np.divide(concordant, pairs, out=shares, where=pairs > 0)
    return shares
