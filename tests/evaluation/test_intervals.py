"""AUROC intervals: the value, what is drawn, and how often the truth is inside."""

from dataclasses import astuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pipeline.evaluation.intervals import Interval, _strata, auroc_interval


def two_columns(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([-scores, scores])


def test_value_is_the_mean_of_the_folds_aurocs_with_ties() -> None:
    generator = np.random.default_rng(0)
    labels, folds = generator.integers(2, size=90), np.repeat([0, 1, 2], 30)
    scores = np.round(generator.random(90), 1) + folds  # pooled, the folds' offsets would spoil it
    expected = [roc_auc_score(labels[folds == f], scores[folds == f]) for f in range(3)]
    interval = auroc_interval(labels, two_columns(scores), folds, np.arange(90))
    assert interval is not None
    assert interval.value == pytest.approx(np.mean(expected), abs=1e-12)
    assert interval.low < interval.value < interval.high


def test_multiclass_is_one_against_the_rest() -> None:
    generator = np.random.default_rng(1)
    labels, folds = np.arange(120) % 3, np.repeat([0, 1], 60)
    scores = generator.random((120, 3)) + np.eye(3)[labels] / 2
    expected = [
        roc_auc_score(labels[folds == f] == c, scores[folds == f, c])
        for f in range(2)
        for c in range(3)
    ]
    interval = auroc_interval(labels, scores, folds, np.arange(120))
    assert interval is not None
    assert interval.value == pytest.approx(np.mean(expected), abs=1e-12)


def test_images_of_a_patient_are_drawn_together() -> None:
    generator = np.random.default_rng(2)
    labels, folds = np.arange(60) % 2, np.repeat([0, 1, 2], 20)
    scores = two_columns(labels + generator.normal(size=60))
    once = auroc_interval(labels, scores, folds, np.arange(60), seed=5)
    rows = np.arange(60).repeat(10)
    tenfold = auroc_interval(labels[rows], scores[rows], folds[rows], rows, seed=5)
    assert once is not None
    assert tenfold is not None  # ten equal images tell no more than one
    assert astuple(tenfold) == pytest.approx(astuple(once), abs=1e-9)


def test_the_same_seed_draws_the_same() -> None:
    labels, folds = np.arange(40) % 2, np.repeat([0, 1], 20)
    scores = two_columns(np.random.default_rng(3).random(40))
    first, second, other = (
        auroc_interval(labels, scores, folds, np.arange(40), seed=seed) for seed in (1, 1, 2)
    )
    assert first == second != other


def test_a_fold_without_a_class_has_no_interval() -> None:
    labels, folds = np.array([0, 1, 0, 0]), np.array([0, 0, 1, 1])
    assert auroc_interval(labels, two_columns(np.arange(4.0)), folds, np.arange(4)) is None


def test_a_patient_in_several_folds_is_drawn_for_all_of_them() -> None:
    """An image-level plan: 20 patients, an image of each in every fold."""
    generator = np.random.default_rng(4)
    patients, folds = np.tile(np.arange(20), 3), np.repeat([0, 1, 2], 20)
    own = np.tile(generator.normal(size=20), 3)
    labels = patients % 2
    together = auroc_interval(labels, two_columns(labels + own), folds, patients)
    apart = auroc_interval(labels, two_columns(labels + own), folds, np.arange(60))
    assert together is not None
    assert apart is not None
    assert together.high - together.low > 1.4 * (apart.high - apart.low)


def test_strata_are_classes_and_folds_unless_folds_share_patients() -> None:
    labels, folds = np.arange(24) % 2, np.arange(24) // 8
    assert len(_strata(labels, folds, np.arange(24))) == 6
    assert len(_strata(labels, folds, np.arange(24) % 10)) == 2


def test_rows_must_match() -> None:
    with pytest.raises(RuntimeError, match="Expected 4 scores, folds and patients, got 4, 3"):
        auroc_interval(np.arange(4) % 2, np.zeros((4, 2)), np.zeros(3, int), np.arange(4))


def covers(seed: int, truth: float = 0.8) -> bool:
    """60 patients in 3 folds, normal scores whose AUROC is `truth`, a fold's own offset."""
    generator = np.random.default_rng(seed)
    labels, folds = np.arange(60) % 3 // 2, np.repeat([0, 1, 2], 20)
    shift = np.sqrt(2) * norm.ppf(truth)
    scores = generator.normal(size=60) + shift * labels + 5 * folds
    interval = auroc_interval(labels, two_columns(scores), folds, np.arange(60), seed, 400)
    assert isinstance(interval, Interval)
    return interval.low <= truth <= interval.high


@pytest.mark.slow
def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    hits = np.mean([covers(seed) for seed in range(200)])
    assert hits > 0.89  # 95 % less two standard errors of 200 and what few patients cost
