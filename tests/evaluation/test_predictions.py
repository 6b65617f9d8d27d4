import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.decision import Decision, Threshold
from pipeline.evaluation.predictions import gather_folds, prediction_table, with_decisions
from pipeline.label_names import LabelNames

CLASSES = ["benign", "malignant"]


def samples_of(num_samples, prefix="p"):
    rows = range(num_samples)
    return pd.DataFrame(
        {
            "patient_id": [f"{prefix}{row // 2:02d}" for row in rows],
            "image_path": [f"{row:03d}.png" for row in rows],
            "label": [CLASSES[row % 2] for row in rows],
        }
    )


def binary(positive):
    positive = np.asarray(positive, dtype=np.float32)
    return np.column_stack([1 - positive, positive])


@settings(max_examples=60, deadline=None)
@given(order=st.integers(1, 30).flatmap(lambda size: st.permutations(range(size))))
def test_each_sample_gets_its_own_probabilities_in_whatever_order_they_come(order):
    size = len(order)
    scores = np.linspace(0, 1, size + 2, dtype=np.float32)[1:-1]  # one of its own per sample
    indices = np.array(order)
    table = prediction_table(samples_of(size), binary(scores[indices]), indices, CLASSES, fold=3)
    assert table["image_path"].tolist() == [f"{row:03d}.png" for row in range(size)]
    assert table["prob_malignant"].tolist() == scores.astype(float).tolist()
    assert table["label"].tolist() == samples_of(size)["label"].tolist()
    assert set(table["fold"]) == {3}


def test_rows_are_sorted_by_patient_and_image_whatever_the_order_of_samples():
    samples = samples_of(6).iloc[[4, 2, 5, 0, 3, 1]]
    table = prediction_table(samples, binary(np.full(6, 0.5)), np.arange(6), CLASSES, 0)
    pairs = list(zip(table["patient_id"], table["image_path"], strict=True))
    assert pairs == sorted(pairs)
    assert list(table.columns) == [
        "fold",
        "patient_id",
        "image_path",
        "label",
        "prob_benign",
        "prob_malignant",
    ]


@pytest.mark.parametrize(
    ("indices", "match"),
    [
        ([0, 1, 2], r"1 have no prediction, e\.g\. 3"),
        ([0, 1, 2, 3, 1], r"1 have more than one, e\.g\. 1"),
        ([0, 1, 2, 2], r"1 have no prediction, e\.g\. 3; 1 have more than one, e\.g\. 2"),
        ([0, 1, 2, 3, 4], r"1 not among the samples, e\.g\. 4"),
        ([0, 1, 2, 3, -1], r"1 not among the samples, e\.g\. -1"),
    ],
)
def test_a_part_not_predicted_exactly_once_is_an_error(indices, match):
    probabilities = binary(np.full(len(indices), 0.5))
    with pytest.raises(RuntimeError, match=match):
        prediction_table(samples_of(4), probabilities, np.array(indices), CLASSES, 0)


@pytest.mark.parametrize("row", [[np.nan, np.nan], [np.inf, 0.0], [0.5, 0.501], [1.5, -0.5]])
def test_numbers_that_are_no_probabilities_are_an_error(row):
    probabilities = np.array([[0.5, 0.5], row])
    with pytest.raises(RuntimeError, match=r"sum to 1, not so in 1 of 2 rows, e\.g\. row 1"):
        prediction_table(samples_of(2), probabilities, np.arange(2), CLASSES, 0)


def test_rounding_in_float32_is_not_an_error():
    probabilities = np.array([[0.5, 0.50005], [1.00001, -0.00001]])
    table = prediction_table(samples_of(2), probabilities, np.arange(2), CLASSES, 0)
    assert table["prob_benign"].tolist() == [0.5, 1.0]


def test_probabilities_of_another_number_of_classes_are_an_error():
    with pytest.raises(RuntimeError, match=r"expected probabilities of shape \(2, 2\), got \(2, 3"):
        prediction_table(samples_of(2), np.full((2, 3), 1 / 3), np.arange(2), CLASSES, 0)


def test_a_label_outside_the_classes_is_an_error():
    with pytest.raises(RuntimeError, match=r"among \['benign', 'x'\], got \['malignant'\]"):
        prediction_table(samples_of(2), binary([0.5, 0.5]), np.arange(2), ["benign", "x"], 0)


def decision(classes, *values, fold=0):
    names = classes if isinstance(classes, LabelNames) else classes[1:]
    thresholds = [Threshold(value, "fixed", "none", None) for value in values]
    return Decision(fold, classes, dict(zip(names, thresholds, strict=False)))


def test_a_score_at_the_threshold_is_positive():
    table = prediction_table(samples_of(3), binary([0.25, 0.5, 0.75]), np.arange(3), CLASSES, 0)
    assert with_decisions(table, CLASSES, decision(CLASSES, 0.5))["predicted"].tolist() == [
        "benign",
        "malignant",
        "malignant",
    ]
    assert "predicted" not in table


def test_more_classes_take_the_most_probable():
    table = pd.DataFrame({"prob_a": [0.2, 0.4], "prob_b": [0.5, 0.2], "prob_c": [0.3, 0.4]})
    classes = ["a", "b", "c"]
    decided = with_decisions(table.assign(fold=0), classes, decision(classes))
    assert decided["predicted"].tolist() == ["b", "a"]


def test_each_label_has_its_own_threshold():
    classes = LabelNames(["a", "b"])
    table = pd.DataFrame({"fold": 3, "prob_a": [0.2, 0.4], "prob_b": [0.5, 0.2]})
    decided = with_decisions(table, classes, decision(classes, 0.3, 0.1, fold=3))
    assert decided["predicted"].tolist() == ["b", "a|b"]


@pytest.mark.parametrize("number", [0.5, {"malignant": 0.5}, None])
def test_a_number_decides_nothing(number):
    table = prediction_table(samples_of(2), binary([0.25, 0.5]), np.arange(2), CLASSES, 0)
    with pytest.raises(RuntimeError, match="Expected a decision that knows where it was chosen"):
        with_decisions(table, CLASSES, number)


def test_a_decision_of_another_fold_is_refused():
    table = prediction_table(samples_of(2), binary([0.25, 0.5]), np.arange(2), CLASSES, 3)
    with pytest.raises(RuntimeError, match=r"of fold 2 is for its own rows, got some of \[3\]"):
        with_decisions(table, CLASSES, decision(CLASSES, 0.5, fold=2))


def test_a_decision_between_other_classes_is_refused():
    table = prediction_table(samples_of(2), binary([0.25, 0.5]), np.arange(2), CLASSES, 0)
    with pytest.raises(RuntimeError, match="does not decide between"):
        with_decisions(table, CLASSES, decision(["benign", "x"], 0.5))


def fold_tables(samples, num_folds):
    """Patients dealt to folds in turn."""
    patients = sorted(set(samples["patient_id"]))
    tables = []
    for fold in range(num_folds):
        rows = samples[samples["patient_id"].isin(patients[fold::num_folds])]
        probabilities = binary(np.full(len(rows), 0.5))
        tables.append(prediction_table(rows, probabilities, np.arange(len(rows)), CLASSES, fold))
    return tables


def once(samples):
    return dict.fromkeys(samples["patient_id"], 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 15), st.integers(1, 3), st.randoms(use_true_random=False))
def test_folds_gather_to_the_manifest_in_whatever_order(num_patients, num_folds, random):
    samples = samples_of(2 * num_patients)
    tables = fold_tables(samples, num_folds)
    gathered = gather_folds(tables, samples, once(samples))
    random.shuffle(tables)
    shuffled = samples.sample(frac=1, random_state=random.randrange(1000))
    pd.testing.assert_frame_equal(gather_folds(tables, shuffled, once(shuffled)), gathered)
    assert gathered["image_path"].tolist() == samples["image_path"].tolist()


def test_a_sample_without_test_prediction_is_an_error():
    samples = samples_of(12)
    first, second = fold_tables(samples, 2)
    with pytest.raises(RuntimeError, match=r"1 of 12 have no prediction, e\.g\. \('p00', '001"):
        gather_folds([first.drop(index=1), second], samples, once(samples))


def test_a_sample_tested_twice_is_an_error():
    samples = samples_of(12)
    first, second = fold_tables(samples, 2)
    doubled = first.iloc[:1].assign(fold=1)
    with pytest.raises(RuntimeError, match=r"1 predicted twice or not a sample, e\.g\. \('p00'"):
        gather_folds([first, second, doubled], samples, once(samples))


def test_a_sample_of_another_manifest_is_an_error():
    samples = samples_of(12)
    with pytest.raises(RuntimeError, match=r"2 predicted twice or not a sample, e\.g\. \('p05'"):
        gather_folds(fold_tables(samples, 2), samples.iloc[:10], once(samples.iloc[:10]))


def test_a_label_that_changed_is_an_error():
    samples = samples_of(12)
    tables = fold_tables(samples, 2)
    with pytest.raises(RuntimeError, match=r"e\.g\. \('p00', '000.png', 'malignant'\)"):
        gather_folds(
            tables, samples.assign(label="malignant"), once(samples.assign(label="malignant"))
        )


def test_a_patient_tested_in_two_folds_is_an_error():
    samples = samples_of(12)
    first, second = fold_tables(samples, 2)
    torn = first.assign(fold=[2, *first["fold"][1:]])
    with pytest.raises(RuntimeError, match=r"1 patient tested in another number of folds.*'p00'"):
        gather_folds([torn, second], samples, once(samples))
