"""From the probabilities of a patient's images to those of the patient: one rule, one line."""

import re
from collections.abc import Callable

import numpy as np

from pipeline.arrays import Floats, Ints

Rule = Callable[[Floats], Floats]
"""(M, K) of one patient's M images -> (K,)."""
GROWS = ("max", "top", "q", "noisy_or")
"""Rules by which a patient with more images has a higher probability, whatever they show."""


def aggregate(probabilities: Floats, starts: Ints, rule: str, exclusive: bool) -> Floats:
    """(N, C) of images, of which patient p has those from `starts[p]` on -> (P, C).

    `exclusive`: classes exclude each other. Of two the rule is applied to the last; of more, to
    each, and what comes out is scaled to sum 1.
    """
    binary = exclusive and probabilities.shape[1] == 2
    columns = probabilities[:, 1:] if binary else probabilities
    if rule == "majority":
        columns = _votes(columns, one_class=exclusive and not binary)
    found = _applied(columns, starts, rule)
    if binary:
        return np.column_stack([1 - found[:, 0], found[:, 0]])
    if not exclusive:
        return found
    sums = found.sum(axis=1, keepdims=True)
    scaled = np.full_like(found, 1 / found.shape[1])
    np.divide(found, sums, out=scaled, where=sums > 0)
    return scaled


def grows(rule: str) -> bool:
    """Does it make patients with many images look ill?"""
    return rule.startswith(GROWS)


def _applied(columns: Floats, starts: Ints, rule: str) -> Floats:
    if rule in ("mean", "majority"):
        num_images = np.diff(starts, append=len(columns))
        means: Floats = np.add.reduceat(columns, starts) / num_images[:, None]
        return means
    if rule == "max":
        largest: Floats = np.maximum.reduceat(columns, starts)
        return largest
    if rule == "noisy_or":
        nobody: Floats = np.multiply.reduceat(1 - columns, starts)
        return 1 - nobody
    of_one = _of_one_patient(rule)
    return np.array([of_one(rows) for rows in np.split(columns, starts[1:])])


def _votes(columns: Floats, one_class: bool) -> Floats:
    """(N, K) an image votes for one class of several (equals share it), or for all from 0.5 on."""
    if not one_class:
        return (columns >= 0.5).astype(np.float64)
    highest = 1.0 * (columns == columns.max(axis=1, keepdims=True))
    votes: Floats = highest / highest.sum(axis=1, keepdims=True)
    return votes


def _of_one_patient(rule: str) -> Rule:
    number = int(re.sub(r"\D", "", rule))
    if rule.startswith("top"):
        return lambda rows: np.sort(rows, axis=0)[-number:].mean(axis=0)
    return lambda rows: np.quantile(rows, number / 100, axis=0)
