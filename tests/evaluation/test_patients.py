from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import UserError
from pipeline.config.sections import EvaluationConfig
from pipeline.evaluation.aggregation import aggregate, grows
from pipeline.evaluation.image_count import image_count
from pipeline.evaluation.patients import Rules, Step, by_level
from pipeline.label_names import LabelNames

BINARY = ["neg", "pos"]
GRADES = ["none", "mild", "severe"]


def patients_of(table, classes, aggregate, label):
    patients = by_level(table, classes, Rules(aggregate, label))["patient"]
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


BY_HAND: dict[str, Any] = {
    "mean": "mean",
    "max": "max",
    "top2": lambda of: sum(sorted(of)[-2:]) / min(2, len(of)),
    "q75": lambda of: of.quantile(0.75),
    "majority": lambda of: (of >= 0.5).mean(),
    "noisy_or": lambda of: 1 - np.prod(1 - of),
}
"""Of a patient's images, by pandas."""


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
    tables = by_level(binary_table(TWO_PATIENTS), BINARY, Rules("mean", "none"))
    assert list(tables) == ["image", "patient"]
    assert tables["patient"] is None


def test_a_patient_in_two_folds_has_a_row_in_each():
    table = binary_table([(1, "a", "neg", 0.5), (0, "a", "neg", 0.25), (0, "b", "neg", 0.25)])
    patients = patients_of(table, BINARY, "mean", "same")
    assert patients[["fold", "patient_id"]].values.tolist() == [[0, "a"], [0, "b"], [1, "a"]]


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ({"aggregate": "median"}, "aggregate\n.*must be mean, max, top3 .*'median'"),
        ({"aggregate": "top0"}, "aggregate\n.*must be mean, max, top3 .*'top0'"),
        ({"aggregate": "q101"}, "aggregate\n.*must be mean, max, top3 .*'q101'"),
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
    aggregate=st.sampled_from([*BY_HAND]),
    label=st.sampled_from(["worst", "majority"]),
    random=st.randoms(use_true_random=False),
)
def test_row_order_does_not_matter_and_no_image_is_lost(rows, aggregate, label, random):
    table = binary_table(rows)
    patients = patients_of(table, BINARY, aggregate, label)
    shuffled = table.sample(frac=1, random_state=random.randrange(1000))
    pd.testing.assert_frame_equal(patients_of(shuffled, BINARY, aggregate, label), patients)
    assert patients["num_images"].sum() == len(rows)
    expected = table.groupby(["fold", "patient_id"])["prob_pos"].agg(BY_HAND[aggregate])
    assert patients["prob_pos"].tolist() == pytest.approx(expected.tolist())
    assert (patients["prob_neg"] + patients["prob_pos"]).tolist() == pytest.approx(
        [1] * len(patients)
    )


@pytest.mark.parametrize("rule", [*BY_HAND])
def test_of_more_classes_each_is_aggregated_and_the_sum_is_1(rule):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 7)
    patients = ["a"] * 4 + ["b"] * 3
    found = patients_of(graded_table(patients, ["mild"] * 7, probabilities), GRADES, rule, "same")
    columns = found[[f"prob_{name}" for name in GRADES]].to_numpy()
    assert columns.sum(axis=1) == pytest.approx([1, 1])
    for row, rows in enumerate((probabilities[:4], probabilities[4:])):
        votes = (rows == rows.max(axis=1, keepdims=True)) if rule == "majority" else rows
        each = pd.DataFrame(1.0 * votes).agg("mean" if rule == "majority" else BY_HAND[rule])
        assert columns[row] == pytest.approx((each / each.sum()).to_numpy())


def test_labels_that_do_not_exclude_each_other_are_aggregated_alone():
    classes = LabelNames(["edema", "mass"])
    table = pd.DataFrame({"fold": 0, "patient_id": "a", "label": "edema", "prob_edema": [0.9, 0.2]})
    table["prob_mass"], table["image_path"] = [0.6, 0.5], ["0.png", "1.png"]
    found = patients_of(table, classes, "noisy_or", "worst")
    assert found["prob_edema"].tolist() == pytest.approx([0.92])
    assert found["prob_mass"].tolist() == pytest.approx([0.8])
    found = patients_of(table, classes, "majority", "worst")
    assert found[["prob_edema", "prob_mass"]].to_numpy().tolist() == [[0.5, 1.0]]


def test_no_vote_of_any_class_is_an_equal_one():
    table = graded_table(["a"], ["mild"], [[0.0, 0.0, 0.0]])
    found = patients_of(table, GRADES, "max", "same")
    assert found[[f"prob_{name}" for name in GRADES]].to_numpy() == pytest.approx(1 / 3)


# --- the number of images


BY_MAX = Step("image", "patient", "evaluation.aggregate", "max")


def counted_patients(more_for_pos):
    generator = np.random.default_rng(0)
    label = np.where(np.arange(80) % 2 == 0, "pos", "neg")
    table = pd.DataFrame({"fold": np.arange(80) % 4, "patient_id": [f"P{n}" for n in range(80)]})
    table["label"] = table["predicted"] = label
    table["prob_pos"] = generator.random(80)
    table["prob_neg"] = 1 - table["prob_pos"]
    table["num_images"] = generator.integers(1, 9, 80) + more_for_pos * (label == "pos")
    return table


@pytest.mark.parametrize("more", [4, -4])
def test_a_number_of_images_that_tells_the_class_is_told(more):
    table = counted_patients(more)
    found = image_count(table, BINARY, {p: p for p in table["patient_id"]}, BY_MAX)
    assert found is not None
    assert (found["ci_low"] > 0.5) == (more > 0)
    assert "The number of images alone tells pos" in found["note"]
    assert "evaluation.aggregate=max grows with that number" in found["note"]


def test_a_number_of_images_that_tells_nothing_is_not_told():
    table = counted_patients(0)
    assert image_count(table, BINARY, {p: p for p in table["patient_id"]}, BY_MAX) is None


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("mean", False),
        ("max", True),
        ("top3", True),
        ("q75", True),
        ("noisy_or", True),
        ("majority", False),
    ],
)
def test_which_rules_grow_with_the_number_of_images(rule, expected):
    """By what they do: a patient whose images are repeated at random levels."""
    assert grows(rule) == expected
    generator = np.random.default_rng(1)
    few, many = (
        np.mean(
            [aggregate(generator.random((n, 2)), np.array([0]), rule, False) for _ in range(400)]
        )
        for n in (4, 12)
    )
    assert (many - few > 0.05) == expected
