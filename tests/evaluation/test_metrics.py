import io
import json
import re
import sys
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn import metrics as sklearn_metrics

from pipeline.config import TrainingConfig
from pipeline.evaluation.cases import Cases, cases_of, num_per_class
from pipeline.evaluation.console import print_summary
from pipeline.evaluation.metrics import METRICS, VAL_METRICS, Metric, metrics
from pipeline.evaluation.summary import summarise
from pipeline.files import write_json
from pipeline.levels import LEVELS

BINARY = ["neg", "pos"]
GRADES = ["none", "mild", "severe"]
HEADLINE = [metric.name for metric in METRICS if metric.headline]
CALIBRATION = {"ece", "calibration_slope", "calibration_intercept"}


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
    found = metrics(table, BINARY, "image")
    expected = {
        "auroc": 5 / 6,  # 5 of the 6 pairs of a pos and a neg are in order
        "average_precision": (1 / 1 + 2 / 3) / 2,
        "balanced_accuracy": (1 / 2 + 2 / 3) / 2,
        "sensitivity": 1 / 2,
        "specificity": 2 / 3,
        "ppv": 1 / 2,
        "npv": 2 / 3,
        "f1": 1 / 2,
        "mcc": 1 / 6,
        "brier": (0.1**2 + 0.4**2 + 0.65**2 + 0.2**2 + 0.05**2) / 5,
        "log_loss": -np.log([0.9, 0.6, 0.35, 0.8, 0.95]).mean(),
    }
    expected["brier_skill"] = 1 - expected["brier"] / (0.4 * 0.6)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["ece"] is None  # fewer cases than bins
    assert cases_of(table, BINARY).confusion.tolist() == [[2, 1], [1, 1]]


@pytest.mark.parametrize("seed", range(5))
def test_binary_agrees_with_scikit_learn(seed):
    table = random_table(BINARY, seed)
    truth, decided, scores = table["label"] == "pos", table["predicted"] == "pos", table["prob_pos"]
    expected = {
        "auroc": sklearn_metrics.roc_auc_score(truth, scores),
        "average_precision": sklearn_metrics.average_precision_score(truth, scores),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(truth, decided),
        "sensitivity": sklearn_metrics.recall_score(truth, decided),
        "specificity": sklearn_metrics.recall_score(~truth, ~decided),
        "ppv": sklearn_metrics.precision_score(truth, decided),
        "npv": sklearn_metrics.precision_score(~truth, ~decided),
        "f1": sklearn_metrics.f1_score(truth, decided),
        "mcc": sklearn_metrics.matthews_corrcoef(truth, decided),
        "brier": sklearn_metrics.brier_score_loss(truth, scores),
        "brier_skill": sklearn_metrics.d2_brier_score(truth, scores),
        "log_loss": sklearn_metrics.log_loss(truth, scores),
    }
    found = metrics(table, BINARY, "image")
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert found.keys() - expected.keys() == CALIBRATION


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
        "f1": sklearn_metrics.f1_score(truth, decided, average="macro"),
        "mcc": sklearn_metrics.matthews_corrcoef(truth, decided),
        "brier": sklearn_metrics.brier_score_loss(truth, probabilities, labels=sorted(GRADES)),
        "brier_skill": sklearn_metrics.d2_brier_score(truth, probabilities, labels=sorted(GRADES)),
        "log_loss": sklearn_metrics.log_loss(truth, probabilities, labels=sorted(GRADES)),
    }
    for name in GRADES:
        is_class, called = truth == name, decided == name
        expected[f"sensitivity_{name}"] = sklearn_metrics.recall_score(is_class, called)
        expected[f"specificity_{name}"] = sklearn_metrics.recall_score(~is_class, ~called)
        expected[f"ppv_{name}"] = sklearn_metrics.precision_score(is_class, called)
        expected[f"npv_{name}"] = sklearn_metrics.precision_score(~is_class, ~called)
        expected[f"f1_{name}"] = sklearn_metrics.f1_score(is_class, called)
        own = probabilities[f"prob_{name}"]
        expected[f"auroc_{name}"] = sklearn_metrics.roc_auc_score(is_class, own)
        expected[f"average_precision_{name}"] = sklearn_metrics.average_precision_score(
            is_class, own
        )
    found = metrics(table, GRADES, "image")
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    lines = {f"calibration_{of}_{name}" for of in ("slope", "intercept") for name in GRADES}
    assert found.keys() - expected.keys() == {"ece"} | lines
    assert cases_of(table, GRADES).confusion.tolist() == (
        sklearn_metrics.confusion_matrix(truth, decided, labels=GRADES).tolist()
    )


@pytest.mark.parametrize(("label", "defined"), [("neg", {"specificity"}), ("pos", {"sensitivity"})])
def test_binary_metrics_that_need_the_absent_class_are_missing(label, defined):
    table = table_of(BINARY, [label] * 3, ["neg", "pos", "pos"], np.full((3, 2), 0.5))
    found = metrics(table, BINARY, "image", HEADLINE)
    assert {name for name, value in found.items() if value is not None} == defined
    assert len(found) == 5
    assert metrics(table, BINARY, "image")["brier_skill"] is None


def test_multiclass_metrics_that_need_the_absent_class_are_missing():
    table = table_of(GRADES, ["none", "mild"], ["none", "none"], np.full((2, 3), 1 / 3))
    found = metrics(table, GRADES, "image")
    expected = {
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
        "ppv_none": 0.5,
        "ppv_mild": None,
        "f1_none": 2 / 3,
        "f1_severe": None,
        "f1": None,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_a_class_that_is_the_only_one_has_no_specificity():
    table = table_of(GRADES, ["none"] * 4, ["none"] * 3 + ["mild"], np.full((4, 3), 1 / 3))
    found = metrics(table, GRADES, "image")
    assert found["specificity_none"] is None
    assert found["sensitivity_none"] == 0.75


def test_nothing_predicted_gives_nothing():
    assert set(metrics(table_of(GRADES, [], [], np.zeros((0, 3))), GRADES, "image").values()) == {
        None
    }


@pytest.mark.parametrize("classes", [BINARY, GRADES])
def test_values_are_plain_floats(classes):
    found = metrics(random_table(classes, seed=0), classes, "image")
    assert len(found) >= 15
    assert {type(value) for value in found.values()} == {float}


def test_probabilities_may_be_float32():
    table = random_table(GRADES, seed=1)
    probabilities = [f"prob_{name}" for name in GRADES]
    found = metrics(table.astype(dict.fromkeys(probabilities, np.float32)), GRADES, "image")
    assert found == pytest.approx(metrics(table, GRADES, "image"), abs=1e-3)


def test_the_settings_select_by_what_is_validated_and_in_its_direction():
    choices = get_args(get_args(TrainingConfig.__annotations__["select_by"])[0])
    assert len(choices) == 1 + len(LEVELS) * len(VAL_METRICS)
    assert {choice.rsplit("/", 1)[-1] for choice in choices} == {"loss", *VAL_METRICS}
    modes = {metric.name: "max" if metric.higher_is_better else "min" for metric in METRICS}
    for choice in choices:
        mode = TrainingConfig(select_by=choice).select_mode
        assert mode == (modes | {"loss": "min"})[choice.rsplit("/", 1)[-1]]


def test_counts_include_absent_classes():
    table = pd.DataFrame({"label": ["severe", "none", "severe"]})
    assert num_per_class(table, GRADES) == {"none": 1, "mild": 0, "severe": 2}


def test_names_outside_the_classes_are_an_error():
    table = table_of(BINARY, ["neg", "pos"], ["neg", "maybe"], np.full((2, 2), 0.5))
    with pytest.raises(RuntimeError, match=r"predicted must be among .*got \['maybe'\]"):
        metrics(table, BINARY, "image")


def test_shapes_and_indices_that_do_not_fit_are_an_error():
    with pytest.raises(RuntimeError, match=r"shape \(2, 2\) .* got \(3, 2\) and 2"):
        Cases(np.array([0, 1]), np.array([0, 1]), np.full((3, 2), 1 / 2))
    with pytest.raises(RuntimeError, match="Expected labels below 2, got 2"):
        Cases(np.array([0, 1, 2]), np.array([0, 1, 0]), np.full((3, 2), 0.5))


# --- a new metric is one function and one line


def f1(cases):
    hits = cases.confusion[1, 1]
    called_or_positive = cases.confusion[1].sum() + cases.confusion[:, 1].sum()
    return float(2 * hits / called_or_positive) if called_or_positive else None


def shown(summary, level):
    file = io.StringIO()
    print_summary(summary, level, Console(file=file, width=80))
    return file.getvalue()


@pytest.mark.parametrize("classes", [BINARY, GRADES])
def test_a_new_metric_needs_no_line_elsewhere(classes, monkeypatch, tmp_path):
    folds = [random_table(classes, seed).assign(fold=seed) for seed in range(3)]
    table = pd.concat(folds, ignore_index=True)
    table["patient_id"] = table["image_path"] = table.index.astype(str)
    before = summarise({"image": table, "patient": table}, classes)
    line = Metric("dice", f1, "pooled decisions", "mean", levels=("image",))
    monkeypatch.setattr(sys.modules[Metric.__module__], "METRICS", [*METRICS, line])
    summary = summarise({"image": table, "patient": table}, classes)
    entry = summary["image"].pop("dice")
    assert summary == before  # nothing else moved, and the patient level has none
    kind = {"average": "macro"} if len(classes) > 2 else {"pos_label": "pos"}
    expected = [
        sklearn_metrics.f1_score(rows["label"], rows["predicted"], **kind)
        for rows in (*folds, table)
    ]
    assert [*entry["per_fold"], entry["value"]] == pytest.approx(expected)
    assert (entry["how"], entry["num_missing"]) == ("pooled decisions", 0)
    summary["image"]["dice"] = entry
    write_json(tmp_path / "metrics.json", summary)
    assert json.loads((tmp_path / "metrics.json").read_text())["image"]["dice"] == entry
    text = shown(summary, "image")
    assert re.search(rf"^ +all .*{entry['value']:.3f}$", text, re.MULTILINE)
    assert max(len(row) for row in text.split("all:")[0].splitlines()) <= 80
    assert re.search(r"decisions of all folds\s+together for\s[^:]*dice", text)
    assert "dice" not in shown(summary, "patient")
    low, value, high = (entry[name] for name in ("ci_low", "value", "ci_high"))
    assert low is not None
    assert value is not None
    assert high is not None
    assert low < value < high


def test_columns_that_do_not_fit_continue_in_a_table_below(monkeypatch):
    table = random_table(BINARY, 0).assign(fold=0, patient_id="P")
    table["image_path"] = table.index.astype(str)
    more = [Metric(f"metric_number_{i}", f1, "mean over folds") for i in range(20)]
    monkeypatch.setattr(sys.modules[Metric.__module__], "METRICS", [*METRICS, *more])
    text = shown(summarise({"image": table}, BINARY), "image").split("all:")[0]
    rows = [line for line in text.splitlines() if line.split()[:1] == ["all"]]
    assert len(rows) == 3
    assert sum(len(row.split()) - 1 for row in rows) == 3 + 5 + 20
    assert max(len(row) for row in text.splitlines()) <= 80
