"""The interval of an AUROC: what it is over, which method, and how often the truth is inside."""

from typing import Any

import numpy as np
import pytest
from MLstatkit import Delong_test
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pipeline.evaluation import auroc
from pipeline.evaluation.auroc import auroc_interval, one_against_rest, paired_delong
from pipeline.evaluation.intervals import MANY, Interval

Array = NDArray[Any]


def interval_of(labels: Array, scores: Array, folds: Array, units: Array) -> Interval:
    found = auroc_interval((labels == 1)[:, None], scores[:, None], folds, units)
    assert found is not None
    return found


def delong(labels: Array, scores: Array) -> float:
    """DeLong's variance by its definition: all pairs, then the spread of rows and columns."""
    above, below = scores[labels == 1], scores[labels == 0]
    pairs = (above[:, None] > below) + 0.5 * (above[:, None] == below)
    sides = (pairs.mean(axis=1 - axis).var(ddof=1) / pairs.shape[axis] for axis in (0, 1))
    return float(sum(sides))


def cohort(
    generator: np.random.Generator,
    positives: int,
    negatives: int,
    truth: float,
    num_folds: int = 1,
    images: int = 1,
    icc: float = 0.5,
) -> list[Array]:
    """Normal scores whose AUROC is `truth`; each fold has an offset of its own."""
    labels: Array = np.arange(positives + negatives) < positives
    folds: Array = np.concatenate([np.arange(positives), np.arange(negatives)]) % num_folds
    units: Array = np.arange(len(labels))
    scores: Array = generator.normal(size=len(labels))
    if images > 1:
        labels, folds, units = (np.repeat(of, images) for of in (labels, folds, units))
        scores = np.repeat(scores, images)
        scores = np.sqrt(icc) * scores + np.sqrt(1 - icc) * generator.normal(size=len(scores))
    scores += np.sqrt(2) * norm.ppf(truth) * labels + 5 * folds
    return [1 * labels, scores, folds, units]


def test_value_is_the_mean_of_the_folds_aurocs_with_ties() -> None:
    generator = np.random.default_rng(0)
    labels, folds = generator.integers(2, size=90), np.repeat([0, 1, 2], 30)
    scores = np.round(generator.random(90), 1) + folds  # pooled, the folds' offsets would spoil it
    expected = [roc_auc_score(labels[folds == f], scores[folds == f]) for f in range(3)]
    interval = interval_of(labels, scores, folds, np.arange(90))
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
    interval = auroc_interval(*one_against_rest(labels, scores), folds, np.arange(120))
    assert interval is not None
    assert interval.value == pytest.approx(np.mean(expected), abs=1e-12)


def test_of_two_classes_the_last_is_the_target() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8]])
    positive, of_target = one_against_rest(np.array([0, 1]), scores)
    assert positive.tolist() == [[False], [True]]
    assert of_target.tolist() == [[0.1], [0.8]]


def test_of_many_patients_it_is_delong_on_the_logit_scale() -> None:
    labels, scores, folds, units = cohort(np.random.default_rng(2), 120, 150, 0.8)
    scores = scores.round(1)  # ties
    found = interval_of(labels, scores, folds, units)
    value = roc_auc_score(labels, scores)
    reach = norm.ppf(0.975) * np.sqrt(delong(labels, scores)) / (value * (1 - value))
    centre = np.log(value / (1 - value))
    expected = [1 / (1 + np.exp(-centre - side * reach)) for side in (-1, 1)]
    assert [found.low, found.high] == pytest.approx(expected, rel=1e-9)


def test_delong_is_that_of_a_public_implementation() -> None:
    generator = np.random.default_rng(3)
    labels = np.arange(150) % 3 == 0
    first, second = (np.round(generator.random(150) + gain * labels, 2) for gain in (0.5, 0.7))
    found = paired_delong(
        labels[:, None], first[:, None], second[:, None], np.zeros(150, int), np.arange(150)
    )
    assert found is not None
    z, p, *_, one, other, info = Delong_test(labels, first, second)
    assert info["method"] == "delong"
    assert found[0] == pytest.approx(other - one, abs=1e-9)
    assert found[0] / found[1] == pytest.approx(z, abs=1e-9)
    assert 2 * norm.sf(abs(found[0] / found[1])) == pytest.approx(p, abs=1e-9)


def test_of_few_patients_newcombes_bounds_solve_his_equation() -> None:
    """Newcombe 2006, method 5: a bound is an AUROC that is z of its own standard errors away."""
    labels, scores, folds, units = cohort(np.random.default_rng(3), 20, 30, 0.85)
    found = interval_of(labels, scores, folds, units)
    for bound in (found.low, found.high):
        q1, q2, rest = bound / (2 - bound), 2 * bound**2 / (1 + bound), (20 + 30) / 2 - 1
        variance = (bound * (1 - bound) + rest * (q1 - bound**2) + rest * (q2 - bound**2)) / (
            20 * 30
        )
        assert abs(bound - found.value) == pytest.approx(norm.ppf(0.975) * np.sqrt(variance))


@pytest.mark.parametrize("right", [True, False])
def test_a_perfect_ranking_is_not_certain(right: bool) -> None:
    labels = np.arange(12) % 2
    found = interval_of(labels, labels if right else -labels, np.zeros(12, int), np.arange(12))
    assert found.value == right
    assert (found.low, found.high) == pytest.approx(
        (0.689, 1.0) if right else (0.0, 0.311), abs=0.001
    )


def test_images_of_a_patient_that_are_alike_tell_no_more_than_one() -> None:
    labels, scores, folds, units = cohort(np.random.default_rng(4), 40, 40, 0.8, num_folds=2)
    once = interval_of(labels, scores, folds, units)
    labels, scores, folds, units = (of.repeat(10) for of in (labels, scores, folds, units))
    tenfold = interval_of(labels, scores, folds, units)
    apart = interval_of(labels, scores, folds, np.arange(800))
    width = once.high - once.low
    assert tenfold.high - tenfold.low > 0.97 * width
    assert apart.high - apart.low < 0.4 * width


def test_a_patient_in_several_folds_counts_once() -> None:
    """A plan by image: 20 patients, an image of each in every fold."""
    generator = np.random.default_rng(5)
    patients, folds = np.tile(np.arange(20), 3), np.repeat([0, 1, 2], 20)
    labels = patients % 2
    scores = labels + np.tile(generator.normal(size=20), 3)
    together = interval_of(labels, scores, folds, patients)
    apart = interval_of(labels, scores, folds, np.arange(60))
    assert together.high - together.low > 1.4 * (apart.high - apart.low)


def test_one_patient_with_many_images_is_one_positive() -> None:
    generator = np.random.default_rng(6)
    labels, scores, folds, units = cohort(generator, 1, 30, 0.8, images=20)
    found = interval_of(labels, scores, folds, units)
    assert found.high - found.low > 0.7


def test_a_fold_without_a_class_has_no_interval() -> None:
    labels, folds = np.array([0, 1, 0, 0]), np.array([0, 0, 1, 1])
    positive = (labels == 1)[:, None]
    assert auroc_interval(positive, np.arange(4.0)[:, None], folds, np.arange(4)) is None


def test_rows_must_match() -> None:
    with pytest.raises(RuntimeError, match=r"folds and units \(N,\), got \(4, 1\), \(4, 1\), \(3,"):
        auroc_interval(np.ones((4, 1), bool), np.zeros((4, 1)), np.zeros(3, int), np.arange(4))


def coverage(
    num_draws: int, positives: int, negatives: int, truth: float, num_folds: int, images: int
) -> float:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(num_draws):
        drawn = cohort(generator, positives, negatives, truth, num_folds, images)
        found = interval_of(*drawn)
        hits += found.low <= truth <= found.high
    return hits / num_draws


@pytest.mark.slow
@pytest.mark.parametrize(
    ("positives", "negatives", "num_folds", "images"),
    [(5, 20, 5, 1), (10, 90, 1, 1), (30, 30, 5, 20), (100, 100, 1, 1)],
)
@pytest.mark.parametrize("truth", [0.6, 0.9, 0.97])
def test_the_truth_is_inside_as_often_as_it_says(
    positives: int, negatives: int, num_folds: int, images: int, truth: float
) -> None:
    """benchmarks/coverage.py has the whole table, from many more draws."""
    found = coverage(150, positives, negatives, truth, num_folds, images)
    assert found > 0.905  # 95 % less two and a half standard errors of 150


def test_images_taken_for_patients_would_be_far_too_sure() -> None:
    """60 patients with 20 images each, ICC 0.5: 95 % become less than 60 %."""
    generator, truth = np.random.default_rng(0), 0.8
    hits = 0
    for _ in range(100):
        labels, scores, folds, _ = cohort(generator, 30, 30, truth, images=20)
        found = interval_of(labels, scores, folds, np.arange(len(labels)))
        hits += found.low <= truth <= found.high
    assert hits < 60
    assert coverage(100, 30, 30, truth, 1, 20) > 0.9


def test_with_fewer_than_ten_positives_the_wider_of_both_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = cohort(np.random.default_rng(8), 8, 40, 0.7, num_folds=2)
    both = interval_of(*drawn)
    monkeypatch.setattr(auroc, "FEW", 0)
    newcombe = interval_of(*drawn)
    monkeypatch.setattr(auroc, "MANY", 0)
    delong = interval_of(*drawn)
    assert newcombe != delong
    assert both.low == min(newcombe.low, delong.low)
    assert both.high == max(newcombe.high, delong.high)


def test_of_several_folds_the_variances_are_averaged_not_the_errors() -> None:
    """Newcombe's equation for the mean of three folds with 12 and 20 patients each."""
    labels, scores, folds, units = cohort(np.random.default_rng(9), 36, 60, 0.8, num_folds=3)
    found = interval_of(labels, scores, folds, units)
    for bound in (found.low, found.high):
        q1, q2, rest = bound / (2 - bound), 2 * bound**2 / (1 + bound), (12 + 20) / 2 - 1
        of_fold = (bound * (1 - bound) + rest * (q1 + q2 - 2 * bound**2)) / (12 * 20)
        assert abs(bound - found.value) == pytest.approx(norm.ppf(0.975) * np.sqrt(of_fold / 3))


def mixed(seed: int) -> list[Array]:
    """120 patients with images of both classes, whose scores share most of what they are."""
    generator = np.random.default_rng(seed)
    labels, units = np.tile([0, 1], 120), np.arange(120).repeat(2)
    scores = 2 * generator.normal(size=120)[units] + generator.normal(size=240) + labels
    return [labels, scores, 0 * units, units]


def test_patients_with_images_of_both_classes_are_one_unit() -> None:
    """Their images go up and down together: of their AUROC the width is that of many cohorts."""
    draws = [interval_of(*mixed(seed)) for seed in range(200)]
    truth = np.mean([found.value for found in draws])
    widths = np.mean([found.high - found.low for found in draws])
    spread = np.std([found.value for found in draws], ddof=1)
    assert widths == pytest.approx(2 * 1.98 * spread, rel=0.15)
    assert np.mean([found.low <= truth <= found.high for found in draws]) > 0.9


def test_paired_patients_with_images_of_both_classes_are_one_unit() -> None:
    found = []
    for seed in range(200):
        labels, scores, folds, units = mixed(seed)
        other = labels + np.random.default_rng(seed + 1000).normal(size=120)[units]
        positive = (labels == 1)[:, None]
        of_both = paired_delong(positive, scores[:, None], other[:, None], folds, units)
        assert of_both is not None
        found.append(of_both)
    differences, errors = np.array(found).T
    assert np.mean(errors) == pytest.approx(np.std(differences, ddof=1), rel=0.15)


def test_the_mean_over_classes_is_as_sure_as_many_cohorts_say() -> None:
    draws = []
    for seed in range(100):
        generator = np.random.default_rng(seed)
        labels = np.arange(330) % 3
        scores = generator.normal(size=(330, 3)) + np.eye(3)[labels]
        found = auroc_interval(*one_against_rest(labels, scores), 0 * labels, np.arange(330))
        assert found is not None
        draws.append(found)
    spread = np.std([found.value for found in draws], ddof=1)
    widths = np.mean([found.high - found.low for found in draws])
    assert widths == pytest.approx(2 * 1.96 * spread, rel=0.2)


def test_which_method_is_a_matter_of_the_rarer_class() -> None:
    widths = {}
    for positives in (MANY - 1, MANY):
        labels, scores, folds, units = cohort(np.random.default_rng(7), positives, 300, 0.97)
        found = interval_of(labels, scores, folds, units)
        widths[positives] = found.high - found.low
    assert widths[MANY] < 0.95 * widths[MANY - 1]  # Newcombe's is wide up there
