import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from pipeline.evaluation import confusion, decision_metrics, metrics, num_per_class, ranking_metrics

BINARY = ["neg", "pos"]
GRADES = ["none", "mild", "severe"]


def table_of(classes, labels, predicted, probabilities):
    table = pd.DataFrame({"label": labels, "predicted": predicted})
    table[[f"prob_{name}" for name in classes]] = probabilities
    return table


def random_table(classes, seed, size=200):
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, len(classes), size)
    logits = generator.normal(size=(size, len(classes))).round(1)  # rounded: ties occur
    logits[np.arange(size), codes] += 1
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = np.array(classes)
    return table_of(classes, names[codes], names[probabilities.argmax(axis=1)], probabilities)


def test_binary_by_hand():
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    table = table_of(
        BINARY,
        ["neg", "neg", "pos", "pos"],
        ["neg", "pos", "neg", "pos"],
        np.column_stack([1 - scores, scores]),
    )
    table.loc[4] = ["neg", "neg", 0.95, 0.05]
    found = metrics(table, BINARY)
    assert found == {
        "auroc": pytest.approx(5 / 6),  # 5 of the 6 pairs of a pos and a neg are in order
        "average_precision": pytest.approx((1 / 1 + 2 / 3) / 2),
        "balanced_accuracy": pytest.approx((1 / 2 + 2 / 3) / 2),
        "sensitivity": 1 / 2,
        "specificity": 2 / 3,
    }
    assert confusion(table, BINARY).tolist() == [[2, 1], [1, 1]]


@pytest.mark.parametrize("seed", range(5))
def test_binary_agrees_with_scikit_learn(seed):
    table = random_table(BINARY, seed)
    truth, decided, scores = table["label"] == "pos", table["predicted"] == "pos", table["prob_pos"]
    assert metrics(table, BINARY) == pytest.approx(
        {
            "auroc": sklearn_metrics.roc_auc_score(truth, scores),
            "average_precision": sklearn_metrics.average_precision_score(truth, scores),
            "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(truth, decided),
            "sensitivity": sklearn_metrics.recall_score(truth, decided),
            "specificity": sklearn_metrics.recall_score(~truth, ~decided),
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_more_classes_agree_with_scikit_learn(seed):
    table = random_table(GRADES, seed)
    truth, decided = table["label"], table["predicted"]
    probabilities = table[[f"prob_{name}" for name in sorted(GRADES)]]  # scikit-learn's order
    one_hot = np.array([truth == name for name in sorted(GRADES)]).T
    expected = {
        "auroc": sklearn_metrics.roc_auc_score(truth, probabilities, multi_class="ovr"),
        "average_precision": sklearn_metrics.average_precision_score(one_hot, probabilities),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(truth, decided),
        "accuracy": sklearn_metrics.accuracy_score(truth, decided),
    }
    for name in GRADES:
        is_class, called = truth == name, decided == name
        expected[f"sensitivity_{name}"] = sklearn_metrics.recall_score(is_class, called)
        expected[f"specificity_{name}"] = sklearn_metrics.recall_score(~is_class, ~called)
    assert metrics(table, GRADES) == pytest.approx(expected)
    assert confusion(table, GRADES).tolist() == (
        sklearn_metrics.confusion_matrix(truth, decided, labels=GRADES).tolist()
    )


@pytest.mark.parametrize(("label", "defined"), [("neg", {"specificity"}), ("pos", {"sensitivity"})])
def test_binary_metrics_that_need_the_absent_class_are_missing(label, defined):
    table = table_of(BINARY, [label] * 3, ["neg", "pos", "pos"], np.full((3, 2), 0.5))
    found = metrics(table, BINARY)
    assert {name for name, value in found.items() if value is not None} == defined
    assert len(found) == 5


def test_multiclass_metrics_that_need_the_absent_class_are_missing():
    table = table_of(GRADES, ["none", "mild"], ["none", "none"], np.full((2, 3), 1 / 3))
    assert metrics(table, GRADES) == {
        "auroc": None,
        "average_precision": None,
        "balanced_accuracy": None,
        "accuracy": 0.5,
        "sensitivity_none": 1.0,
        "specificity_none": 0.0,
        "sensitivity_mild": 0.0,
        "specificity_mild": 1.0,
        "sensitivity_severe": None,
        "specificity_severe": 1.0,
    }


def test_a_class_that_is_the_only_one_has_no_specificity():
    found = decision_metrics(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]]), GRADES)
    assert found["specificity_none"] is None
    assert found["sensitivity_none"] == 0.75


def test_nothing_predicted_gives_nothing():
    assert set(decision_metrics(np.zeros((3, 3), dtype=int), GRADES).values()) == {None}


@pytest.mark.parametrize("classes", [BINARY, GRADES])
def test_values_are_plain_floats(classes):
    found = metrics(random_table(classes, seed=0), classes)
    assert {type(value) for value in found.values()} == {float}


def test_ranking_takes_class_indices_and_float32():
    table = random_table(GRADES, seed=1)
    codes = table["label"].map(GRADES.index).to_numpy()
    probabilities = table[[f"prob_{name}" for name in GRADES]].to_numpy()
    found = ranking_metrics(codes, probabilities.astype(np.float32), GRADES)
    everything = metrics(table, GRADES)
    assert found == pytest.approx({name: everything[name] for name in found}, abs=1e-3)
    assert list(found) == ["auroc", "average_precision"]


def test_counts_include_absent_classes():
    table = pd.DataFrame({"label": ["severe", "none", "severe"]})
    assert num_per_class(table, GRADES) == {"none": 1, "mild": 0, "severe": 2}


def test_names_outside_the_classes_are_an_error():
    table = table_of(BINARY, ["neg", "pos"], ["neg", "maybe"], np.full((2, 2), 0.5))
    with pytest.raises(RuntimeError, match=r"predicted must be among .*got \['maybe'\]"):
        confusion(table, BINARY)


def test_shapes_and_indices_that_do_not_fit_are_an_error():
    with pytest.raises(RuntimeError, match=r"shape \(2, 2\), got \(2, 3\)"):
        ranking_metrics(np.array([0, 1]), np.full((2, 3), 1 / 3), BINARY)
    with pytest.raises(RuntimeError, match="Expected labels below 2, got 2"):
        ranking_metrics(np.array([0, 1, 2]), np.full((3, 2), 0.5), BINARY)
