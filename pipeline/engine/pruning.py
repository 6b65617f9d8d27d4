"""Which jobs of a sweep end early: those that fall behind on the first folds' validation.

Test parts play no role in it: the values are those by which each fold has chosen its epoch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from pipeline.words import counted

NEEDED = 3
"""Jobs that must be done on all folds before one is stopped: fewer have no median to speak of."""
Validation = Mapping[int, float]
"""Fold -> the chosen epoch's validation metric."""


@dataclass(frozen=True)
class Pruned:
    """Why a job was stopped."""

    folds: tuple[int, ...]
    """That were done."""
    mean: float
    """Of their validation metric."""
    median: float
    """Of the jobs before, on the same folds."""
    objective: float
    """What a sweeper is given for the job. The mean of easy folds could beat that of all folds: it
    is never better than the median of the jobs before, over all folds.
    """

    @property
    def note(self) -> str:
        return (
            f"stopped after {counted(len(self.folds), 'fold')} (engine.prune_after): mean "
            f"{self.mean:.4f}, the jobs before have a median of {self.median:.4f} on the same folds"
        )


def first_folds(folds: Sequence[int], prune_after: int, num_before: int) -> Sequence[int]:
    """The folds to train before it is decided whether to go on; none where that is not asked."""
    return folds[:prune_after] if num_before >= NEEDED and prune_after < len(folds) else ()


def pruned(values: Validation, before: Sequence[Validation], lowest_first: bool) -> Pruned | None:
    """Is a job with these values of its first folds worse than the median of those before?

    `before`: the jobs that are done on all folds of the same plan. `lowest_first`: a small value
    is good, as of a loss.
    """
    peers = [of for of in before if values.keys() <= of.keys()]
    if not values or len(peers) < NEEDED:
        return None
    mean = fmean(values.values())
    usual = median(fmean(of[fold] for fold in values) for of in peers)
    if (mean <= usual) if lowest_first else (mean >= usual):
        return None
    whole = median(fmean(of.values()) for of in peers)
    objective = max(mean, whole) if lowest_first else min(mean, whole)
    return Pruned(tuple(sorted(values)), mean, usual, objective)
