"""Values under weights, and how each case pulls them: each against its definition."""

import numpy as np
import pytest

from pipeline.evaluation.cases import Cases
from pipeline.evaluation.draws import Draws
from pipeline.evaluation.intervals import MANY
from pipeline.evaluation.metrics import METRICS, Metric, OfDraws, Smooth

SMOOTH = [metric for metric in METRICS if isinstance(metric.function, Smooth)]
OF_DRAWS = [metric for metric in METRICS if isinstance(metric.function, OfDraws)]


def cases_of(num_classes: int, seed: int, size: int = 60) -> Cases:
    """Rounded, so that probabilities tie."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, num_classes, size)
    told = generator.dirichlet(np.ones(num_classes), size).round(1) + 1e-3
    told[np.arange(size), labels] += 0.3
    told /= told.sum(axis=1, keepdims=True)
    return Cases(labels, told.argmax(axis=1), told)


def takes(metric: Metric, num_classes: int) -> bool:
    return num_classes == 2 or metric.more_classes == "as it is"


def test_there_are_such_metrics() -> None:
    assert {"average_precision", "f1", "mcc", "kappa", "brier", "ece"} <= {m.name for m in SMOOTH}
    assert len(OF_DRAWS) > len(SMOOTH)


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("metric", OF_DRAWS, ids=lambda metric: metric.name)
def test_a_weight_counts_a_case_so_often(metric: Metric, num_classes: int) -> None:
    if not takes(metric, num_classes):
        return
    cases, generator = cases_of(num_classes, 1), np.random.default_rng(2)
    weights = generator.integers(0, 4, (20, len(cases.labels))).astype(np.float64)
    weights[0, cases.labels == 1] = 0  # a class is absent
    assert isinstance(metric.function, OfDraws)
    found = metric.function.weighted(cases, weights)
    every = np.arange(len(cases.labels))
    expected = [metric.function(cases.at(every.repeat(of.astype(int)))) for of in weights]
    assert [None if np.isnan(value) else value for value in found] == [
        None if value is None else pytest.approx(value, abs=1e-12) for value in expected
    ]


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("metric", SMOOTH, ids=lambda metric: metric.name)
def test_a_pull_is_the_slope_of_a_weight(metric: Metric, num_classes: int) -> None:
    if not takes(metric, num_classes) or metric.name == "ece":  # its bins would move
        return
    cases, function = cases_of(num_classes, 3), metric.function
    assert isinstance(function, OfDraws)
    assert isinstance(function, Smooth)
    step = 1e-5 * np.eye(len(cases.labels))
    slopes = (function.weighted(cases, 1 + step) - function.weighted(cases, 1 - step)) / 2e-5
    assert function.pulls(cases) == pytest.approx(slopes, abs=1e-8)


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("metric", SMOOTH, ids=lambda metric: metric.name)
def test_pulls_come_to_what_a_bootstrap_of_patients_does(metric: Metric, images: int) -> None:
    generator, patients = np.random.default_rng(4), 3 * MANY
    units = np.arange(patients).repeat(images)
    labels = (units % 3 == 0).astype(np.int64)
    shared = generator.normal(size=patients)[units]
    scores = 1.5 * labels + shared + 0.5 * generator.normal(size=len(units))
    told = 1 / (1 + np.exp(-2 * scores))  # too sure: an ECE of its own
    cases = Cases(labels, 1 * (told > 0.5), np.column_stack([1 - told, told]))
    folds = units % 2
    draws = metric.draws(cases, None, folds, units, 1000)[1]
    drawn = np.concatenate([metric.weighted(cases, None, folds, of) for of in draws.weights()])
    function = metric.function
    assert isinstance(function, Smooth)
    spread = draws.spread(metric._pulls(function, cases, None, folds))
    assert spread == pytest.approx(drawn.std(), rel=0.15)


def test_one_unit_of_its_class_counts_by_its_distance_from_all() -> None:
    draws = Draws([np.array([0]), np.array([1, 2])], np.arange(3), 1)
    assert draws.spread(np.array([0.3, 0.1, 0.3])) == pytest.approx(np.sqrt(0.3**2 + 4 * 0.1**2))


def test_what_is_pooled_varies_where_a_fold_has_one_positive() -> None:
    """Drawn within folds, five positives of five folds would never vary."""
    labels, folds = np.repeat([1, 0], [5, 20]), np.arange(25) % 5
    told = np.random.default_rng(5).random(25)
    cases = Cases(labels, 1 * (told > 0.5), np.column_stack([1 - told, told]))
    named = {metric.name: metric for metric in METRICS}
    for name, strata in {"mcc": 2, "brier": 2, "auroc": 10}.items():
        assert len(named[name].draws(cases, None, folds, np.arange(25), 1)[1].strata) == strata
