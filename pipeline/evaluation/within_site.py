"""Is the site part of the result? AUROC among patients of one site, and among those of all."""

from typing import TypedDict

import numpy as np
import pandas as pd

from pipeline.arrays import AnyFloats, AnyInts, Bools
from pipeline.evaluation.auroc import auroc_within
from pipeline.evaluation.intervals import quantile

MARGIN = 0.05
"""By which the AUROC over all sites is higher where the site is named."""


class WithinSite(TypedDict):
    """Both compare patients whom one fold tests; pairs of patients count alike."""

    column: str
    num_sites: int
    """With patients to compare."""
    within: float
    """Of two patients of the same site."""
    within_low: float
    within_high: float
    over_all: float
    """Of two patients of any sites."""
    difference: float
    """over_all less within."""
    difference_low: float
    difference_high: float
    note: str
    """Where the site explains a part of the result; else ""."""


def within_site(
    sites: pd.Series, positive: Bools, scores: AnyFloats, folds: AnyInts, units: AnyInts
) -> WithinSite | None:
    """Of rows of `sites` (N,), named as their column, with targets (N, T) as of `auroc_interval`.

    None where there is one site, or no site has two patients to compare in a fold.
    """
    column = str(sites.name)
    names, site_of = np.unique(sites.to_numpy(str), return_inverse=True)
    if len(names) < 2:
        return None
    strata = folds.astype(np.int64) * len(names) + site_of
    within = auroc_within(positive, scores, strata, units)
    over_all = auroc_within(positive, scores, folds, units)
    if within is None or over_all is None:
        return None
    z = quantile(within.fewest, within.clustered)
    low, high = within.bounds(z)
    apart = over_all.value - within.value
    pulls = over_all.pulls - within.pulls
    used = int(np.count_nonzero(pulls))
    reach = z * float(np.sqrt(used / max(1, used - 1) * (pulls @ pulls)))
    note = ""
    if apart > MARGIN and apart - reach > 0:
        note = (
            f"Within a {column} the AUROC is {within.value:.3f} [{low:.3f}, {high:.3f}], over all "
            f"{over_all.value:.3f}: {column} explains part of the result. Report the AUROC within, "
            f"and test on values of {column} that the network never saw: "
            f"split.scheme=leave_one_out split.leave_out={column}"
        )
    compared = [
        bool(_has_pair(positive[site_of == s], strata[site_of == s])) for s in range(len(names))
    ]
    return {
        "column": column,
        "num_sites": sum(compared),
        "within": within.value,
        "within_low": low,
        "within_high": high,
        "over_all": over_all.value,
        "difference": apart,
        "difference_low": apart - reach,
        "difference_high": apart + reach,
        "note": note,
    }


def _has_pair(positive: Bools, strata: AnyInts) -> bool:
    """Does a stratum hold both classes of a target?"""
    return any(set(strata[column]) & set(strata[~column]) for column in positive.T)
