"""A threshold knows where it was chosen; what its decisions come to is counted on both parts."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from pipeline.evaluation.decision import Decision, Threshold, asked_for
from pipeline.evaluation.operating_points import OperatingPoint, Reached, together
from pipeline.label_names import LabelNames

CLASSES = ["healthy", "lesion"]
POSITIVE = np.array([False, False, True, True])
SCORES = np.array([0.1, 0.6, 0.4, 0.9])


def chosen(rule="sensitivity1", positive=POSITIVE, part="val"):
    return Threshold.chosen(positive, SCORES, rule, part)


@pytest.mark.parametrize("part", ["test", "train", ""])
def test_no_threshold_is_chosen_on_another_part(part):
    with pytest.raises(RuntimeError, match=f"chosen on the validation part.*the part '{part}'"):
        chosen(part=part)


def test_it_knows_what_it_reached_and_on_what():
    found = chosen()
    assert (found.value, found.rule, found.part) == (0.25, "sensitivity1", "val")
    assert found.reached == OperatingPoint(2, 1, 0, 1)
    assert (found.reached.num_cases, found.reached.num_positive) == (4, 2)
    assert (found.reached.sensitivity, found.reached.specificity) == (1, 0.5)


def test_what_is_fixed_was_chosen_on_nothing():
    assert (chosen("fixed").part, chosen("fixed").value) == ("none", 0.5)
    one_class = chosen("youden", np.ones(4, bool))
    assert (one_class.part, one_class.rule, one_class.value) == ("none", "fixed", 0.5)


@pytest.mark.parametrize(
    ("classes", "names"),
    [(CLASSES, []), (CLASSES, ["healthy"]), (["a", "b", "c"], ["b"]), (LabelNames(CLASSES), ["x"])],
)
def test_thresholds_go_with_their_classes(classes, names):
    with pytest.raises(RuntimeError, match="Expected thresholds for"):
        Decision(0, classes, {name: chosen() for name in names})


@pytest.mark.parametrize("classes", [CLASSES, ["a", "b", "c"], LabelNames(["x", "y"])])
def test_it_reads_back_as_it_was(classes):
    names = list(classes) if isinstance(classes, LabelNames) else classes[1:][: len(classes) == 2]
    decision = Decision(2, classes, {name: chosen() for name in names})
    point = OperatingPoint(2, 1, 0, 1).record()
    written = {
        name: {"rule": "sensitivity1", "fitted_on": "val", "val": point, "test": point}
        for name in names
    }
    result = {
        "fold": 2,
        "thresholds": {"patient": decision.values},
        "operating_points": {"patient": written},
    }
    assert Decision.read(result, "patient", classes) == decision


def test_of_an_old_result_it_has_what_there_is():
    found = Decision.read({"fold": 1, "thresholds": {"patient": 0.4}}, "patient", CLASSES)
    assert found.values == 0.4
    assert found.thresholds["lesion"] == Threshold(0.4, "unknown", "val", None)
    assert Decision.read({"fold": 1, "thresholds": {"image": None}}, "image", ["a", "b", "c"])


def test_counts_and_shares_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    positive, called = generator.random((2, 80)) < 0.4
    found = OperatingPoint.of(positive, called)
    (tn, fp), (fn, tp) = confusion_matrix(positive, called)
    assert found == OperatingPoint(tp, fp, fn, tn)
    for label, share, value in (
        (1, found.sensitivity, found.ppv),
        (0, found.specificity, found.npv),
    ):
        assert share == pytest.approx(recall_score(positive, called, pos_label=label))
        assert value == pytest.approx(precision_score(positive, called, pos_label=label))


def test_a_share_of_nothing_is_none():
    nobody = OperatingPoint(0, 0, 0, 5)
    assert (nobody.sensitivity, nobody.ppv, nobody.specificity) == (None, None, 1)


def test_the_counts_of_folds_are_added():
    one, two = OperatingPoint(2, 1, 0, 1).record(), OperatingPoint(1, 0, 1, 4).record()
    of_folds: list[dict[str, Reached]] = [
        {"x": {"threshold": 0.1, "rule": "youden", "fitted_on": "val", "val": a, "test": b}}
        for a, b in ((one, two), (two, two))
    ]
    found = together(of_folds)["x"]
    assert found["val"] == OperatingPoint(3, 1, 1, 5).record()
    assert found["test"]["sensitivity"] == 0.5
    assert found["threshold"] is None


def test_a_fold_that_could_not_choose_hides_no_rule():
    """Its validation part had one class alone."""
    counts = OperatingPoint(1, 0, 0, 1).record()
    rules = [("fixed", "none"), ("sensitivity0.9", "val"), ("fixed", "none")]
    of_folds: list[dict[str, Reached]] = [
        {"x": {"threshold": 0.5, "rule": rule, "fitted_on": part, "val": counts, "test": counts}}
        for rule, part in rules
    ]
    found = together(of_folds)["x"]
    assert (found["rule"], found["fitted_on"]) == ("sensitivity0.9", "val")
    assert together(of_folds[:1])["x"]["rule"] == "fixed"


def test_what_a_rule_asks_for():
    assert asked_for("sensitivity0.9") == ("sensitivity", 0.9)
    assert asked_for("specificity1") == ("specificity", 1.0)
    assert [asked_for(rule) for rule in ("youden", "fixed", "cost5")] == [None] * 3
