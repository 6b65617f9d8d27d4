"""Two runs over the same patients: each test by its definition, and how often it cries wolf."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, norm, t, ttest_1samp

from pipeline.evaluation import comparison
from pipeline.evaluation.auroc import paired_delong
from pipeline.evaluation.cases import Cases
from pipeline.evaluation.comparison import Pair, corrected_t, difference, holm, verdict
from pipeline.evaluation.draws import Draws
from pipeline.evaluation.metrics import METRICS

NAMED = {metric.name: metric for metric in METRICS}
AUROC, BRIER = NAMED["auroc"], NAMED["brier"]


def judged(labels, scores):
    told = norm.cdf(scores)
    return Cases(labels, 1 * (told > 0.5), np.column_stack([1 - told, told]))


def pair_of(seed, positives=30, negatives=50, num_folds=5, gain=0.0, images=1):
    """Two runs that agree in part; the second is better by `gain` on the scale of the scores."""
    generator = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [positives, negatives])
    folds = np.concatenate([np.arange(positives), np.arange(negatives)]) % num_folds
    rows = np.arange(len(labels)).repeat(images)
    shared = generator.normal(size=len(labels))
    runs = []
    for more in (0.0, gain):
        own = 0.8 * shared + 0.6 * generator.normal(size=len(labels))
        noise = generator.normal(size=len(rows)) if images > 1 else 0.0
        runs.append(judged(labels[rows], own[rows] + noise + (0.8 + more) * (labels[rows] - 0.5)))
    return Pair(runs[0], runs[1], folds[rows], rows)


def compared(pair, metric=AUROC, test_over_train=1 / 3):
    found = difference(pair, metric, None, test_over_train)
    assert found is not None
    return found


def test_a_run_differs_from_itself_by_nothing():
    pair = pair_of(0)
    found = compared(replace(pair, second=pair.first))
    assert found.interval.value == found.interval.low == found.interval.high == 0
    assert (found.p, found.p_delong, found.p_mcnemar, found.p_folds) == (1, 1, 1, None)
    assert found.probability == 0.5


@pytest.mark.parametrize("name", ["auroc", "average_precision", "balanced_accuracy", "brier"])
def test_a_clear_difference_is_found(name):
    found = compared(pair_of(1, 80, 120, gain=1.5), NAMED[name])
    assert found.p < 0.01
    assert found.probability > 0.99
    assert (found.interval.low > 0) if NAMED[name].higher_is_better else (found.interval.high < 0)
    told = verdict(found, found.p, NAMED[name], "old", "new")
    assert told.startswith("new is better than old")


def test_no_difference_is_no_proof_of_equality():
    found = compared(pair_of(2))
    told = verdict(found, 0.4, AUROC, "old", "new")
    assert told.startswith("No difference between new and old is shown")
    assert "no proof that they are equal" in told


def test_a_worse_run_is_called_so():
    found = compared(pair_of(1, 80, 120, gain=1.5))
    pair = pair_of(1, 80, 120, gain=1.5)
    back = compared(replace(pair, first=pair.second, second=pair.first))
    assert back.interval.value == pytest.approx(-found.interval.value)
    assert verdict(back, back.p, AUROC, "old", "new").startswith("new is worse than old")


def test_the_spread_of_draws_is_corrected(monkeypatch):
    pair = pair_of(3)
    once = compared(pair)
    correction = float(np.sqrt(6 / 5))  # of 30 patients in five folds, six in each
    monkeypatch.setattr(Draws, "correction", 2 * correction)
    twice = compared(pair)
    assert twice.interval.high - twice.interval.low == pytest.approx(
        2 * (once.interval.high - once.interval.low)
    )


def test_values_and_folds_are_those_of_the_metric():
    pair = pair_of(3)
    found = compared(pair)
    assert found.first == AUROC.over(pair.first, None, pair.folds)
    assert found.second == AUROC.over(pair.second, None, pair.folds)
    assert len(found.per_fold) == 5
    assert np.mean([of for of in found.per_fold if of is not None]) == pytest.approx(
        found.interval.value
    )


def structural(labels, first, second):
    """DeLong's paired variance from all pairs of a positive and a negative."""
    kernels = []
    for scores in (first, second):
        above, below = scores[labels == 1], scores[labels == 0]
        kernels.append((above[:, None] > below) + 0.5 * (above[:, None] == below))
    gap = kernels[1] - kernels[0]
    sides = (gap.mean(axis=1 - axis).var(ddof=1) / gap.shape[axis] for axis in (0, 1))
    return gap.mean(), np.sqrt(sum(sides))


def test_delong_is_that_of_all_pairs():
    pair = pair_of(4, num_folds=1)
    scores = [of.probabilities[:, 1].round(1) for of in (pair.first, pair.second)]  # ties
    positive = (pair.first.labels == 1)[:, None]
    found = paired_delong(positive, scores[0][:, None], scores[1][:, None], pair.folds, pair.units)
    assert found == pytest.approx(structural(pair.first.labels, *scores), rel=1e-9)


def test_mcnemar_counts_whom_one_run_alone_gets_right():
    pair = pair_of(5)
    right = [of.predicted == of.labels for of in (pair.first, pair.second)]
    alone = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())]
    expected = binomtest(alone[0], sum(alone)).pvalue
    assert compared(pair).p_mcnemar == pytest.approx(expected)


def test_images_of_a_patient_are_not_independent_decisions():
    assert compared(pair_of(5, images=3)).p_mcnemar is None


def test_the_corrected_t_is_that_of_nadeau_and_bengio():
    values = [0.02, 0.05, -0.01, 0.03, 0.04]
    error = np.sqrt(np.var(values, ddof=1) * (1 / 5 + 1 / 3))
    expected = 2 * t.sf(np.mean(values) / error, 4)
    assert corrected_t(values, 1 / 3) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[0.1], [0.1, None, 0.2], [0.1, 0.1, 0.1]])
def test_folds_that_tell_no_spread_have_no_t(values):
    assert corrected_t(values, 1 / 3) is None


def test_folds_that_do_not_rotate_have_no_t():
    assert compared(pair_of(6), test_over_train=None).p_folds is None


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([0.01], [0.01]),
        ([0.04, 0.01], [0.04, 0.02]),
        ([0.01, 0.02, 0.03, 0.9], [0.04, 0.06, 0.06, 0.9]),
        ([0.6, 0.7], [1.0, 1.0]),
    ],
)
def test_holm_by_hand(p_values, expected):
    assert holm(p_values) == pytest.approx(expected)


def test_a_metric_that_is_undefined_gives_none():
    pair = pair_of(7)
    only = np.flatnonzero(pair.first.labels == 1)
    alone = Pair(pair.first.at(only), pair.second.at(only), pair.folds[only], np.arange(len(only)))
    assert difference(alone, AUROC, None, None) is None


# --- how often runs that are equally good are told apart


@pytest.mark.slow
@pytest.mark.parametrize(
    ("positives", "negatives", "num_folds", "images"),
    [(10, 90, 1, 1), (30, 50, 5, 1), (30, 30, 5, 10)],
)
def test_equal_runs_are_seldom_told_apart(positives, negatives, num_folds, images, monkeypatch):
    """benchmarks/coverage.py has the rates of many more draws."""
    monkeypatch.setattr(comparison, "NUM_DRAWS", 100)
    found = [
        compared(pair_of(seed, positives, negatives, num_folds, images=images))
        for seed in range(80)
    ]
    assert np.mean([of.p < 0.05 for of in found]) <= 0.10  # 5 % and two standard errors of 80
    assert np.mean([of.p_delong < 0.05 for of in found if of.p_delong is not None]) <= 0.11


def test_a_plain_t_over_repeated_folds_cries_wolf():
    """100 patients, 5 x 5 folds, two runs that are right equally often."""
    generator = np.random.default_rng(8)
    plain, corrected = 0, 0
    for _ in range(200):
        gap = (generator.random(100) < 0.75) * 1.0 - (generator.random(100) < 0.75)
        orders = [generator.permutation(100).reshape(5, 20) for _ in range(5)]
        differences = [float(gap[fold].mean()) for order in orders for fold in order]
        plain += ttest_1samp(differences, 0).pvalue < 0.05
        p = corrected_t(differences, 1 / 3)
        corrected += p is not None and p < 0.05
    assert plain > 0.1 * 200
    assert corrected <= 0.07 * 200
