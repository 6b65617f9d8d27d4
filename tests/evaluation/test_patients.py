import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import UserError
from pipeline.config.sections import EvaluationConfig
from pipeline.evaluation.patients import per_patient

BINARY = ["neg", "pos"]
GRADES = ["none", "mild", "severe"]


def patients_of(table, classes, aggregate, label):
    patients = per_patient(table, classes, aggregate, label)
    assert patients is not None
    return patients


def binary_table(rows):
    """Rows of (fold, patient, label, probability of pos)."""
    folds, patients, labels, scores = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            "fold": folds,
            "patient_id": patients,
            "image_path": [f"{row}.png" for row in range(len(rows))],
            "label": labels,
            "prob_neg": 1 - np.array(scores),
            "prob_pos": scores,
        }
    )


def graded_table(patients, labels, probabilities):
    table = pd.DataFrame({"fold": 0, "patient_id": patients, "label": labels})
    table["image_path"] = [f"{row}.png" for row in range(len(table))]
    table[[f"prob_{name}" for name in GRADES]] = probabilities
    return table


TWO_PATIENTS = [
    (0, "b", "pos", 0.5),
    (0, "a", "neg", 0.125),
    (0, "b", "pos", 0.75),
    (0, "a", "neg", 0.375),
    (0, "b", "pos", 0.25),
]


def test_mean_by_hand():
    patients = patients_of(binary_table(TWO_PATIENTS), BINARY, "mean", "same")
    assert patients.to_dict("list") == {
        "fold": [0, 0],
        "patient_id": ["a", "b"],
        "label": ["neg", "pos"],
        "prob_neg": [0.75, 0.5],
        "prob_pos": [0.25, 0.5],
        "num_images": [2, 3],
    }


def test_max_by_hand():
    patients = patients_of(binary_table(TWO_PATIENTS), BINARY, "max", "same")
    assert patients["prob_pos"].tolist() == [0.375, 0.75]
    assert patients["prob_neg"].tolist() == [0.625, 0.25]


def test_max_of_more_classes_is_scaled_to_sum_1():
    rows = [[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]
    patients = patients_of(graded_table("aa", ["none"] * 2, rows), GRADES, "max", "same")
    assert patients.loc[0, ["prob_none", "prob_mild", "prob_severe"]].tolist() == [0.4, 0.2, 0.4]


@pytest.mark.parametrize(
    ("labels", "worst", "majority"),
    [
        (["none", "none", "severe"], "severe", "none"),
        (["mild", "none", "mild"], "mild", "mild"),
        (["none", "mild"], "mild", "mild"),
        (["severe", "none", "mild"], "severe", "severe"),
        (["mild", "mild", "none", "none", "severe"], "severe", "mild"),
    ],
)
def test_label_rules_by_hand(labels, worst, majority):
    table = graded_table(["a"] * len(labels), labels, np.full((len(labels), 3), 1 / 3))
    assert patients_of(table, GRADES, "mean", "worst")["label"].tolist() == [worst]
    assert patients_of(table, GRADES, "mean", "majority")["label"].tolist() == [majority]


def test_worst_follows_the_order_of_classes_not_of_the_alphabet():
    table = binary_table([(0, "a", "neg", 0.5), (0, "a", "pos", 0.5)])
    reverse = table.rename(columns={"prob_neg": "prob_pos", "prob_pos": "prob_neg"})
    assert patients_of(table, ["neg", "pos"], "mean", "worst")["label"].tolist() == ["pos"]
    assert patients_of(reverse, ["pos", "neg"], "mean", "worst")["label"].tolist() == ["neg"]


def test_images_that_disagree_are_an_error_that_names_patients_and_choices():
    table = binary_table([*TWO_PATIENTS, (0, "a", "pos", 0.5), (1, "c", "neg", 0.5)])
    with pytest.raises(UserError) as caught:
        patients_of(table, BINARY, "mean", "same")
    assert str(caught.value) == (
        "evaluation.patient_label=same: 1 of 3 patients have images with different labels, e.g. "
        "'a' (neg, pos). Choose evaluation.patient_label=worst (the label latest in "
        "['neg', 'pos']), majority (the most frequent) or none (no patient-level metrics)."
    )


def test_no_patient_level_when_patients_have_no_label():
    assert per_patient(binary_table(TWO_PATIENTS), BINARY, "mean", "none") is None


def test_a_patient_in_two_folds_has_a_row_in_each():
    table = binary_table([(1, "a", "neg", 0.5), (0, "a", "neg", 0.25), (0, "b", "neg", 0.25)])
    patients = patients_of(table, BINARY, "mean", "same")
    assert patients[["fold", "patient_id"]].values.tolist() == [[0, "a"], [0, "b"], [1, "a"]]


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ({"aggregate": "median"}, "aggregate\n.*should be 'mean' or 'max'.*'median'"),
        ({"patient_label": "any"}, "patient_label\n.*should be 'same', 'worst', .*'any'"),
    ],
)
def test_an_unknown_rule_is_refused_by_the_settings(setting, match):
    with pytest.raises(ValueError, match=match):
        EvaluationConfig(**setting)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from("abcd"),
            st.sampled_from(BINARY),
            st.floats(0, 1, width=16),
        ),
        min_size=1,
        max_size=20,
    ),
    aggregate=st.sampled_from(["mean", "max"]),
    label=st.sampled_from(["worst", "majority"]),
    random=st.randoms(use_true_random=False),
)
def test_row_order_does_not_matter_and_no_image_is_lost(rows, aggregate, label, random):
    table = binary_table(rows)
    patients = patients_of(table, BINARY, aggregate, label)
    shuffled = table.sample(frac=1, random_state=random.randrange(1000))
    pd.testing.assert_frame_equal(patients_of(shuffled, BINARY, aggregate, label), patients)
    assert patients["num_images"].sum() == len(rows)
    expected = table.groupby(["fold", "patient_id"])["prob_pos"].agg(aggregate)
    assert patients["prob_pos"].tolist() == pytest.approx(expected.tolist())
    assert (patients["prob_neg"] + patients["prob_pos"]).tolist() == pytest.approx(
        [1] * len(patients)
    )
