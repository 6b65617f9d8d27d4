"""What chance gives: the same statistic for labels that are shuffled between patients.

The images of a patient are alike, so that chance is wider than the number of images says.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from pipeline.arrays import AnyFloats, Ints

NUM_SHUFFLES = 2000
COVERAGE = 0.998
"""Of the shuffles; so seldom does chance alone fail a check that is right."""

Statistic = Callable[[Ints], float]


class LabelsByPatient:
    """(N,) labels, or (N, L), that can be dealt to other patients, all of a patient's together.

    Of several labels, an image's whole set is dealt. A patient with more images than the one whose
    labels it gets repeats them from the first on.
    """

    def __init__(self, labels: Ints, patients: NDArray[np.object_]) -> None:
        self.owner, _ = pd.factorize(patients)
        order = np.argsort(self.owner, kind="stable")
        counts = np.bincount(self.owner)
        starts = np.cumsum(counts) - counts
        self.place = np.empty(len(labels), np.int64)
        """(N,) 0, 1, ... of each image among those of its patient."""
        self.place[order] = np.arange(len(labels)) - starts[self.owner[order]]
        self.counts, self.starts, self.ordered = counts, starts, labels[order]

    def shuffled(self, generator: np.random.Generator) -> Ints:
        giver = generator.permutation(len(self.counts))[self.owner]
        dealt: Ints = self.ordered[self.starts[giver] + self.place % self.counts[giver]]
        return dealt


def chance(
    labels: Ints, patients: NDArray[np.object_], statistic: Statistic, seed: int
) -> tuple[float, float]:
    """Between which values nearly all shuffles lie."""
    dealer, generator = LabelsByPatient(labels, patients), np.random.default_rng(seed)
    values = [statistic(dealer.shuffled(generator)) for _ in range(NUM_SHUFFLES)]
    low, high = np.nanquantile(values, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def auroc_of(scores: AnyFloats) -> Statistic:
    """Labels -> AUROC of (N, C) scores; beyond two classes the mean of one against the rest.

    Of (N, L) labels that do not exclude each other, the mean over those that can be told apart.
    """
    ranks = rankdata(scores, axis=0)
    num_classes = scores.shape[1]

    def auroc(labels: Ints) -> float:
        found = []
        for c in [1] if num_classes == 2 and labels.ndim == 1 else range(num_classes):
            positive = labels[:, c] == 1 if labels.ndim == 2 else labels == c
            num = int(positive.sum())
            if 0 < num < len(labels):
                above = ranks[positive, c].sum() - num * (num + 1) / 2
                found.append(above / (num * (len(labels) - num)))
        return float(np.mean(found)) if found else float("nan")

    return auroc
