"""What metrics would be without a model."""

import numpy as np
import pytest

from pipeline.evaluation.cases import Cases, LabelCases
from pipeline.evaluation.floors import FLOORS, against, floor_of
from pipeline.evaluation.metrics import METRICS
from pipeline.evaluation.summary import MetricEntry

BY_NAME = {metric.name: metric for metric in METRICS}


def without_a_model(num_classes: int) -> Cases:
    """Everybody is called the most frequent class; the probabilities are the prevalences."""
    labels = np.repeat(np.arange(num_classes), range(40 * num_classes, 0, -40))
    shares = np.bincount(labels) / len(labels)
    return Cases(labels, np.zeros_like(labels), np.tile(shares, (len(labels), 1)))


@pytest.mark.parametrize("num_classes", [2, 3, 5])
@pytest.mark.parametrize("name", FLOORS)
def test_the_floor_is_what_no_model_comes_to(name: str, num_classes: int) -> None:
    cases = without_a_model(num_classes)
    folds = np.zeros(len(cases.labels), int)
    if BY_NAME[name].least_classes > num_classes:
        return
    found = floor_of(name, cases, folds)
    assert found is not None
    reached = BY_NAME[name].over(cases, None, folds)
    assert found[1] == pytest.approx(0.0 if reached is None else reached, abs=1e-6)


def test_labels_that_do_not_exclude_each_other_have_floors_of_their_own() -> None:
    has = np.array([[True, False]] * 3 + [[False, False]] * 7)
    cases = LabelCases(has, has, has.astype(float))
    folds = np.array([0, 1] * 5)
    found = floor_of("average_precision", cases, folds)
    assert found is not None
    assert found[1] == pytest.approx(0.15)
    assert floor_of("sensitivity", cases, folds) is None


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.51, 0.6, "better"),
        (0.4, 0.6, "not distinguishable"),
        (0.3, 0.49, "worse"),
        (None, None, "unknown"),
    ],
)
def test_only_a_whole_interval_is_a_verdict(low: float, high: float, verdict: str) -> None:
    entry: MetricEntry = {
        "value": 0.5,
        "ci_low": low,
        "ci_high": high,
        "num_positive": 20,
        "marks": [],
        "per_fold": [0.5],
        "num_missing": 0,
        "how": "mean over folds",
    }
    assert against(entry, 0.5) == verdict
