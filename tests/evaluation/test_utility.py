"""Decision curves: another implementation agrees, and intervals hold."""

import numpy as np
import pandas as pd
import pytest
from dcurves import dca

from pipeline.evaluation.cases import Cases
from pipeline.evaluation.utility import THRESHOLDS, decision_curve


def drawn(num, seed=0, prevalence=0.3, digits=9):
    generator = np.random.default_rng(seed)
    labels = generator.random(num) < prevalence
    odds = np.log(prevalence / (1 - prevalence)) + generator.normal(2 * labels - 1, 1.4)
    told = (1 / (1 + np.exp(-odds))).round(digits)
    return Cases(1 * labels, 1 * (told >= 0.5), np.column_stack([1 - told, told]))


@pytest.mark.parametrize(("num", "digits"), [(40, 9), (500, 1)])
def test_net_benefit_is_that_of_dcurves(num, digits):
    cases = drawn(num, digits=digits)
    found = decision_curve(cases, np.arange(num))
    data = pd.DataFrame({"ill": cases.labels, "told": cases.probabilities[:, 1]})
    table = dca(data=data, outcome="ill", modelnames=["told"], thresholds=THRESHOLDS)
    for name, values in (("told", found.model), ("all", found.treat_all)):
        expected = table[table["model"] == name]["net_benefit"].to_numpy()
        assert values == pytest.approx(expected, abs=1e-9)
    assert (table[table["model"] == "none"]["net_benefit"] == 0).all()


def test_by_hand():
    cases = Cases(
        np.array([1, 1, 0, 0]),
        np.array([1, 0, 1, 0]),
        np.array([[0.1, 0.9], [0.75, 0.25], [0.4, 0.6], [0.8, 0.2]]),
    )
    found = decision_curve(cases, np.arange(4), np.array([0.0, 0.25, 0.5, 0.9]))
    assert found.model == pytest.approx([0.5, 0.5 - 0.25 / 3, 0.0, 0.25])
    assert found.treat_all == pytest.approx([0.5, 0.5 - 0.5 / 3, 0.0, 0.5 - 0.5 * 9])


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("prevalence", [0.1, 0.4])
def test_intervals_hold_the_truth(threshold, prevalence):
    at = np.array([threshold])
    truth = decision_curve(drawn(400_000, 1, prevalence), np.arange(400_000), at).model[0]
    held = []
    for seed in range(100):
        found = decision_curve(drawn(80, seed, prevalence), np.arange(80), at)
        held.append(found.low[0] <= truth <= found.high[0])
    assert np.mean(held) >= 0.90  # 95 % of 100 less two and a half standard errors


def test_images_of_a_patient_do_not_make_a_curve_surer():
    cases, rows = drawn(60), np.arange(60).repeat(10)
    once, tenfold = decision_curve(cases, np.arange(60)), decision_curve(cases.at(rows), rows)
    assert tenfold.model == pytest.approx(once.model)
    width, wider = once.high - once.low, tenfold.high - tenfold.low
    assert (wider > 0.9 * width).all()


@pytest.mark.parametrize("thresholds", [[], [0.5, 0.5], [0.5, 1.0], [-0.1, 0.5]])
def test_thresholds_that_are_none_are_an_error(thresholds):
    with pytest.raises(RuntimeError, match="Expected rising thresholds from 0 to below 1"):
        decision_curve(drawn(20), np.arange(20), np.array(thresholds))


def test_more_classes_are_an_error():
    three = Cases(np.zeros(5, int), np.zeros(5, int), np.full((5, 3), 1 / 3))
    with pytest.raises(RuntimeError, match="Expected cases of 2 classes, got 5 of 3"):
        decision_curve(three, np.arange(5))
