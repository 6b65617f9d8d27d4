"""Operating points, chosen on the validation part."""

import re

import numpy as np

from pipeline.arrays import AnyFloats, Bools, Floats, Ints
from pipeline.config import ThresholdRule, UserError

_ROUNDING = 1e-9
NEVER = float(np.nextafter(1.0, 2.0))
"""Above every probability: nobody is called positive."""


def choose_threshold(labels: Bools, scores: AnyFloats, rule: ThresholdRule) -> float:
    """Return the threshold at or above which a score (N,) in [0, 1] is called positive.

    "fixed" is 0.5, whatever the data. On the data given,
    "youden" has the largest balanced accuracy;
    "sensitivity0.9" is the highest that calls 90 % of the positives positive or more;
    "specificity0.9" is the lowest that calls 90 % of the negatives negative or more;
    "cost5" has the least cost where a missed positive costs as much as 5 false alarms.
    It lies midway between two neighbouring scores; of equals it is the one nearest to 0.5, then the
    lower. UserError where a rule but "fixed" does not find both classes.
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
            f"evaluation.threshold={rule} needs both classes in the validation part, got "
            f"{num_positive} positive and {num_negative} negative. Choose "
            f"evaluation.threshold=fixed, or a split with both classes in every fold."
        )
    distinct, position = np.unique(scores, return_inverse=True)
    positives = np.bincount(position[labels], minlength=len(distinct))
    negatives = np.bincount(position[~labels], minlength=len(distinct))
    # Candidate i calls the scores distinct[i:] positive, i = 0..len(distinct)
    hits = num_positive - np.concatenate([[0], np.cumsum(positives)])
    rejections = np.concatenate([[0], np.cumsum(negatives)])
    # A candidate lies midway, or on the upper of two floats that have nothing between them.
    low, high = np.append(0.0, distinct), np.append(distinct, 1.0)
    middle = (low + high) / 2
    candidates = np.where(middle > low, middle, high)
    if distinct[-1] == 1:
        candidates[-1] = NEVER
    allowed = candidates[_best(hits, rejections, rule)]
    return float(allowed[np.abs(allowed - 0.5).argmin()])


def _best(hits: Ints, rejections: Ints, rule: ThresholdRule) -> Ints:
    """The numbers of the candidates that are equally good; counts are whole: ties are exact."""
    num_positive, num_negative = int(hits[0]), int(rejections[-1])
    if rule == "youden":
        quality: Ints | Floats = hits * num_negative + rejections * num_positive
        return np.flatnonzero(quality == quality.max())
    word, number = re.fullmatch(r"([a-z]+)([0-9.]+)", rule).groups()  # type: ignore[union-attr]
    if word == "sensitivity":
        return np.flatnonzero(hits >= float(number) * num_positive - _ROUNDING)[-1:]
    if word == "specificity":
        return np.flatnonzero(rejections >= float(number) * num_negative - _ROUNDING)[:1]
    cost = float(number) * (num_positive - hits) + (num_negative - rejections)
    return np.flatnonzero(cost <= cost.min() + _ROUNDING)
