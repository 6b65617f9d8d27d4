import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from pipeline.evaluation.console import print_summary
from pipeline.evaluation.notes import notes_on_choices
from pipeline.evaluation.operating_points import Reached
from pipeline.evaluation.summary import summarise
from pipeline.label_names import LabelNames


def table_of(classes, num_folds, size=8):
    generator = np.random.default_rng(0)
    tables = []
    for fold in range(num_folds):
        probabilities = generator.dirichlet(np.ones(len(classes)), size)
        table = pd.DataFrame(
            {
                "fold": fold,
                "patient_id": [f"{fold}-{row}" for row in range(size)],
                "image_path": [f"{fold}-{row}.png" for row in range(size)],
                "label": [classes[row % len(classes)] for row in range(size)],
                "predicted": np.array(classes)[probabilities.argmax(axis=1)],
            }
        )
        table[[f"prob_{name}" for name in classes]] = probabilities
        tables.append(table)
    return pd.concat(tables)


def printed(table, classes, level="image", **terminal):
    patient = table if level == "patient" else None
    summary = summarise({"image": table, "patient": patient}, classes)
    file = io.StringIO()
    print_summary(summary, level, Console(file=file, width=80, **terminal))
    return file.getvalue()


@pytest.mark.parametrize("level", ["patient", "image"])
def test_a_row_a_fold_and_one_over_folds(level):
    text = printed(table_of(["neg", "pos"], num_folds=3), ["neg", "pos"], level)
    rows = [line.split() for line in text.splitlines() if len(line.split()) == 9]
    assert [row[:4] for row in rows if row[0] in "012"] == [
        [str(fold), "8", "8", "4"] for fold in range(3)
    ]
    assert [row[:4] for row in rows if row[0] == "all"] == [["all", "24", "24", "12"]]
    assert f"{level} level" in text
    assert f"positive: {level}s labelled pos" in text


def test_values_are_those_of_the_summary():
    table = table_of(["neg", "pos"], num_folds=2)
    summary = summarise({"image": table}, ["neg", "pos"])
    rows = [line.split() for line in printed(table, ["neg", "pos"]).splitlines()]
    overall = next(row for row in rows if row and row[0] == "all" and len(row) == 9)
    assert overall[4:] == [
        f"{summary['image'][name]['value']:.3f}"
        for name in (
            "auroc",
            "average_precision",
            "balanced_accuracy",
            "sensitivity",
            "specificity",
        )
    ]


def test_the_last_row_says_how_it_was_made_and_shows_no_spread():
    text = printed(table_of(["neg", "pos"], num_folds=3), ["neg", "pos"])
    assert "all: mean over folds for auroc, average_precision" in text
    together = "all: from the decisions of all folds together for balanced_accuracy, sensitivity"
    assert together in " ".join(text.split())
    assert "±" not in text
    assert "SD" not in text


@pytest.mark.parametrize(
    "classes", [["neg", "pos"], [f"class [{n}] with a name" for n in range(7)]]
)
def test_off_terminal_it_is_ascii_and_at_most_80_columns_wide(classes):
    table = table_of(classes, num_folds=11)
    table.loc[table["fold"] == 3, "label"] = classes[0]
    text = printed(table, classes)
    assert text.isascii()
    table_lines = text.split("all:")[0].splitlines()
    assert len(table_lines) >= 12
    assert max(map(len, table_lines)) <= 80


def test_missing_values_are_shown_and_explained():
    table = table_of(["neg", "pos"], num_folds=3)
    table.loc[table["fold"] == 1, "label"] = "neg"
    text = printed(table, ["neg", "pos"])
    flat = " ".join(text.split())
    assert (
        "-: auroc, average_precision, balanced_accuracy, sensitivity not defined in 1 of 3 folds, "
        "whose test images lack a class" in flat
    )
    fold = next(line.split() for line in text.splitlines() if line.split()[:1] == ["1"])
    assert fold[4:8] == ["-"] * 4


def test_zero_is_a_value_and_nothing_missing_needs_no_explanation():
    table = table_of(["neg", "pos"], num_folds=2).assign(predicted="neg")
    text = printed(table, ["neg", "pos"])
    rows = [line.split() for line in text.splitlines()]
    overall = next(row for row in rows if row and row[0] == "all" and len(row) == 9)
    assert overall[7:] == ["0.000", "1.000"]
    assert "not defined" not in " ".join(text.split())


def test_more_classes_have_no_positives_and_markup_in_names_is_harmless():
    classes = ["[red]a[/red]", "b", "c"]
    text = printed(table_of(classes, num_folds=2, size=9), classes)
    assert "positive" not in text
    assert "accuracy" in text
    two = printed(table_of(["a", "[b]x[/b]"], num_folds=2), ["a", "[b]x[/b]"])
    assert "labelled [b]x[/b]" in two


def test_markup_in_the_names_of_labels_is_harmless():
    labels = LabelNames(["opacity [left]", "opacity [/x]"])
    table = table_of(["a", "b"], num_folds=2).drop(columns=["prob_a", "prob_b"])
    table["label"] = [labels[row % 2] for row in range(len(table))]
    table["predicted"] = labels[0]
    table[[f"prob_{name}" for name in labels]] = np.random.default_rng(0).random((len(table), 2))
    text = printed(table, labels)
    assert all(name in text for name in labels)


def test_on_a_terminal_missing_is_a_dash():
    table = table_of(["neg", "pos"], num_folds=2)
    table.loc[table["fold"] == 1, "label"] = "neg"
    assert "\N{EN DASH}" in printed(table, ["neg", "pos"], force_terminal=True)


def test_no_patient_level_is_said():
    file = io.StringIO()
    summary = summarise({"image": table_of(["neg", "pos"], 2)}, ["neg", "pos"])
    print_summary(summary, "patient", Console(file=file))
    assert file.getvalue() == "No patient-level metrics.\n"


def test_scores_of_folds_that_are_shifted_are_told():
    table = table_of(["neg", "pos"], num_folds=3, size=40)
    score = 0.3 * (table["label"] == "pos") + 0.3 * table["prob_pos"] + 0.02 * table["fold"]
    for shift, is_told in ((0.0, False), (0.15, True)):
        table["prob_pos"] = score + shift * table["fold"]
        table["prob_neg"] = 1 - table["prob_pos"]
        text = " ".join(printed(table, ["neg", "pos"]).split())
        assert ("auroc of all folds' scores together is" in text) == is_told


def test_leave_one_out_has_no_auroc_and_says_why():
    """A patient a fold: neither a mean over folds nor all scores together would be right."""
    table = table_of(["neg", "pos"], num_folds=1, size=12)
    table["fold"] = range(12)
    text = " ".join(printed(table, ["neg", "pos"], "patient").split())
    assert "auroc, average_precision, balanced_accuracy not defined in 12 of 12 folds" in text
    assert "auroc, average_precision: not of all folds together either" in text
    summary = summarise({"image": table, "patient": table}, ["neg", "pos"])
    for level in ("patient", "image"):
        entry = (summary[level] or {})["auroc"]
        assert (entry["value"], entry["pooled"], entry["ci_low"]) == (None, None, None)


def noted(rule, val, test, entry, calibration=None):
    """What is said of a threshold that reached these shares; `entry` is that of test."""
    summary = summarise({"image": table_of(["neg", "pos"], 2, 20)}, ["neg", "pos"])
    reached: Reached = {
        "threshold": None,
        "rule": rule,
        "fitted_on": "val",
        "val": val,
        "test": test,
    }
    summary["operating_points"] = {"image": {"pos": reached}}
    for name in ("sensitivity", "specificity"):
        of = summary["image"][name]
        of["value"], of["ci_low"], of["ci_high"] = entry
    if calibration is not None:
        summary["calibration"] = calibration
    return list(notes_on_choices(summary, "image"))


SHARES: dict[str, float | int | None] = {"sensitivity": 0.91, "specificity": 0.7}


def test_what_was_asked_for_stands_beside_what_was_reached():
    assert noted("sensitivity0.9", SHARES, SHARES, (0.84, 0.75, 0.90)) == [
        "threshold: asked for sensitivity 0.90; reached on validation 0.91, on test 0.84 "
        "[0.75, 0.90]"
    ]
    (note,) = noted("specificity0.8", SHARES, SHARES, (0.6, 0.5, 0.75))
    assert note.endswith("reached on validation 0.70, on test 0.60 [0.50, 0.75]: not kept")
    assert noted("youden", SHARES, SHARES, (0.84, None, None)) == [
        "threshold (youden): sensitivity 0.91 on validation, 0.84 on test, specificity 0.70 on "
        "validation, 0.84 on test"
    ]


def test_of_what_is_fixed_nothing_is_said():
    assert noted("fixed", SHARES, SHARES, (0.84, None, None)) == []


def test_what_was_not_calibrated_is_said_with_the_reason():
    found = {"method": "temperature", "temperature": [1.2, 1.0], "skipped": {"1": {"all": "few"}}}
    assert noted("fixed", SHARES, SHARES, (0.8, 0.7, 0.9), calibration=found) == [
        "calibrated on validation (temperature): temperatures 1.00 to 1.20",
        "fold 1: not calibrated: few",
    ]


def test_of_labels_those_alone_are_named_that_miss_what_was_asked_for():
    classes = LabelNames(["x", "y"])
    generator = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "fold": 0,
            "patient_id": [f"{row}" for row in range(60)],
            "image_path": [f"{row}.png" for row in range(60)],
            "label": classes.texts(generator.random((60, 2)) < 0.5),
            "predicted": classes.texts(np.array([[True, False]] * 60)),
        }
    )
    table[["prob_x", "prob_y"]] = generator.random((60, 2))
    summary = summarise({"image": table}, classes)
    reached: Reached = {
        "threshold": None,
        "rule": "sensitivity0.9",
        "fitted_on": "val",
        "val": SHARES,
        "test": SHARES,
    }
    summary["operating_points"] = {"image": {"x": reached, "y": reached}}
    (note,) = notes_on_choices(summary, "image")
    assert note.startswith("thresholds: on test less than was asked for: y 0.00 [0.00, 0.1")
    assert note.endswith("(sensitivity0.9)")
