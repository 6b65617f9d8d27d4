"""ROC and precision-recall curves: against scikit-learn, and their band over patients."""

import numpy as np
import pytest
from sklearn import metrics

from pipeline.evaluation.cases import Cases
from pipeline.evaluation.curves import GRID, curves_of


def drawn(num: int = 200, seed: int = 0, digits: int = 2) -> tuple[Cases, np.ndarray, np.ndarray]:
    """Cases of two classes with ties, in four folds; each is a patient."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(num) < 0.3).astype(int)
    scores = np.round(1 / (1 + np.exp(-generator.normal(labels, 1.2))), digits)
    cases = Cases(labels, 1 * (scores > 0.5), np.column_stack([1 - scores, scores]))
    return cases, np.arange(num) % 4, np.arange(num)


@pytest.mark.parametrize("seed", range(5))
def test_a_folds_curves_are_those_of_scikit_learn(seed: int) -> None:
    cases, folds, units = drawn(seed=seed)
    roc, pr = curves_of(cases, folds, units)
    for fold in range(4):
        labels, scores = cases.labels[folds == fold], cases.probabilities[folds == fold, 1]
        false_alarms, sensitivity, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
        np.testing.assert_allclose(roc.folds[fold], (false_alarms, sensitivity), atol=1e-12)
        x, y = pr.folds[fold]
        found = float(np.sum(np.diff(x) * y[1:]))
        assert found == pytest.approx(metrics.average_precision_score(labels, scores))
        assert metrics.auc(*roc.folds[fold]) == pytest.approx(metrics.roc_auc_score(labels, scores))


def test_the_area_under_the_mean_curve_is_the_mean_of_the_folds_areas() -> None:
    cases, folds, units = drawn(2000, digits=6)
    roc, pr = curves_of(cases, folds, units)
    assert roc.mean is not None
    assert pr.mean is not None
    areas = {
        name: np.mean(
            [
                function(cases.labels[folds == f], cases.probabilities[folds == f, 1])
                for f in range(4)
            ]
        )
        for name, function in (
            ("roc", metrics.roc_auc_score),
            ("pr", metrics.average_precision_score),
        )
    }
    assert metrics.auc(GRID, roc.mean) == pytest.approx(areas["roc"], abs=0.005)
    assert metrics.auc(GRID, pr.mean) == pytest.approx(areas["pr"], abs=0.01)
    assert len(roc.folds[0][0]) == len(GRID)  # with many corners, on the grid


def test_the_band_holds_the_mean_and_is_narrower_with_more_patients() -> None:
    widths = []
    for num in (200, 2000):
        for curve in curves_of(*drawn(num, digits=6)):
            assert curve.band is not None
            assert curve.mean is not None
            low, high = curve.band
            inside = (low <= curve.mean + 1e-9) & (curve.mean <= high + 1e-9)
            assert inside.mean() > 0.97
            widths.append(float((high - low)[10:90].mean()))
    assert widths[2] < 0.5 * widths[0]
    assert widths[3] < 0.5 * widths[1]


def test_images_of_few_patients_have_the_band_of_patients() -> None:
    """Ten equal images a patient tell no more than one."""
    cases, folds, units = drawn(200)
    ten = np.repeat(np.arange(200), 10)
    one, many = (
        curves_of(cases, folds, units)[0],
        curves_of(cases.at(ten), folds[ten], units[ten])[0],
    )
    assert one.band is not None
    assert many.band is not None
    wide, same = ((of[1] - of[0])[10:90].mean() for of in (one.band, many.band))
    assert same == pytest.approx(wide, rel=0.1)


def test_no_band_with_few_patients_and_no_mean_where_a_fold_lacks_a_class() -> None:
    cases, folds, _ = drawn(200)
    few = np.arange(200) % 12
    roc, pr = curves_of(cases, folds, few * 2 + cases.labels)
    assert roc.band is not None  # twelve with, twelve without
    roc, pr = curves_of(cases, folds, (few % 8) * 2 + cases.labels)
    assert (roc.band, pr.band) == (None, None)
    assert roc.mean is not None
    only = np.where((folds == 1), 0, cases.labels)
    lacking = Cases(only, cases.predicted, cases.probabilities)
    roc, pr = curves_of(lacking, folds, np.arange(200))
    assert (roc.mean, pr.mean) == (None, None)
    assert sorted(roc.folds) == sorted(pr.folds) == [0, 2, 3]


def test_a_perfect_ranking_reaches_the_corner() -> None:
    labels = np.array([0, 0, 1, 1] * 15)
    scores = 0.2 + 0.6 * labels
    cases = Cases(labels, labels, np.column_stack([1 - scores, scores]))
    roc, pr = curves_of(cases, np.zeros(60, int), np.arange(60))
    assert roc.mean is not None
    assert pr.mean is not None
    assert roc.mean.tolist() == pr.mean.tolist() == [1.0] * 101
