"""Class weights, and the prior that a network is really trained under. Imports no torch."""

import numpy as np

from pipeline.arrays import Floats, Ints
from pipeline.config import Balance, ClassWeights, Config, ConfigError
from pipeline.images.sampler import sampling_weights
from pipeline.manifest import Manifest
from pipeline.splits import Fold


def class_weights(scheme: ClassWeights, num_images: Ints, num_patients: Ints) -> Floats:
    """(C,) weight of each class in the loss, from the train part's counts per class.

    inverse: 1 / images. effective_number: (1 - b) / (1 - b^n) with n patients of the class and
    b = 1 - 1 / (all patients) (Cui et al. 2019, Class-balanced loss based on effective number of
    samples); patients, because a patient's images are not independent.
    """
    if scheme == "none":
        return np.ones(len(num_images))
    if scheme == "inverse":
        weights = num_images.sum() / (len(num_images) * num_images)
    else:
        beta = 1 - 1 / num_patients.sum()
        weights = (1 - beta) / (1 - beta**num_patients)
    scaled: Floats = weights / weights.mean()
    return scaled


def effective_prior(sampled_share: Floats, weights: Floats) -> Floats:
    """(C,) class shares that the loss acts as if it saw: drawn share times loss weight."""
    product = sampled_share * weights
    prior: Floats = product / product.sum()
    return prior


def drawing_weights(manifest: Manifest, rows: Ints, balance: Balance) -> Floats:
    """(N,) probability of each sample at `rows` to be drawn; they sum to 1."""
    patients = np.unique(manifest.table["patient_id"].to_numpy()[rows], return_inverse=True)[1]
    return sampling_weights(manifest.labels[rows], patients, balance)


def check_imbalance(config: Config, manifest: Manifest, fold: Fold) -> Floats:
    """The effective prior of a fold's training; ConfigError for an unasked double correction."""
    rows = manifest.of(fold.train)
    labels, num_images = manifest.labels[rows], manifest.num_per_class(rows)
    drawn = drawing_weights(manifest, rows, config.sampler.balance)
    share = np.bincount(labels, weights=drawn, minlength=len(manifest.classes)).astype(float)
    weights = class_weights(
        config.loss.class_weights, num_images, manifest.num_patients_per_class(rows)
    )
    prior = effective_prior(share, weights)
    twice = config.sampler.balance in ("class", "class_patient") and np.ptp(weights) > 0
    if twice and not config.sampler.allow_double_correction:
        listed = ", ".join(
            f"{name} {seen:.3f} (really {true:.3f})"
            for name, seen, true in zip(
                manifest.classes, prior, num_images / num_images.sum(), strict=True
            )
        )
        raise ConfigError(
            [
                f"sampler.balance={config.sampler.balance} and loss.class_weights="
                f"{config.loss.class_weights} correct the imbalance twice: the effective prior is "
                f"{listed}. Use one of them, or set sampler.allow_double_correction=true"
            ]
        )
    return prior
