"""Points of a reliability diagram: another implementation agrees, and intervals hold."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from pipeline.evaluation.calibration import expected_calibration_error
from pipeline.evaluation.cases import Cases
from pipeline.evaluation.reliability import reliability


def cases_told(labels, told):
    return Cases(labels.astype(np.int64), 1 * (told >= 0.5), np.column_stack([1 - told, told]))


def drawn(num, seed=0):
    generator = np.random.default_rng(seed)
    told = generator.beta(0.7, 1.3, num).astype(np.float32).astype(np.float64)
    return cases_told(generator.random(num) < told**1.3, told)


@pytest.mark.parametrize(("num", "digits"), [(200, 9), (203, 9), (57, 1), (500, 2)])
def test_the_points_are_those_of_scikit_learn(num, digits):
    cases = drawn(num)
    cases = cases_told(cases.labels, cases.probabilities[:, 1].round(digits))
    found = reliability(cases, np.arange(num))
    observed, predicted = calibration_curve(
        cases.labels, cases.probabilities[:, 1], n_bins=10, strategy="quantile"
    )
    assert found.observed == pytest.approx(observed, abs=1e-9)
    assert found.predicted == pytest.approx(predicted, abs=1e-9)
    assert found.num_cases.sum() == num


def test_the_calibration_error_is_the_gap_of_scikit_learns_points():
    cases = drawn(400)
    observed, predicted = calibration_curve(
        cases.labels, cases.probabilities[:, 1], n_bins=10, strategy="quantile"
    )
    expected = np.abs(observed - predicted).mean()
    assert expected_calibration_error(cases) == pytest.approx(expected, abs=1e-9)


def test_few_patients_make_few_points_and_equal_probabilities_one():
    assert len(reliability(drawn(12), np.arange(12)).num_cases) == 2
    assert len(reliability(drawn(100), np.arange(100) % 4).num_cases) == 1
    same = cases_told(np.arange(100) % 3 == 0, np.full(100, 0.4))
    found = reliability(same, np.arange(100))
    assert found.num_cases.tolist() == [100]
    assert found.predicted == pytest.approx([0.4])


def test_a_bin_without_positives_is_not_sure_of_that():
    told = np.linspace(0, 1, 100)
    found = reliability(cases_told(told > 0.5, told), np.arange(100))
    assert found.observed[0] == 0
    assert found.low[0] == 0
    assert found.high[0] > 0.2


def test_intervals_hold_the_truth_also_where_images_of_a_patient_are_alike():
    """20 images of each of 60 patients, who have a shift of their own in their log odds."""
    held = []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        own = generator.normal(0, 1.5, 60).repeat(20)
        told = np.full(1200, 0.3)
        odds = np.log(0.3 / 0.7) + own
        labels = generator.random(1200) < 1 / (1 + np.exp(-odds))
        found = reliability(cases_told(labels, told), np.arange(60).repeat(20))
        held.append(found.low[0] <= 0.3538 <= found.high[0])
        as_if = reliability(cases_told(labels, told), np.arange(1200))
        assert as_if.high[0] - as_if.low[0] < (found.high[0] - found.low[0]) / 2
    assert np.mean(held) >= 0.88  # 95 % of 60 less two and a half standard errors


def test_more_classes_are_an_error():
    three = Cases(np.zeros(5, int), np.zeros(5, int), np.full((5, 3), 1 / 3))
    with pytest.raises(RuntimeError, match="Expected cases of 2 classes, got 5 of 3"):
        reliability(three, np.arange(5))
