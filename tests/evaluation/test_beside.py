"""Two values of different patients: how far they lie apart, and what cannot be said."""

import numpy as np
import pytest

from pipeline.evaluation.beside import apart, beside
from pipeline.evaluation.intervals import Interval
from pipeline.evaluation.summary import MetricEntry


def entry(value: float | None, low: float | None = None, high: float | None = None) -> MetricEntry:
    return {
        "value": value,
        "ci_low": low,
        "ci_high": high,
        "num_positive": 0 if value is None else 12,
        "marks": [],
        "per_fold": [value],
        "num_missing": int(value is None),
        "how": "pooled decisions",
    }


def test_the_distances_to_the_bounds_are_joined() -> None:
    found = apart(Interval(0.8, 0.7, 0.86), Interval(0.9, 0.86, 0.92))
    assert found.value == pytest.approx(-0.1)
    assert found.low == pytest.approx(-0.1 - np.hypot(0.1, 0.02))
    assert found.high == pytest.approx(-0.1 + np.hypot(0.06, 0.04))
    turned = apart(Interval(0.9, 0.86, 0.92), Interval(0.8, 0.7, 0.86))
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_the_interval_holds_the_true_difference_as_often_as_it_says() -> None:
    """Of two shares with Wilson's intervals, 60 and 200 patients; 95 % within 2 of 100."""
    from pipeline.evaluation.intervals import shares_interval

    generator, truth = np.random.default_rng(0), (0.75, 0.85)
    hits = [generator.binomial(num, p, 2000) for num, p in zip((60, 200), truth, strict=True)]
    held = 0
    for one, other in zip(*hits, strict=True):
        pair = []
        for num, hit in ((60, one), (200, other)):
            rows = np.zeros((num, 1), np.int64)
            rows[:hit] = 1
            value, low, high = shares_interval(rows, np.ones((num, 1), np.int64))
            pair.append(Interval(float(value[0]), float(low[0]), float(high[0])))
        found = apart(*pair)
        held += found.low <= truth[0] - truth[1] <= found.high
    assert 0.93 <= held / 2000 <= 0.97


def test_what_cannot_be_said_has_a_reason() -> None:
    new = {
        "auroc": entry(None),
        "accuracy": entry(0.8, 0.7, 0.9),
        "f1": entry(0.8),
        "mine": entry(0.5, 0.4, 0.6),
        "brier": entry(0.2, 0.1, 0.3),
    }
    crossed = {
        "auroc": entry(0.9, 0.8, 0.95),
        "accuracy": entry(None),
        "f1": entry(0.7, 0.6, 0.8),
        "brier": entry(0.25, 0.2, 0.3),
    }
    found = beside(new, crossed, "patient")
    assert list(found) == ["auroc", "accuracy", "f1", "brier"]  # the run does not know the other
    assert "no patient has the class" in found["auroc"]["missing"]
    assert "the cross-validation has no value" in found["accuracy"]["missing"]
    assert "no interval" in found["f1"]["missing"]
    assert found["brier"]["missing"] == ""
    assert found["brier"]["difference"] == pytest.approx(-0.05)
    for name in ("auroc", "accuracy", "f1"):
        assert found[name]["difference"] is None
