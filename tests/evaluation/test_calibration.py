"""Whether probabilities are right: other implementations agree, known distortions are found."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pipeline.evaluation.calibration import (
    NUM_BINS,
    brier,
    brier_skill,
    calibration_intercept,
    calibration_slope,
    expected_calibration_error,
    log_loss,
)
from pipeline.evaluation.cases import Cases
from pipeline.evaluation.metrics import METRICS

LINE = next(metric for metric in METRICS if metric.name == "calibration_slope")


def binary(labels, told):
    return Cases(labels.astype(np.int64), 1 * (told > 0.5), np.column_stack([1 - told, told]))


def drawn(num, slope=1.0, shift=0.0, seed=0):
    """Outcomes of known log odds; what is told has them stretched and shifted."""
    generator = np.random.default_rng(seed)
    odds = generator.normal(-0.5, 1.5, num)
    labels = generator.random(num) < 1 / (1 + np.exp(-odds))
    return binary(labels, 1 / (1 + np.exp(-(odds - shift) / slope)))


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.5, 0.0), (2.0, 0.4)])
def test_the_line_finds_how_odds_were_stretched(slope, shift):
    cases = drawn(40_000, slope, shift)
    assert calibration_slope(cases) == pytest.approx(slope, rel=0.05)
    if slope == 1:
        assert calibration_intercept(cases) == pytest.approx(shift, abs=0.05)


def test_the_intercept_is_what_all_odds_lack():
    assert calibration_intercept(drawn(40_000, shift=0.7)) == pytest.approx(0.7, abs=0.05)


def test_the_intercept_of_probabilities_that_are_all_but_sure():
    """Of 100 called ill and 100 called healthy, 10 and 20 are not: as many must be added."""
    labels = np.repeat([1, 0, 1, 0], [90, 10, 20, 80])
    told = np.repeat([1 - 2e-7, 2e-7], 100)
    found = calibration_intercept(binary(labels == 1, told))
    assert found is not None
    odds = np.log(told / (1 - told))
    told_better = 1 / (1 + np.exp(-odds - found))
    assert told_better.sum() == pytest.approx(labels.sum(), abs=0.1)


def test_the_line_is_that_of_scikit_learn():
    cases = drawn(300, 0.7, 0.3)
    odds = np.log(cases.probabilities[:, 1] / cases.probabilities[:, 0])
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(odds[:, None], cases.labels)
    assert calibration_slope(cases) == pytest.approx(fitted.coef_[0, 0], rel=1e-5)


def test_no_line_where_the_classes_lie_apart_or_one_is_missing():
    told = np.linspace(0.05, 0.95, 20)
    assert calibration_slope(binary(told > 0.5, told)) is None
    assert calibration_slope(binary(np.ones(20, bool), told)) is None
    assert calibration_intercept(binary(np.ones(20, bool), told)) is None


def interval_of(metric, cases):
    num = len(cases.labels)
    found = metric.interval_of(cases, None, np.zeros(num, int), np.arange(num))
    assert found is not None
    return found


def by_bins(told, happens):
    """10 bins of as many cases each, by loops."""
    pairs = sorted(zip(told.tolist(), happens.tolist(), strict=True))
    size, found = len(pairs) // NUM_BINS, 0.0
    for begin in range(0, len(pairs), size):
        inside = pairs[begin : begin + size]
        mean_told = sum(p for p, _ in inside) / size
        found += size / len(pairs) * abs(mean_told - sum(h for _, h in inside) / size)
    return found


def test_the_calibration_error_is_that_of_its_bins():
    cases = drawn(200, 0.5)
    told = cases.probabilities[:, 1].astype(np.float32).astype(np.float64)
    assert expected_calibration_error(cases) == pytest.approx(by_bins(told, cases.labels), abs=1e-7)


def test_of_more_classes_the_error_is_that_of_the_class_called():
    generator = np.random.default_rng(1)
    probabilities = generator.dirichlet(np.ones(3), 100)
    labels = generator.integers(0, 3, 100)
    called = probabilities.argmax(axis=1)
    found = expected_calibration_error(Cases(labels, called, probabilities))
    told = probabilities.max(axis=1).astype(np.float32).astype(np.float64)
    assert found == pytest.approx(by_bins(told, called == labels), abs=1e-7)


def test_the_order_of_cases_with_equal_probabilities_does_not_matter():
    labels, told = np.arange(60) % 3 == 0, np.round(np.linspace(0, 1, 60), 1)
    shuffled = np.random.default_rng(0).permutation(60)
    once = expected_calibration_error(binary(labels, told))
    assert expected_calibration_error(binary(labels[shuffled], told[shuffled])) == once


def test_telling_the_prevalence_has_no_skill_and_the_truth_has_all():
    labels = np.arange(40) % 4 == 0
    assert brier_skill(binary(labels, np.full(40, 0.25))) == pytest.approx(0)
    assert brier_skill(binary(labels, labels.astype(float))) == 1


def test_of_two_classes_the_brier_score_is_that_of_the_positive_one():
    assert brier(binary(np.array([True, False]), np.array([0.8, 0.4]))) == pytest.approx(0.1)


def test_a_certain_error_costs_much_but_not_all():
    cost = log_loss(binary(np.array([True]), np.array([0.0])))
    assert cost == pytest.approx(-np.log(np.finfo(np.float32).eps))


@pytest.mark.parametrize(
    "name",
    ["brier", "log_loss", "brier_skill", "f1", "mcc", "calibration_slope", "calibration_intercept"],
)
def test_intervals_hold_their_truth(name):
    (metric,) = (metric for metric in METRICS if metric.name == name)
    truth = metric.of(drawn(200_000, 0.8, seed=9))
    assert truth is not None
    hits = 0
    for seed in range(60):
        found = interval_of(metric, drawn(80, 0.8, seed=seed))
        hits += found.low <= truth <= found.high
    assert hits >= 53  # 95 % of 60 less two and a half standard errors


def test_a_loss_is_never_below_nothing():
    (metric,) = (metric for metric in METRICS if metric.name == "brier")
    cases = binary(np.arange(12) % 2 == 1, np.where(np.arange(12) % 2 == 1, 0.9, 0.1))
    cases.probabilities[0] = [0.2, 0.8]
    assert interval_of(metric, cases).low >= 0


def test_images_of_a_patient_do_not_make_a_line_surer():
    cases, rows = drawn(60, 0.8), np.arange(60).repeat(10)
    once = interval_of(LINE, cases)
    tenfold = LINE.interval_of(cases.at(rows), None, 0 * rows, rows)
    assert tenfold is not None
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))
