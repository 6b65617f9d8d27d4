"""The worst mistakes: of each kind, by how far they lie beyond their fold's threshold."""

import numpy as np
import pandas as pd

from pipeline.evaluation.failures import NUM, worst_failures
from pipeline.evaluation.patients import per_patient
from pipeline.evaluation.predictions import Threshold, prob_columns, with_decisions
from pipeline.label_names import LabelNames

CLASSES = ["healthy", "sick"]


def images_of(probabilities: dict[str, tuple[int, str, list[float]]]) -> pd.DataFrame:
    """Patient -> fold, label, the probability of each image."""
    rows = [
        (fold, name, f"{name}/{i}.png", label, 1 - p, p)
        for name, (fold, label, values) in probabilities.items()
        for i, p in enumerate(values)
    ]
    names = ["fold", "patient_id", "image_path", "label", *prob_columns(CLASSES)]
    return pd.DataFrame(rows, columns=names)


def decided(table: pd.DataFrame, limits: dict[int, float]) -> pd.DataFrame:
    parts = [
        with_decisions(rows, CLASSES, limits[int(str(fold))])
        for fold, rows in table.groupby("fold")
    ]
    return pd.concat(parts, ignore_index=True)


def test_the_worst_come_first_by_their_folds_own_threshold() -> None:
    images = images_of(
        {
            "A": (0, "healthy", [0.5, 0.9]),  # 0.7, 0.6 beyond the threshold of its fold
            "B": (1, "healthy", [0.95]),  # 0.05 beyond
            "C": (0, "sick", [0.01, 0.09]),  # 0.05 below
            "D": (1, "sick", [0.2]),  # 0.7 below
            "E": (1, "sick", [0.99]),
        }
    )
    limits = {0: 0.1, 1: 0.9}
    patients = per_patient(images, CLASSES, "mean", "same")
    assert patients is not None
    thresholds: dict[int, dict[str, Threshold]] = {
        fold: {"image": limit, "patient": limit} for fold, limit in limits.items()
    }
    found = worst_failures(
        {"image": decided(images, limits), "patient": decided(patients, limits)},
        CLASSES,
        thresholds,
    )
    shown = [(one["level"], one["kind"], one["image_path"]) for one in found]
    assert shown == [
        ("patient", "false positive", "A/1.png"),
        ("patient", "false positive", "B/0.png"),
        ("patient", "false negative", "D/0.png"),
        ("patient", "false negative", "C/0.png"),
        ("image", "false positive", "A/1.png"),
        ("image", "false positive", "B/0.png"),
        ("image", "false negative", "D/0.png"),
        ("image", "false negative", "C/0.png"),
    ]
    assert found[0]["probability"] == np.float64(0.7)
    assert (found[0]["threshold"], found[0]["fold"], found[0]["predicted"]) == (0.1, 0, "sick")


def test_no_more_than_a_few_and_no_images_where_each_patient_has_one() -> None:
    many = {f"P{i:02d}": (0, "healthy", [0.6 + i / 100]) for i in range(20)}
    images = decided(images_of(many | {"Q": (0, "sick", [0.9])}), {0: 0.5})
    thresholds: dict[int, dict[str, Threshold]] = {0: {"image": 0.5, "patient": 0.5}}
    found = worst_failures({"image": images, "patient": images}, CLASSES, thresholds)
    assert [one["patient_id"] for one in found] == [f"P{i:02d}" for i in range(19, 19 - NUM, -1)]
    assert {one["level"] for one in found} == {"patient"}
    alone = worst_failures({"image": images, "patient": None}, CLASSES, thresholds)
    assert {one["level"] for one in alone} == {"image"}
    right = images[images["patient_id"] == "Q"]
    assert worst_failures({"image": right, "patient": None}, CLASSES, thresholds) == []


def test_several_classes_are_shown_by_the_true_one() -> None:
    classes = ["a", "b", "c"]
    probabilities = [[0.1, 0.2, 0.7], [0.1, 0.8, 0.1], [0.9, 0.05, 0.05]]
    table = pd.DataFrame(probabilities, columns=prob_columns(classes))
    table["label"], table["patient_id"] = ["a", "a", "a"], ["P", "Q", "R"]
    table["image_path"], table["fold"] = ["p", "q", "r"], 0
    table = with_decisions(table, classes, None)
    found = worst_failures(
        {"image": table, "patient": None}, classes, {0: {"image": None, "patient": None}}
    )
    shown = [(one["kind"], one["about"], one["patient_id"], one["probability"]) for one in found]
    assert shown == [("wrong class", "a", "Q", 0.8), ("wrong class", "a", "P", 0.7)]
    assert found[0]["threshold"] is None


def test_labels_are_shown_one_by_one() -> None:
    labels = LabelNames(["edema", "effusion"])
    table = pd.DataFrame([[0.9, 0.1], [0.2, 0.3]], columns=prob_columns(labels))
    table["label"], table["patient_id"] = ["effusion", "edema"], ["P", "Q"]
    table["image_path"], table["fold"] = ["p", "q"], 0
    limits = {"edema": 0.5, "effusion": 0.5}
    table = with_decisions(table, labels, limits)
    found = worst_failures(
        {"image": table, "patient": None}, labels, {0: {"image": limits, "patient": limits}}
    )
    assert [(one["about"], one["kind"], one["patient_id"]) for one in found] == [
        ("edema", "false positive", "P"),
        ("edema", "false negative", "Q"),
        ("effusion", "false negative", "P"),
    ]
