"""A level between images and patients: patch -> slide -> patient."""

from dataclasses import MISSING, fields
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pipeline.config import UserError
from pipeline.config.sections import EvaluationConfig
from pipeline.evaluation.console import print_summary
from pipeline.evaluation.image_count import image_count
from pipeline.evaluation.patients import Rules, by_level, judged
from pipeline.evaluation.predictions import read_predictions, write_predictions
from pipeline.evaluation.summary import levels_of, summarise
from pipeline.label_names import LabelNames
from pipeline.levels import LEVELS

BINARY = ["neg", "pos"]
BY_PANDAS = {
    "mean": "mean",
    "max": "max",
    "top2": lambda of: of.nlargest(2).mean(),
    "q75": lambda of: of.quantile(0.75),
    "majority": lambda of: (of >= 0.5).mean(),
    "noisy_or": lambda of: 1 - np.prod(1 - of),
}


def table_of(rows, middle="slide"):
    """Rows of (fold, patient, slide, label, probability of pos)."""
    table = pd.DataFrame(rows, columns=["fold", "patient_id", middle, "label", "prob_pos"])
    table.insert(2, "image_path", [f"{row}.png" for row in range(len(table))])
    table.insert(5, "prob_neg", 1 - table["prob_pos"])
    return table


def levels_by(table, rules, classes=BINARY) -> Any:
    return by_level(table, classes, rules)


def results_of(folds, **thresholds):
    """As much of each fold's result.json as says how its levels were decided."""
    return {fold: {"fold": fold, "thresholds": thresholds} for fold in folds}


UNEQUAL = [
    *[(0, "a", "A1", "neg", 0.125)] * 6,
    *[(0, "a", "A2", "neg", 0.625)] * 2,
    (0, "b", "B1", "pos", 0.75),
]


def test_a_slide_counts_once_however_many_patches_it_has():
    tables = levels_by(table_of(UNEQUAL), Rules(middle="slide"))
    assert list(tables) == ["image", "slide", "patient"]
    assert tables["slide"].to_dict("list") == {
        "fold": [0, 0, 0],
        "patient_id": ["a", "a", "b"],
        "slide": ["A1", "A2", "B1"],
        "label": ["neg", "neg", "pos"],
        "prob_neg": [0.875, 0.375, 0.25],
        "prob_pos": [0.125, 0.625, 0.75],
        "num_images": [6, 2, 1],
    }
    assert tables["patient"].to_dict("list") == {
        "fold": [0, 0],
        "patient_id": ["a", "b"],
        "label": ["neg", "pos"],
        "prob_neg": [0.625, 0.25],
        "prob_pos": [0.375, 0.75],  # of a: (0.125 + 0.625) / 2, not the mean of its 8 patches
        "num_slides": [2, 1],
    }
    without = levels_by(table_of(UNEQUAL), Rules())["patient"]
    assert without["prob_pos"].tolist() == [0.25, 0.75]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from("ab"),
            st.sampled_from(["1", "2", "3"]),  # numbered anew in each patient
            st.sampled_from(BINARY),
            st.floats(0, 1, width=16),
        ),
        min_size=1,
        max_size=20,
    ),
    of_slides=st.sampled_from([*BY_PANDAS]),
    of_images=st.sampled_from([*BY_PANDAS]),
    random=st.randoms(use_true_random=False),
)
def test_each_step_has_its_rule_and_row_order_does_not_matter(rows, of_slides, of_images, random):
    table = table_of(rows, "study")
    rules = Rules(of_slides, "worst", "study", of_images)
    found = levels_by(table.sample(frac=1, random_state=random.randrange(1000)), rules)
    by_slide = table.groupby(["fold", "patient_id", "study"])["prob_pos"].agg(BY_PANDAS[of_images])
    by_patient = by_slide.groupby(["fold", "patient_id"]).agg(BY_PANDAS[of_slides])
    assert found["study"]["prob_pos"].tolist() == pytest.approx(by_slide.tolist())
    assert found["patient"]["prob_pos"].tolist() == pytest.approx(by_patient.tolist())
    assert found["study"]["num_images"].sum() == len(rows)
    assert found["patient"]["num_studies"].sum() == len(by_slide)


def test_labels_go_the_same_two_steps():
    rows = [(0, "a", "1", label, 0.5) for label in ("pos", "pos", "pos", "neg")]
    rows += [(0, "a", slide, "neg", 0.5) for slide in ("2", "3")]
    table = table_of(rows)

    def labels(rule):
        tables = levels_by(table, Rules(patient_label=rule, middle="slide"))
        return [tables[level]["label"].tolist() for level in ("slide", "patient")]

    assert labels("worst") == [["pos", "neg", "neg"], ["pos"]]
    # of the images half are positive, which would be "pos"; of the slides one of three is
    assert labels("majority") == [["pos", "neg", "neg"], ["neg"]]
    with pytest.raises(UserError, match=r"=same: 1 of 3 slides have images .* e\.g\. '1' \(neg, p"):
        labels("same")
    with pytest.raises(UserError, match=r"=same: 1 of 1 patients have slides .* e\.g\. 'a' \(neg,"):
        by_level(
            table.iloc[3:].replace("1", "4").replace("3", "5").assign(label=["pos", "neg", "neg"]),
            BINARY,
            Rules(middle="slide"),
        )


def test_sets_of_labels_go_two_steps():
    classes = LabelNames(["edema", "mass"])
    table = pd.DataFrame({"fold": 0, "patient_id": "a", "slide": ["1", "1", "2", "3"]})
    table["image_path"] = list("abcd")
    table["label"] = ["edema", "edema|mass", "none", "mass"]
    table["prob_edema"], table["prob_mass"] = [0.5, 0.25, 0.0, 0.0], 0.5
    tables = levels_by(table, Rules("max", "majority", "slide"), classes)
    assert tables["slide"]["label"].tolist() == ["edema|mass", "none", "mass"]
    assert tables["patient"]["label"].tolist() == ["mass"]
    assert tables["patient"][["prob_edema", "prob_mass"]].to_numpy().tolist() == [[0.375, 0.5]]


def test_each_level_of_a_fold_is_decided_by_its_own_threshold():
    rows = [(0, "a", "x", "neg", 0.5), (0, "a", "y", "neg", 0.5), (1, "b", "z", "neg", 0.5)]
    results = results_of([0], slide=0.4, patient=0.6) | results_of([1], slide=0.6, patient=0.4)
    table = table_of(rows).assign(predicted="neg")
    tables: Any = judged(table, BINARY, Rules(middle="slide"), results)
    assert tables["slide"]["predicted"].tolist() == ["pos", "pos", "neg"]
    assert tables["patient"]["predicted"].tolist() == ["neg", "pos"]
    assert tables["image"]["predicted"].tolist() == ["neg"] * 3


def test_the_rules_are_settings_and_an_older_run_has_their_defaults():
    usual = {field.name: field.default for field in fields(EvaluationConfig)}
    assert {field.name: field.default for field in fields(Rules)} == {
        field.name: usual[field.name] for field in fields(Rules)
    }
    assert MISSING not in usual.values()
    old = {"aggregate": "max", "patient_label": "worst", "threshold": "youden"}
    assert Rules.of(old) == Rules("max", "worst", None, "mean")


# --- the number of images


def cohort(num_slides, num_images, seed=0):
    """60 patients; functions of the label give how many slides and images each has."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(60):
        label, patient = BINARY[number % 2], f"P{number}"
        for slide in range(num_slides(label, generator)):
            images = num_images(label, generator)
            rows += [
                (number % 3, patient, f"{patient}-{slide}", label, generator.random())
            ] * images
    return table_of(rows).assign(predicted="neg")


def some(_label, generator):
    return int(generator.integers(1, 5))


def more_if_ill(label, generator):
    return int(generator.integers(1, 5)) + 3 * (label == "pos")


@pytest.mark.parametrize(
    ("rules", "table", "expected"),
    [
        (Rules("max", middle="slide"), cohort(more_if_ill, some), {"patient"}),
        (Rules(middle="slide", middle_aggregate="max"), cohort(more_if_ill, some), set()),
        (Rules(middle="slide", middle_aggregate="max"), cohort(some, more_if_ill), {"slide"}),
        (Rules("max", middle="slide"), cohort(some, more_if_ill), set()),
    ],
)
def test_each_rule_that_grows_is_asked_about_what_it_counts(rules, table, expected):
    results = results_of(range(3), slide=0.5, patient=0.5)
    tables = judged(table, BINARY, rules, results)
    groups = {patient: patient for patient in table["patient_id"]}
    found = {step: image_count(tables[step.level], BINARY, groups, step) for step in rules.steps}
    notes = {step.level: count["note"] for step, count in found.items() if count is not None}
    assert notes.keys() == expected
    if "patient" in notes:
        assert "The number of slides alone tells pos" in notes["patient"]
        assert "compare with evaluation.aggregate=mean" in notes["patient"]
    if "slide" in notes:
        assert "The number of images of the slides alone tells pos" in notes["slide"]
        assert "evaluation.middle_aggregate=max grows with that number" in notes["slide"]


# --- the summary


def summary_of(table, rules=None, groups=None):
    rules = rules or Rules(middle="slide")
    results = results_of(set(table["fold"]), slide=0.5, patient=0.5)
    return summarise(judged(table, BINARY, rules, results), BINARY, groups)


def test_all_levels_are_summed_up_patients_first():
    summary = summary_of(cohort(some, some))
    assert (
        levels_of(summary)
        == ["patient", "slide", "image"]
        == [level for level in LEVELS if level != "study"]
    )
    assert summary["slide"].keys() == summary["patient"].keys() == summary["image"].keys()
    assert set(summary["confusion"]) == {"patient", "slide", "image"}
    num = summary["num"]
    assert num["patients"] < num["middle"] < num["images"]
    assert num["middle"] == sum(fold["middle"] for fold in num["per_fold"])
    for fold in num["per_fold"]:
        assert sum(fold["middle_per_class"].values()) == fold["middle"]
    assert np.sum(summary["confusion"]["slide"]) == num["middle"]


def test_without_a_middle_there_is_no_trace_of_it():
    summary = summary_of(cohort(some, some), Rules())
    assert list(summary) == ["classes", "patient", "image", "confusion", "num"]
    assert "middle" not in str(summary["num"])


def test_an_interval_at_the_middle_level_is_over_patients():
    """Four slides of a patient that say the same say no more than one."""
    one = cohort(lambda *_: 1, lambda *_: 1)
    four = pd.concat([one.assign(slide=one["slide"] + f"/{number}") for number in range(4)])
    four["image_path"] = [f"{row}.png" for row in range(len(four))]
    found = [summary_of(table)["slide"] for table in (one, four)]
    for metric in ("auroc", "sensitivity", "brier"):
        entries = [entries[metric] for entries in found]
        widths = [entry["ci_high"] - entry["ci_low"] for entry in entries]
        assert entries[0]["value"] == pytest.approx(entries[1]["value"])
        assert widths[1] > 0.9 * widths[0]
        assert entries[1]["num_positive"] == 30


def test_the_console_shows_slides_and_how_many_are_positive():
    console = Console(width=200, record=True, force_terminal=False)
    summary = summary_of(cohort(some, some))
    with console.capture() as capture:
        print_summary(summary, "slide", console)
    text = capture.get()
    assert "Test results, slide level" in text
    assert "positive: slides labelled pos" in text
    header = next(line.split() for line in text.splitlines() if line.startswith("fold"))
    row = next(line.split() for line in text.splitlines() if line.split()[:1] == ["all"])
    cells = dict(zip(header, row, strict=False))
    assert header[:5] == ["fold", "patients", "slides", "images", "positive"]
    assert int(cells["slides"]) == summary["num"]["middle"]
    expected = sum(fold["middle_per_class"]["pos"] for fold in summary["num"]["per_fold"])
    assert int(cells["positive"]) == expected


# --- the file


@pytest.mark.parametrize("middle", ["slide", "study"])
def test_a_file_with_the_middle_reads_back(tmp_path, middle):
    rows = [(0, "007", "1e5", "neg", 0.25), (0, "a", "NA", "pos", 0.75)]
    table = table_of(rows, middle)
    order = ["fold", "patient_id", "image_path", "label", middle, "prob_neg", "prob_pos"]
    table = table[order].assign(predicted=["neg", "pos"])
    write_predictions(table, tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == (
        f"fold,patient_id,image_path,label,{middle},prob_neg,prob_pos,predicted\n"
        "0,007,0.png,neg,1e5,0.75,0.25,neg\n0,a,1.png,pos,NA,0.25,0.75,pos\n"
    )
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "p.csv", BINARY), table)


@pytest.mark.parametrize("first", ["slide,study,prob_neg", "lesion,prob_neg", "prob_neg,slide"])
def test_other_columns_are_refused_as_before(tmp_path, first):
    header = f"fold,patient_id,image_path,label,{first},prob_pos,predicted"
    (tmp_path / "p.csv").write_text(f"{header}\n0,a,a.png,neg,x,y,0.5,0.5,neg\n")
    with pytest.raises(UserError, match="expected the columns"):
        read_predictions(tmp_path / "p.csv", BINARY)
