"""Numbers that depend on nothing but seed, name and place."""

import numpy as np
import pytest

from pipeline.images.augment.draws import Draws

NUM = 200_000


def drawn(seed=0, name="zoom", num=1, places=None):
    return Draws(seed, np.arange(NUM) if places is None else places).uniform(name, num)


@pytest.mark.parametrize("num", [1, 3])
def test_a_place_draws_the_same_numbers_among_any_others(num):
    whole = drawn(num=num)
    chosen = np.random.default_rng(0).permutation(NUM)[:1000]
    assert np.array_equal(drawn(num=num, places=chosen), whole[chosen])
    assert np.array_equal(drawn(num=num, places=np.array([NUM - 1])), whole[-1:])


@pytest.mark.parametrize("seed", [0, 1, 2**62 + 17])
def test_numbers_are_uniform_in_each_column(seed):
    values = drawn(seed, num=3)
    assert values.min() >= 0
    assert values.max() < 1
    for column in values.T:
        counts = np.histogram(column, bins=50, range=(0, 1))[0]
        chi_square = ((counts - NUM / 50) ** 2 / (NUM / 50)).sum()
        assert chi_square < 95  # of 49 degrees of freedom: 1 in 10,000


def correlation(one, other):
    return abs(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_neighbours_columns_names_and_seeds_are_independent():
    limit = 4.5 / np.sqrt(NUM)
    values = drawn(num=3)
    for lag in (1, 2, 3, 64, 1000):
        assert correlation(values[lag:, 0], values[:-lag, 0]) < limit
    assert correlation(values[:, 0], values[:, 1]) < limit
    assert correlation(values[:, 0], values[:, 2]) < limit
    for other in (drawn(name="shift"), drawn(seed=1), drawn(seed=2**40)):
        assert correlation(drawn(), other) < limit


def test_pairs_of_neighbours_fill_the_square():
    values = drawn()[:, 0]
    counts = np.histogram2d(values[1:], values[:-1], bins=10, range=[[0, 1], [0, 1]])[0]
    expected = (NUM - 1) / 100
    assert ((counts - expected) ** 2 / expected).sum() < 160  # of 99 degrees of freedom


def test_no_two_of_many_are_the_same():
    assert len(np.unique(drawn(num=2))) == 2 * NUM


def test_limits_are_kept_on_both_sides():
    values = Draws(5, np.arange(NUM)).within(0.3, "shift", 2)
    assert values.min() == pytest.approx(-0.3, abs=1e-4)
    assert values.max() == pytest.approx(0.3, abs=1e-4)
