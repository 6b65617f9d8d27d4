"""What an epoch draws: shares of classes and patients, over 100 000 draws."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from pipeline.config import Balance
from pipeline.images.sampler import draw_epoch, sampling_weights

NUM_DRAWS = 100_000
BALANCED: tuple[Balance, ...] = ("class", "patient", "class_patient")
Labels = NDArray[np.int64]


def cohort() -> tuple[Labels, Labels]:
    """(N,) labels and patients: 30 patients with 1 to 59 images, some with images of 2 classes."""
    labels, patients = [], []
    for patient in range(30):
        for image in range(1 + 2 * patient):
            labels.append(2 if patient < 4 else int(patient % 3 == 0 and image % 2 == 0))
            patients.append(patient)
    return np.array(labels), np.array(patients)


def drawn(balance: Balance, seed: int = 0) -> Labels:
    """At least NUM_DRAWS positions, epoch after epoch."""
    labels, patients = cohort()
    weights = sampling_weights(labels, patients, balance)
    generator = np.random.default_rng(seed)
    num_epochs = -(-NUM_DRAWS // len(labels))
    return np.concatenate([draw_epoch(weights, balance, generator) for _ in range(num_epochs)])


def assert_drawn_as(found: Labels, expected_shares: Any) -> None:
    observed = np.bincount(found, minlength=len(expected_shares))
    expected = np.asarray(expected_shares) * len(found)
    assert chisquare(observed, expected).pvalue > 0.001


def test_the_cohort_is_uneven() -> None:
    labels, patients = cohort()
    assert np.ptp(np.bincount(labels)) > 500
    assert np.ptp(np.bincount(patients)) == 58
    assert len(drawn("class")) >= NUM_DRAWS


@pytest.mark.parametrize("balance", BALANCED)
def test_weights_are_probabilities(balance: Balance) -> None:
    weights = sampling_weights(*cohort(), balance)
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).all()


@pytest.mark.parametrize("balance", ["class", "class_patient"])
def test_every_class_is_drawn_equally_often(balance: Balance) -> None:
    labels, _ = cohort()
    shares = np.bincount(labels[drawn(balance)]) / len(drawn(balance))
    assert shares == pytest.approx([1 / 3] * 3, abs=0.005)


def test_every_patient_is_drawn_equally_often() -> None:
    _, patients = cohort()
    assert_drawn_as(patients[drawn("patient")], [1 / 30] * 30)


def test_within_a_class_every_patient_is_drawn_equally_often() -> None:
    labels, patients = cohort()
    positions = drawn("class_patient")
    for label in range(3):
        members = np.unique(patients[labels == label])
        those = patients[positions][labels[positions] == label]
        assert_drawn_as(np.searchsorted(members, those), [1 / len(members)] * len(members))


def test_the_class_sampler_draws_images_of_a_class_alike() -> None:
    labels, _ = cohort()
    positions = drawn("class")
    rare = np.flatnonzero(labels == 2)
    those = positions[labels[positions] == 2]
    assert_drawn_as(np.searchsorted(rare, those), [1 / len(rare)] * len(rare))


def test_class_patient_follows_its_formula() -> None:
    """1 / (C * P_c * m_pc): classes, patients of the class, images of that patient and class."""
    labels = np.array([0, 0, 0, 1, 0, 1, 1])
    patients = np.array([0, 0, 1, 1, 2, 3, 3])
    # Class 0: patients 0 (2 images), 1 (1), 2 (1). Class 1: patients 1 (1), 3 (2).
    expected = [1 / 12, 1 / 12, 1 / 6, 1 / 4, 1 / 6, 1 / 8, 1 / 8]
    assert sampling_weights(labels, patients, "class_patient").tolist() == pytest.approx(expected)


def test_class_and_patient_follow_their_formulas() -> None:
    labels, patients = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    by_class = sampling_weights(labels, patients, "class").tolist()
    assert by_class == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert sampling_weights(labels, patients, "patient").tolist() == pytest.approx([0.25] * 4)
    assert sampling_weights(labels, patients, "none").tolist() == pytest.approx([0.25] * 4)


def test_without_balance_an_epoch_is_a_permutation() -> None:
    weights = sampling_weights(*cohort(), "none")
    epoch = draw_epoch(weights, "none", np.random.default_rng(0))
    assert epoch.tolist() != list(range(len(weights)))
    assert sorted(epoch.tolist()) == list(range(len(weights)))


@pytest.mark.parametrize("balance", ["none", *BALANCED])
def test_the_same_seed_gives_the_same_order(balance: Balance) -> None:
    weights = sampling_weights(*cohort(), balance)

    def epoch(seed: int) -> list[int]:
        return list(draw_epoch(weights, balance, np.random.default_rng(seed)))

    assert len(epoch(1)) == len(weights)
    assert epoch(1) == epoch(1)
    assert epoch(1) != epoch(2)
