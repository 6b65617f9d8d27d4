"""Nested selection: what it chooses, and that choosing over all folds reports too much."""

import numpy as np
import pytest

from pipeline.engine.selecting import nested


def test_every_fold_has_its_own_best_and_the_first_of_equals() -> None:
    gain = np.array([[0.7, 0.8, 0.6], [0.9, 0.8, 0.5]])
    assert nested(gain).tolist() == [1, 0, 0]


@pytest.mark.parametrize("num_patients", [100, 300])
def test_the_best_mean_of_twenty_equal_settings_is_too_good_and_nested_selection_is_not(
    num_patients: int,
) -> None:
    """Every setting is right for 75 % of the patients. Two networks of a setting agree about a
    patient with a correlation of 0.7 (one validates on it, the other is tested on it), those of
    two settings with 0.4. benchmarks/coverage.py has more of them.
    """
    generator, num_runs, num_folds = np.random.default_rng(0), 20, 5
    naive, honest = [], []
    for _ in range(300):
        size = (num_runs, num_patients)
        own = generator.normal(size=size)
        noise = generator.normal(size=(2, *size))
        # 0.7 and 0.4 between what is right takes about 0.89 and 0.60 between what it is cut from
        shared = np.sqrt(0.6) * generator.normal(size=num_patients)
        skill = shared + np.sqrt(0.29) * own + np.sqrt(0.11) * noise
        in_val, in_test = skill < 0.6745
        test_fold = np.arange(num_patients) % num_folds
        val_fold = (test_fold - 1) % num_folds
        val = np.array([in_val[:, val_fold == fold].mean(axis=1) for fold in range(num_folds)]).T
        test = np.array([in_test[:, test_fold == fold].mean(axis=1) for fold in range(num_folds)]).T
        naive.append(test[val.mean(axis=1).argmax()].mean() - 0.75)
        honest.append(test[nested(val), np.arange(num_folds)].mean() - 0.75)
    expected = {100: 0.03, 300: 0.017}[num_patients]
    assert np.mean(naive) == pytest.approx(expected, abs=0.008)
    assert abs(np.mean(honest)) < 0.005
