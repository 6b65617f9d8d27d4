"""Temperature and bias: known distortions are found, other implementations agree, order holds."""

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from pipeline.evaluation.calibration import calibration_intercept, calibration_slope
from pipeline.evaluation.cases import Cases
from pipeline.evaluation.predictions import prob_columns, with_calibration
from pipeline.evaluation.recalibration import Calibration, Shares, calibrated_on
from pipeline.label_names import LabelNames

CLASSES = ["a", "b", "c"]
BINARY = ["healthy", "ill"]


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def drawn(num, temperature, bias=(0.0, 0.0, 0.0), seed=0, spread=4.0):
    """Labels of known probabilities, and what a model tells, who is too sure and biased."""
    generator = np.random.default_rng(seed)
    true = generator.normal(0, spread / temperature, (num, len(bias)))
    labels = (softmax(true).cumsum(axis=1) < generator.random((num, 1))).sum(axis=1)
    told = softmax(temperature * (true - np.array(bias)))
    return labels[:, None] == np.arange(len(bias)), told


def fitted(
    has, told, method="temperature", classes=CLASSES, patients=None, wanted=None, trained=None
):
    shares = has.mean(axis=0) if trained is None else trained
    patients = [str(row) for row in range(len(told))] if patients is None else patients
    return calibrated_on(has, told, patients, method, classes, 3, Shares(shares, wanted))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("temperature", [2.0, 0.5])
def test_a_temperature_is_found(temperature, seed):
    has, told = drawn(2000, temperature, seed=seed, spread=2 * temperature)
    found = fitted(has, told)
    assert found.temperature[0] == pytest.approx(temperature, abs=0.05 * temperature)
    assert found.bias == (0, 0, 0)


def test_biases_are_found_with_it():
    has, told = drawn(20_000, 2.0, bias=(0.0, 0.7, -0.4))
    found = fitted(has, told, "temperature_bias")
    assert found.temperature[0] == pytest.approx(2.0, abs=0.1)
    assert found.bias == pytest.approx((0.0, 0.7, -0.4), abs=0.1)


def by_scikit_learn(odds, ill, method):
    """Probabilities that its calibration of a model with these log odds gives."""
    model = LogisticRegression()
    model.classes_, model.coef_, model.intercept_ = np.array([0, 1]), np.ones((1, 1)), np.zeros(1)
    calibrated = CalibratedClassifierCV(FrozenEstimator(model), method=method)
    return calibrated.fit(odds[:, None], 1 * ill).predict_proba(odds[:, None])


@pytest.mark.parametrize("num", [30, 300])
def test_of_two_classes_both_together_are_platts_scaling_by_scikit_learn(num):
    has, told = drawn(num, 2.0, bias=(0.0, 0.5))
    expected = by_scikit_learn(np.log(told[:, 1] / told[:, 0]), has[:, 1], "sigmoid")
    ours = fitted(has, told, "temperature_bias", BINARY).apply(told)
    assert ours == pytest.approx(expected, abs=1e-5)


def test_of_many_cases_the_temperature_is_that_of_scikit_learn():
    has, told = drawn(5000, 2.0, bias=(0.0, 0.0))
    expected = by_scikit_learn(np.log(told[:, 1] / told[:, 0]), has[:, 1], "temperature")
    assert fitted(has, told, classes=BINARY).apply(told) == pytest.approx(expected, abs=5e-3)


def test_a_temperature_turns_no_ranking_even_of_a_model_that_is_worse_than_chance():
    has, told = drawn(200, 1.0, bias=(0.0, 0.0))
    found = fitted(has[:, ::-1], told, classes=BINARY)
    after = found.apply(told)[:, 1]
    assert found.temperature[0] == pytest.approx(20)
    order = np.argsort(told[:, 1])
    assert (np.diff(after[order]) >= 0).all()


def test_a_part_told_apart_without_an_error_does_not_make_the_model_certain():
    labels = np.arange(24) % 2
    told = np.where(labels == 1, 0.7, 0.3) + np.linspace(-0.05, 0.05, 24)
    has = labels[:, None] == np.arange(2)
    after = fitted(has, np.column_stack([1 - told, told]), classes=BINARY).apply(
        np.column_stack([1 - told, told])
    )
    assert 0.85 < after[labels == 1, 1].mean() < 0.97


def test_each_patient_counts_the_same():
    """One patient with 500 images, of which the model is wrongly sure, is one of 40."""
    has, told = drawn(40, 1.0, bias=(0.0, 0.0), seed=2)
    once = fitted(has, told, classes=BINARY)
    rows = np.append(np.arange(40), np.full(500, 7))
    patients = [str(row) for row in rows]
    often = fitted(has[rows], told[rows], classes=BINARY, patients=patients)
    assert often.temperature == pytest.approx(once.temperature, rel=1e-5)
    assert often.num_patients == 40


@pytest.mark.parametrize("method", ["temperature", "temperature_bias"])
def test_too_few_patients_of_a_class_change_nothing_and_are_named(method):
    has, told = drawn(60, 2.0, bias=(0.0, 0.0))
    keep = np.append(np.flatnonzero(has[:, 0]), np.flatnonzero(has[:, 1])[:4])
    patients = [str(row) for row in keep]
    found = fitted(has[keep], told[keep], method, BINARY, patients)
    assert "a class has 4 of the validation part's" in found.skipped["all"]
    assert found.apply(told) == pytest.approx(told, abs=1e-7)
    healthy = has[:, 0]
    one_class = fitted(has[healthy], told[healthy], method, BINARY)
    assert "a class has 0" in one_class.skipped["all"]


def test_every_label_is_calibrated_by_itself():
    columns = [drawn(4000, t, bias=(0.0, b)) for t, b in ((2.0, 0.0), (0.5, 0.6))]
    has = np.column_stack([has[:, 1] for has, _ in columns])
    told = np.column_stack([told[:, 1] for _, told in columns])
    rare = np.arange(4000) < 3
    found = fitted(
        np.column_stack([has, rare]),
        np.column_stack([told, np.full(4000, 0.2)]),
        "temperature_bias",
        LabelNames(["x", "y", "rare"]),
    )
    assert found.temperature[:2] == pytest.approx((2.0, 0.5), rel=0.1)
    assert found.bias[:2] == pytest.approx((0.0, 0.6), abs=0.15)
    assert list(found.skipped) == ["rare"]
    after = found.apply(np.column_stack([told, np.full(4000, 0.2)]))
    assert after[:, 2] == pytest.approx(0.2)
    assert after[:, 0].mean() == pytest.approx(has[:, 0].mean(), abs=0.01)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("method", ["temperature", "temperature_bias"])
def test_a_prior_is_the_last_step_and_holds_where_it_is_asked_for(method, several):
    """Fitted where half are ill; right again in a place where 1 in 20 is."""
    has, told = drawn(20_000, 2.0, bias=(0.0, 0.0))
    there = np.random.default_rng(1).random(20_000) < np.where(has[:, 1], 0.05 / 0.95, 1.0)
    wanted = np.array([0.95, 0.05])
    classes: Sequence[str] = BINARY
    if several:
        has, told, wanted, classes = has[:, 1:], told[:, 1:], wanted[1:], LabelNames(["ill"])
    # a bias makes the shares those of validation, whatever the model was trained under
    trained = 0 * wanted + 0.3 if method == "temperature_bias" else None
    fit = fitted(has, told, method, classes, wanted=wanted, trained=trained)
    after = fit.apply(told)[there, -1]
    ill = has[there, -1]
    cases = Cases(1 * ill, 1 * ill, np.column_stack([1 - after, after]))
    assert calibration_intercept(cases) == pytest.approx(0, abs=0.12)
    assert calibration_slope(cases) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("classes", [CLASSES, LabelNames(CLASSES)])
def test_it_reads_back_as_it_was(classes):
    has, told = drawn(300, 2.0, bias=(0.0, 0.2, 0.1))
    found = fitted(has, told, "temperature_bias", classes, wanted=np.array([0.2, 0.3, 0.5]))
    result = json.loads(json.dumps({"fold": 3, "calibration": found.record()}))
    assert Calibration.read(result, classes) == found
    assert Calibration.read({"fold": 3}, classes) is None


def test_a_certain_model_stays_finite():
    told = np.array([[1.0, 0.0], [0.0, 1.0]]).repeat(10, axis=0)
    has = told[::-1] > 0.5
    for classes in (BINARY, LabelNames(BINARY)):
        assert np.isfinite(fitted(has, told, "temperature_bias", classes).apply(told)).all()


def test_a_table_of_another_fold_is_refused():
    has, told = drawn(60, 2.0)
    calibration = fitted(has, told)
    table = pd.DataFrame(told, columns=prob_columns(CLASSES)).assign(fold=3)
    after = with_calibration(table, calibration)
    assert after[prob_columns(CLASSES)].to_numpy() == pytest.approx(calibration.apply(told))
    with pytest.raises(RuntimeError, match=r"of fold 3 is for its own rows, got some of \[2\]"):
        with_calibration(table.assign(fold=2), calibration)


def test_the_median_of_several_fits_leaves_out_those_that_fitted_nothing():
    def fit(temperature, bias, skipped=None, classes=CLASSES):
        return Calibration(
            0, "temperature_bias", classes, temperature, bias, (0.0,) * len(bias), 10, skipped or {}
        )

    few = {"all": "a class has 2 of the validation part's 9 patients, fewer than 5"}
    fits = [fit((t,), (0.0, t, -t)) for t in (1.2, 3.0, 1.6)]
    found = Calibration.median([*fits, fit((1.0,), (0.0, 0.0, 0.0), few)], -1)
    assert found.fold == -1
    assert found.temperature == (1.6,)
    assert found.bias == (0.0, 1.6, -1.6)
    assert found.num_patients == 40
    assert found.skipped == {}
    alone = Calibration.median([fit((1.0,), (0.0, 0.0, 0.0), few)] * 2, -1)
    assert alone.temperature == (1.0,)
    assert alone.skipped == few
    names = LabelNames(("edema", "effusion"))
    some = {"effusion": "a class has 1 of the validation part's 9 patients, fewer than 5"}
    labels = [
        fit((1.0, 2.0), (0.1, 0.2), classes=names),
        fit((3.0, 1.0), (0.3, 0.0), some, classes=names),
    ]
    of_labels = Calibration.median(labels, -1)
    assert of_labels.temperature == (2.0, 2.0)
    assert of_labels.bias == pytest.approx((0.2, 0.2))
    assert Calibration.read({"fold": -1, "calibration": of_labels.record()}, names) == of_labels
