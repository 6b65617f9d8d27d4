import json

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.metrics import metrics
from pipeline.evaluation.summary import summarise
from pipeline.files import write_json

CLASSES = ["neg", "pos"]


def fold_table(fold, labels, scores, threshold=0.5):
    scores = np.array(scores)
    return pd.DataFrame(
        {
            "fold": fold,
            "patient_id": [f"{fold}-{row // 2}" for row in range(len(labels))],
            "image_path": [f"{fold}-{row}.png" for row in range(len(labels))],
            "label": labels,
            "prob_neg": 1 - scores,
            "prob_pos": scores,
            "predicted": np.where(scores >= threshold, "pos", "neg"),
        }
    )


def without_bounds(entry):
    low, high = entry.pop("ci_low"), entry.pop("ci_high")
    assert 0 <= low < entry["value"] < high <= 1
    return entry


FIRST = fold_table(0, ["neg", "neg", "pos", "pos"], [0.1, 0.2, 0.6, 0.7])
SHIFTED = fold_table(1, ["neg", "pos", "pos", "neg"], [0.75, 0.95, 0.8, 0.85], threshold=0.9)
ONE_CLASS = fold_table(2, ["neg", "neg"], [0.1, 0.9])


def test_rankings_are_averaged_over_folds_not_pooled():
    together = pd.concat([SHIFTED, FIRST])
    entry = summarise({"image": together}, CLASSES)["image"]["auroc"]
    assert without_bounds(entry) == {
        "value": (1.0 + 0.75) / 2,
        "per_fold": [1.0, 0.75],
        "num_missing": 0,
        "how": "mean over folds",
        "pooled": metrics(together, CLASSES, "image")["auroc"],
        "num_positive": 3,
        "marks": ["unstable", "imprecise"],
    }
    assert entry["value"] != metrics(together, CLASSES, "image")["auroc"]


def test_decisions_are_pooled_not_averaged():
    summary = summarise({"image": pd.concat([FIRST, SHIFTED, ONE_CLASS])}, CLASSES)
    assert summary["confusion"]["image"] == [[5, 1], [1, 3]]
    assert without_bounds(summary["image"]["specificity"]) == {
        "value": 5 / 6,
        "per_fold": [1.0, 1.0, 0.5],
        "num_missing": 0,
        "how": "pooled decisions",
        "num_positive": 3,
        "marks": ["unstable", "imprecise"],
    }
    assert summary["image"]["balanced_accuracy"]["value"] == pytest.approx((5 / 6 + 3 / 4) / 2)


def test_a_ranking_missing_in_one_fold_is_missing_over_folds():
    entry = summarise({"image": pd.concat([FIRST, SHIFTED, ONE_CLASS])}, CLASSES)["image"]["auroc"]
    assert entry["value"] is None
    assert entry["per_fold"] == [1.0, 0.75, None]
    assert entry["num_missing"] == 1
    assert entry["pooled"] is None


def test_a_decision_missing_in_one_fold_is_still_pooled():
    entry = summarise({"image": pd.concat([FIRST, ONE_CLASS])}, CLASSES)["image"]["sensitivity"]
    assert (entry["value"], entry["per_fold"], entry["num_missing"]) == (1.0, [1.0, None], 1)


def test_folds_that_were_not_run_leave_no_gap_and_counts_are_per_class():
    image = pd.concat([ONE_CLASS, FIRST])
    patient = pd.concat([ONE_CLASS.iloc[:1], FIRST.iloc[[0, 2]]])
    assert summarise({"image": image, "patient": patient}, CLASSES)["num"] == {
        "patients": 3,
        "images": 6,
        "patients_per_class": {"neg": 2, "pos": 1},
        "images_per_class": {"neg": 4, "pos": 2},
        "per_fold": [
            {
                "fold": 0,
                "patients": 2,
                "images": 4,
                "patients_per_class": {"neg": 1, "pos": 1},
                "images_per_class": {"neg": 2, "pos": 2},
            },
            {
                "fold": 2,
                "patients": 1,
                "images": 2,
                "patients_per_class": {"neg": 1, "pos": 0},
                "images_per_class": {"neg": 2, "pos": 0},
            },
        ],
    }


def test_what_several_repeats_test_counts_once():
    again = pd.concat([FIRST, FIRST.assign(fold=1)])
    num = summarise({"image": again, "patient": again.iloc[[0, 2, 4, 6]]}, CLASSES)["num"]
    assert (num["patients"], num["images"]) == (2, 4)
    assert num["images_per_class"] == {"neg": 2, "pos": 2}
    assert num["patients_per_class"] == {"neg": 1, "pos": 1}


def test_folds_are_in_the_order_of_their_numbers():
    folds = [FIRST.assign(fold=8), ONE_CLASS.assign(fold=1), SHIFTED.assign(fold=16)]
    summary = summarise({"image": pd.concat(folds)}, CLASSES)
    assert [fold["fold"] for fold in summary["num"]["per_fold"]] == [1, 8, 16]
    assert summary["image"]["auroc"]["per_fold"] == [None, 1.0, 0.75]


@pytest.mark.parametrize("tables", [{"image": FIRST}, {"image": FIRST, "patient": None}])
def test_without_patient_labels_the_patient_level_is_null(tables):
    summary = summarise(tables, CLASSES)
    assert summary["patient"] is None
    assert summary["confusion"]["patient"] is None
    assert summary["num"]["per_fold"][0]["patients_per_class"] is None
    assert summary["num"]["patients"] == 2


def test_levels_of_different_folds_are_an_error():
    with pytest.raises(RuntimeError, match="same folds"):
        summarise({"image": pd.concat([FIRST, SHIFTED]), "patient": FIRST}, CLASSES)


def test_the_file_is_strict_json_with_the_same_content(tmp_path):
    summary = summarise({"image": pd.concat([FIRST, ONE_CLASS]), "patient": None}, CLASSES)
    write_json(tmp_path / "metrics.json", summary)
    text = (tmp_path / "metrics.json").read_text(encoding="utf-8")
    assert json.loads(text) == summary
    assert "NaN" not in text
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


def test_nan_is_never_written(tmp_path):
    summary = summarise({"image": FIRST}, CLASSES)
    summary["image"]["auroc"]["value"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "metrics.json", summary)
    assert not list(tmp_path.iterdir())


def width_of(entry):
    assert entry["ci_low"] is not None
    assert entry["ci_high"] is not None
    return entry["ci_high"] - entry["ci_low"]


def test_intervals_are_over_leakage_groups():
    """Three images, or patients, of one family are worth one."""
    generator = np.random.default_rng(0)
    family = np.arange(40).repeat(3)
    labels = np.where(family % 2 == 0, "pos", "neg")
    scores = 0.3 + 0.2 * (family % 2 == 0) + 0.2 * generator.normal(size=40)[family]
    table = fold_table(0, labels, np.clip(scores, 0.01, 0.99))
    table["patient_id"] = [f"P{row}" for row in range(120)]
    groups = {f"P{row}": f"family {row // 3}" for row in range(120)}
    alone = summarise({"image": table, "patient": table}, CLASSES)
    together = summarise({"image": table, "patient": table}, CLASSES, groups)
    for level in ("patient", "image"):
        for name in ("auroc", "balanced_accuracy", "average_precision", "brier"):
            one, other = ((of[level] or {})[name] for of in (alone, together))
            assert one["value"] == other["value"]
            widths = [width_of(entry) for entry in (one, other)]
            assert widths[1] > 1.3 * widths[0], name


def test_only_a_share_is_imprecise_by_its_width():
    """A slope or a loss has no width that is too wide for all of them."""
    summary = summarise({"image": pd.concat([FIRST, SHIFTED])}, CLASSES)
    assert summary["image"]["calibration_slope"]["marks"] == ["unstable"]
    assert summary["image"]["auroc"]["marks"] == ["unstable", "imprecise"]


def test_decisions_have_no_other_pooled_value():
    entries = summarise({"image": pd.concat([FIRST, SHIFTED])}, CLASSES)["image"]
    assert {name for name, entry in entries.items() if "pooled" in entry} == {
        "auroc",
        "average_precision",
    }
