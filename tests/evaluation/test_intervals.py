"""Intervals of shares, of means of shares, and of what is drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn.metrics import average_precision_score, roc_auc_score

from pipeline.evaluation.cases import Cases
from pipeline.evaluation.draws import Draws, strata_of, weighted_auroc, weighted_average_precision
from pipeline.evaluation.intervals import Interval, drawn_interval, mean_of_shares_interval
from pipeline.evaluation.metrics import METRICS


def joined(pairs, units):
    found = mean_of_shares_interval(pairs, units)
    assert found is not None
    return found


def share(right, units=None):
    everyone = np.ones(len(right), bool)
    units = np.arange(len(right)) if units is None else units
    return joined([(everyone, np.array(right))], units)


def bounds(interval):
    return [interval.low, interval.high]


@given(st.integers(1, 300), st.data())
def test_a_share_of_patients_has_wilsons_interval(num, data):
    hits = data.draw(st.integers(0, num))
    found = share(np.arange(num) < hits)
    expected = binomtest(hits, num).proportion_ci(method="wilson")
    assert found.value == pytest.approx(hits / num)
    assert bounds(found) == pytest.approx([expected.low, expected.high], abs=1e-12)


def test_images_of_a_patient_that_are_alike_count_as_one():
    right = np.arange(40) < 31
    once, tenfold = share(right), share(right.repeat(10), np.arange(40).repeat(10))
    assert bounds(tenfold) == pytest.approx(bounds(once), abs=0.01)
    assert tenfold.high - tenfold.low > once.high - once.low


def test_images_that_are_not_alike_tell_more():
    generator = np.random.default_rng(0)
    right, units = generator.random(400) < 0.8, np.arange(40).repeat(10)
    width = np.subtract(*bounds(share(right, units)))
    assert width == pytest.approx(np.subtract(*bounds(share(right))), rel=0.3)


@pytest.mark.parametrize("all_right", [True, False])
def test_many_images_of_few_patients_are_no_certainty(all_right):
    """All alike says nothing of how alike another patient's would be: three patients count."""
    found = share(np.full(60, all_right), np.arange(3).repeat(20))
    assert found.high - found.low > 0.5


def test_nothing_counted_has_no_interval():
    nobody = np.zeros(3, bool)
    assert mean_of_shares_interval([(nobody, nobody)], np.arange(3)) is None


def covered(rates, sizes, seed, num_draws=400):
    """How often the mean of independent shares is inside."""
    generator, hits = np.random.default_rng(seed), 0
    of = np.arange(len(sizes)).repeat(sizes)
    for _ in range(num_draws):
        right = generator.random(len(of)) < np.array(rates)[of]
        pairs = [(of == number, right) for number in range(len(sizes))]
        found = joined(pairs, np.arange(len(of)))
        hits += found.low <= np.mean(rates) <= found.high
    return hits / num_draws


@pytest.mark.parametrize("sizes", [(5, 50), (20, 20), (10, 300), (10, 20, 40)])
@pytest.mark.parametrize("rate", [0.6, 0.9])
def test_a_balanced_accuracy_is_inside_as_often_as_it_says(sizes, rate):
    rates = [rate, 0.75, 0.8][: len(sizes)]
    assert 0.92 <= covered(rates, sizes, seed=1) <= 0.995


def test_shares_of_the_same_patients_are_not_taken_for_independent():
    """The same patients, right in both shares or in none: no surer than one share."""
    generator = np.random.default_rng(2)
    right = (generator.random(40) < 0.7).repeat(2)
    first = np.arange(80) % 2 == 0
    units = np.arange(40).repeat(2)
    both = joined([(first, right), (~first, right)], units)
    one = share(right[::2])
    assert bounds(both) == pytest.approx(bounds(one), abs=1e-9)
    apart = joined([(first, right), (~first, right)], np.arange(80))
    assert apart.high - apart.low < 0.8 * (one.high - one.low)


def test_strata_are_classes_and_folds_unless_folds_share_patients():
    labels, folds = np.arange(24) % 2, np.arange(24) // 8
    assert len(strata_of(labels, folds, np.arange(24))) == 6
    assert len(strata_of(labels, folds, np.arange(24) % 10)) == 2


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(weighted_auroc, roc_auc_score), (weighted_average_precision, average_precision_score)],
)
def test_weighted_rankings_are_those_of_scikit_learn(ours, theirs):
    generator = np.random.default_rng(3)
    positive, scores = generator.random(80) < 0.3, generator.random(80).round(1)  # ties
    weights = np.array(generator.integers(0, 4, (5, 80)), np.float64)
    expected = [theirs(positive, scores, sample_weight=w) for w in weights]
    assert ours(positive, scores, weights) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(ours(positive, scores, np.where(positive[None], 0.0, 1.0))).all()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("num_folds", [1, 3])
def test_what_counts_twice_is_there_twice(metric, num_folds):
    """Every metric under weights is that of rows that are repeated."""
    generator = np.random.default_rng(4)
    labels, folds = generator.integers(0, 2, 90), np.arange(90) % num_folds
    told = np.clip(0.2 * labels + 0.8 * generator.random(90), 0.01, 0.99)
    cases = Cases(labels, 1 * (told > 0.6), np.column_stack([1 - told, told]))
    times = generator.integers(0, 3, 90)
    rows = np.arange(90).repeat(times)
    expected = metric.over(cases.at(rows), None, folds[rows])
    found = metric.weighted(cases, None, folds, times[None].astype(np.float64))
    assert found == pytest.approx([expected], abs=1e-9)
    once = metric.weighted(cases, None, folds, np.ones((1, 90)))
    assert once == pytest.approx([metric.over(cases, None, folds)], abs=1e-9)


def test_draws_are_of_whole_units_within_their_strata():
    units, folds = np.arange(30).repeat(2), (np.arange(60) // 30)
    positive = (units % 3 == 0)[:, None]
    draws = Draws.of(positive, folds, units, num=50)
    (weights,) = draws.weights()
    assert (weights[:, ::2] == weights[:, 1::2]).all()  # both images of a patient
    for fold in (0, 1):
        for side in (True, False):
            rows = (folds == fold) & (positive[:, 0] == side)
            assert (weights[:, rows].sum(axis=1) == rows.sum()).all()
    (again,) = draws.weights()
    assert (weights == again).all()
    assert draws.correction == pytest.approx(np.sqrt(5 / 4))


def test_an_average_precision_holds_its_truth():
    (metric,) = (metric for metric in METRICS if metric.name == "average_precision")
    shift, prevalence, generator = np.sqrt(2) * norm.ppf(0.85), 0.2, np.random.default_rng(4)
    everyone = np.arange(200_000) < 200_000 * prevalence
    truth = average_precision_score(everyone, generator.normal(size=200_000) + shift * everyone)
    for num, least in ((50, 0.92), (200, 0.92)):
        hits = 0
        for _ in range(100):
            labels = (np.arange(num) < num * prevalence).astype(np.int64)
            scores = generator.normal(size=num) + shift * labels
            cases = Cases(labels, labels, np.column_stack([-scores, scores]))
            found = metric.interval_of(cases, None, np.zeros(num, int), np.arange(num))
            assert found is not None
            hits += found.low <= truth <= found.high
        assert hits >= 100 * least


def test_a_perfect_value_is_not_certain():
    found = drawn_interval(1.0, np.ones(100), 1.0, (6, 30), "share")
    assert found is not None
    assert found.value == found.high == 1
    assert found.low < 0.75


def test_a_perfect_correlation_is_not_certain():
    found = drawn_interval(1.0, np.ones(100), 1.0, (6, 30), "correlation")
    assert found is not None
    assert found.value == found.high == 1
    assert 0 < found.low < 0.9


def test_a_loss_has_the_longer_side_above_and_a_skill_below():
    drawn = 0.5 + np.random.default_rng(0).normal(size=300) / 10
    loss = drawn_interval(0.5, drawn, 1.0, (20, 60), "loss")
    skill = drawn_interval(0.5, drawn, 1.0, (20, 60), "skill")
    assert loss is not None
    assert skill is not None
    assert 0 < 0.5 - loss.low < loss.high - 0.5
    assert bounds(skill) == pytest.approx([1 - loss.high, 1 - loss.low])


def test_a_loss_that_hangs_on_one_patient_has_a_finite_interval():
    drawn = np.where(np.arange(300) % 3 == 0, 0.0, 1.0)
    found = drawn_interval(1e-3, drawn, 1.0, (2, 30), "loss")
    assert found is not None
    assert 0 <= found.low < 1e-3 < 1 < found.high < 100


@pytest.mark.parametrize("scale", ["share", "loss", "skill", "correlation", "number"])
def test_what_draws_lack_widens_the_interval(scale):
    drawn = 0.5 + np.random.default_rng(0).normal(size=300) / 20
    once, twice = (drawn_interval(0.5, drawn, by, (1000, 3000), scale) for by in (1.0, 2.0))
    assert once is not None
    assert twice is not None
    assert twice.high - twice.low == pytest.approx(2 * (once.high - once.low), rel=0.05)


def test_what_is_undefined_in_many_draws_has_no_interval():
    drawn = np.where(np.arange(100) < 6, np.nan, 0.5 + np.arange(100) / 1000)
    assert drawn_interval(0.5, drawn, 1.0, (6, 30), "share") is None
    assert drawn_interval(0.5, drawn[2:], 1.0, (6, 30), "share") is not None


def test_an_interval_is_written_with_three_digits():
    assert str(Interval(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"
