"""What statsmodels, an independent implementation, says of the same numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from pipeline.evaluation.cases import Cases
from pipeline.evaluation.comparison import Pair, corrected_t, difference, holm
from pipeline.evaluation.intervals import mean_of_shares_interval
from pipeline.evaluation.metrics import METRICS
from pipeline.evaluation.scores import weighted_kappa

pytestmark = pytest.mark.slow

SHARES = st.floats(0, 1)


@settings(max_examples=40)  # statsmodels collects all garbage in each call: 0.1 to 1 s
@given(st.lists(SHARES, min_size=1, max_size=12))
def test_holm(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-9)


@given(st.integers(1, 400), st.data())
def test_wilsons_interval(num: int, data: st.DataObject) -> None:
    right = np.arange(num) < data.draw(st.integers(0, num))
    found = mean_of_shares_interval([(np.ones(num, bool), right)], np.arange(num))
    assert found is not None
    expected = proportion_confint(int(right.sum()), num, method="wilson")
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.integers(0, 30), min_size=9, max_size=9))
def test_quadratic_kappa(counts: list[int]) -> None:
    table = np.array(counts, np.float64).reshape(3, 3)
    (found,) = weighted_kappa.of_matrices(table[None])
    by_chance = np.outer(table.sum(axis=1), table.sum(axis=0))
    if not (by_chance.sum() - np.trace(by_chance)):  # all in one cell
        assert np.isnan(found)
    else:
        expected = cohens_kappa(table, wt="quadratic", return_results=False)
        assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, 80)
    decided = [np.where(generator.random(80) < p, labels, 1 - labels) for p in (0.7, 0.85)]
    first, second = (Cases(labels, of, np.full((80, 2), 0.5)) for of in decided)
    right = [of == labels for of in decided]
    table = [[int((right[0] & right[1]).sum()), int((right[0] & ~right[1]).sum())]]
    table.append([int((right[1] & ~right[0]).sum()), int((~right[0] & ~right[1]).sum())])
    accuracy = next(metric for metric in METRICS if metric.name == "balanced_accuracy")
    pair = Pair(first, second, np.zeros(80, int), np.arange(80))
    found = difference(pair, accuracy, None, None)
    assert found is not None
    assert found.p_mcnemar == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-9)


@given(st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=25), st.floats(0, 1))
def test_the_corrected_t(values: list[float], test_over_train: float) -> None:
    """That of independent folds, on fewer of them: 1/J + test/train stands for 1/J."""
    if np.ptp(values) < 1e-6:
        return
    found = corrected_t(values, test_over_train)
    plain = DescrStatsW(values)
    scale = np.sqrt(1 + len(values) * test_over_train)
    expected = DescrStatsW(values).ttest_mean()[0] / scale
    assert found == pytest.approx(2 * t.sf(abs(expected), plain.nobs - 1), abs=1e-9)
