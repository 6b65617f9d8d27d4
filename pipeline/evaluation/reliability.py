"""A reliability diagram: what happens to cases of which a probability is told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import AnyInts, Floats
from pipeline.evaluation.calibration import NUM_BINS
from pipeline.evaluation.cases import Cases
from pipeline.evaluation.intervals import shares_interval

FEWEST_UNITS_A_BIN = 5


@dataclass(frozen=True)
class Reliability:
    """B points by rising probability; each array is (B,)."""

    num_cases: AnyInts
    predicted: Floats
    """Mean probability of the cases of a bin."""
    observed: Floats
    """Share of them that is positive."""
    low: Floats
    """95 % interval of `observed`, over units."""
    high: Floats


def reliability(cases: Cases, units: AnyInts, num_bins: int = NUM_BINS) -> Reliability:
    """The points of N cases of two classes, of `units` (N,): patients or leakage groups.

    The bins hold as many cases each, as far as equal probabilities, which stay together, allow;
    there are fewer bins where each could not have 5 units. An observed share has Wilson's interval,
    widened where the cases of a unit are alike. A bootstrap would say of a bin without any positive
    that it is sure of that.

    Raises:
        RuntimeError: more than two classes, or no case.
    """
    if cases.num_classes != 2 or not len(cases.labels):
        raise RuntimeError(f"Expected cases of 2 classes, got {len(units)} of {cases.num_classes}.")
    told = cases.probabilities[:, 1].astype(np.float64)
    _, codes = np.unique(units, return_inverse=True)
    num_units = int(codes.max()) + 1
    many = max(1, min(num_bins, num_units // FEWEST_UNITS_A_BIN))
    edges = np.quantile(told, np.arange(1, many) / many)
    _, bins = np.unique(np.searchsorted(edges, told), return_inverse=True)  # no bin is empty
    size = int(bins.max()) + 1
    cells, shape = codes * size + bins, (num_units, size)
    rows = np.bincount(cells, minlength=num_units * size).reshape(shape)
    hits = np.bincount(cells, cases.labels, minlength=num_units * size).reshape(shape)
    num = rows.sum(axis=0)
    return Reliability(num, np.bincount(bins, told) / num, *shares_interval(hits, rows))
