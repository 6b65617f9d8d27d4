"""Operating points, chosen on the validation part."""

import numpy as np

from pipeline.arrays import AnyFloats, Bools
from pipeline.config import ThresholdRule, UserError


def choose_threshold(labels: Bools, scores: AnyFloats, rule: ThresholdRule) -> float:
    """Return the threshold at or above which a score (N,) in [0, 1] is called positive.

    "fixed" is 0.5, whatever the data. "youden" has the largest balanced accuracy on the data
    given; it lies midway between two neighbouring scores, and of equals it is the one nearest to
    0.5, then the lower. UserError where "youden" does not find both classes.
    """
    if rule == "fixed":
        return 0.5
    scores = scores.astype(np.float64)
    if labels.dtype != np.bool_ or labels.shape != scores.shape:
        raise RuntimeError(
            f"Expected bool labels (N,) and scores (N,), got {labels.dtype} {labels.shape} and "
            f"{scores.shape}."
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise RuntimeError(f"Expected scores in [0, 1], got {scores.min()} to {scores.max()}.")
    num_positive = int(labels.sum())
    num_negative = len(labels) - num_positive
    if not num_positive or not num_negative:
        raise UserError(
            f"evaluation.threshold=youden needs both classes in the validation part, got "
            f"{num_positive} positive and {num_negative} negative. Choose "
            f"evaluation.threshold=fixed, or a split with both classes in every fold."
        )
    distinct, position = np.unique(scores, return_inverse=True)
    positives = np.bincount(position[labels], minlength=len(distinct))
    negatives = np.bincount(position[~labels], minlength=len(distinct))
    # Candidate i calls the scores distinct[i:] positive, i = 0..len(distinct)
    hits = num_positive - np.concatenate([[0], np.cumsum(positives)])
    rejections = np.concatenate([[0], np.cumsum(negatives)])
    quality = hits * num_negative + rejections * num_positive  # integers: ties are exact
    # A candidate lies midway, or on the upper of two floats that have nothing between them. Above
    # a last score of 1 nothing lies: that candidate is never chosen, since calling all positive is
    # as good, lower and no further from 0.5.
    low, high = np.append(0.0, distinct), np.append(distinct, 1.0)
    middle = (low + high) / 2
    candidates = np.where(middle > low, middle, high)
    best = candidates[quality == quality.max()]
    return float(best[np.abs(best - 0.5).argmin()])
