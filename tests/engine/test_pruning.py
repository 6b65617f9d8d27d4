"""A job of a sweep ends early when its first folds' validation falls behind, and only then."""

from statistics import fmean

import numpy as np
import pytest

from pipeline.arrays import Floats
from pipeline.engine.pruning import NEEDED, first_folds, pruned
from pipeline.engine.selecting import nested

BEFORE = [
    {0: 0.6, 1: 0.7, 2: 0.9},
    {0: 0.7, 1: 0.8, 2: 0.9},
    {0: 0.5, 1: 0.9, 2: 0.4},
]
"""Means of folds 0 and 1: 0.65, 0.75, 0.7."""


def test_it_is_measured_by_the_median_of_the_same_folds() -> None:
    found = pruned({0: 0.69, 1: 0.7}, BEFORE, lowest_first=False)
    assert found is not None
    assert found.folds == (0, 1)
    assert (found.mean, found.median) == pytest.approx((0.695, 0.7))
    assert "after 2 folds" in found.note
    assert pruned({0: 0.7, 1: 0.71}, BEFORE, lowest_first=False) is None
    assert pruned({0: 0.7, 1: 0.7}, BEFORE, lowest_first=False) is None  # equal is not behind


def test_of_a_loss_the_larger_falls_behind() -> None:
    assert pruned({0: 0.5, 1: 0.5}, BEFORE, lowest_first=True) is None
    found = pruned({0: 0.8, 1: 0.9}, BEFORE, lowest_first=True)
    assert found is not None
    assert found.median == pytest.approx(0.7)


def test_jobs_that_lack_a_fold_and_jobs_that_are_too_few_end_nobody() -> None:
    hopeless = {0: 0.0, 1: 0.0}
    assert pruned(hopeless, BEFORE[: NEEDED - 1], lowest_first=False) is None
    assert pruned(hopeless, [*BEFORE[:2], {0: 0.9, 2: 0.9}], lowest_first=False) is None
    assert pruned(hopeless, BEFORE, lowest_first=False) is not None


@pytest.mark.parametrize("lowest_first", [False, True])
def test_a_job_that_ended_early_on_easy_folds_is_never_the_best(lowest_first: bool) -> None:
    sign = -1 if lowest_first else 1
    before = [{0: sign * (0.9 + i / 100), 1: sign * 0.2, 2: sign * 0.2} for i in range(3)]
    found = pruned({0: sign * 0.9}, before, lowest_first)
    assert found is not None
    best = max(sign * fmean(of.values()) for of in before)
    assert sign * found.mean > best
    assert sign * found.objective < best


def test_the_first_folds_are_trained_first_only_where_that_can_end_a_job() -> None:
    folds = (0, 1, 2, 3)
    assert first_folds(folds, 2, NEEDED) == (0, 1)
    assert first_folds(folds, 2, NEEDED - 1) == ()
    assert first_folds(folds, 0, NEEDED) == ()
    assert first_folds(folds, 4, NEEDED) == ()


@pytest.mark.slow
def test_what_stopping_early_and_searching_leave_of_the_optimism_is_as_documented() -> None:
    """20 settings, each right for 75 % of 100 patients; val and test correctness correlate by 0.7.

    Who is stopped is decided over folds, and so is where a search goes on: nested selection among
    the rest is a little too good, far less than the best mean.
    """
    generator, num_folds, num = np.random.default_rng(0), 5, 20
    test_fold = np.arange(100) % num_folds
    val_fold = (test_fold - 1) % num_folds

    def parts(own: Floats, noise: Floats) -> tuple[Floats, Floats]:
        right = np.sqrt(0.89) * own + np.sqrt(0.11) * noise < 0.6745
        found = [
            np.array([side[:, of == fold].mean(axis=1) for fold in range(num_folds)]).T
            for side, of in zip(right, (val_fold, test_fold), strict=True)
        ]
        return found[0], found[1]

    def worth(val: Floats, test: Floats) -> float:
        return float(test[nested(val), np.arange(num_folds)].mean() - 0.75)

    found: dict[str, list[float]] = {"best mean": [], "nested": [], "stopped": [], "searched": []}
    for _ in range(400):
        own, noise = generator.normal(size=(num, 100)), generator.normal(size=(2, num, 100))
        val, test = parts(own, noise)
        found["best mean"].append(test[val.mean(axis=1).argmax()].mean() - 0.75)
        found["nested"].append(worth(val, test))
        kept: list[int] = []
        for i in range(num):
            before = [dict(enumerate(val[j].tolist())) for j in kept]
            if pruned({0: val[i, 0], 1: val[i, 1]}, before, lowest_first=False) is None:
                kept.append(i)
        found["stopped"].append(worth(val[kept], test[kept]))
        own[10:] = np.sqrt(0.8) * own[val[:10].mean(axis=1).argmax()] + np.sqrt(0.2) * own[10:]
        found["searched"].append(worth(*parts(own, noise)))
    mean = {name: float(np.mean(values)) for name, values in found.items()}
    assert abs(mean["nested"]) < 0.008
    assert 0.04 < mean["best mean"] < 0.07
    for name in ("stopped", "searched"):
        assert 0.002 < mean[name] < 0.02
