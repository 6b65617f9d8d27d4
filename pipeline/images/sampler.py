"""Which training samples an epoch draws, and what that does to the classes. Imports no torch."""

import numpy as np

from pipeline.arrays import Floats, Ints
from pipeline.config import Balance


def sampling_weights(labels: Ints, patients: Ints, balance: Balance) -> Floats:
    """(N,) probability of each sample to be drawn; they sum to 1.

    class: every class equally often. patient: every patient equally often. class_patient: every
    class equally often, and within a class every patient: 1 / (C * P_c * m_pc), where P_c patients
    have class c and patient p has m_pc images of it.
    """
    if balance == "none":
        weights = np.ones(len(labels))
    elif balance == "class":
        weights = 1.0 / np.bincount(labels)[labels]
    elif balance == "patient":
        weights = 1.0 / np.bincount(patients)[patients]
    else:
        pairs, pair_of, num_images = np.unique(
            np.stack([labels, patients]), axis=1, return_inverse=True, return_counts=True
        )
        num_patients = np.bincount(pairs[0])
        weights = 1.0 / (num_patients[labels] * num_images[pair_of.ravel()])
    return np.asarray(weights / weights.sum())


def draw_epoch(weights: Floats, balance: Balance, generator: np.random.Generator) -> Ints:
    """(N,) positions of one epoch: a permutation, or N balanced draws with replacement."""
    if balance == "none":
        return generator.permutation(len(weights))
    return generator.choice(len(weights), size=len(weights), p=weights)
