import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from pipeline.config import UserError
from pipeline.config.sections import EvaluationConfig
from pipeline.evaluation.thresholds import choose_threshold


def youden(negative, positive):
    labels = np.array([False] * len(negative) + [True] * len(positive))
    return choose_threshold(labels, np.array([*negative, *positive]), "youden")


@pytest.mark.parametrize(
    ("negative", "positive", "threshold"),
    [
        ([0.125], [0.375], 0.25),  # midway
        ([0.0, 0.25], [0.75, 1.0], 0.5),
        ([0.0, 0.5], [0.25, 1.0], 0.75),  # 0.125 and 0.75 are equally good: the nearer to 0.5
        ([0.75, 0.25], [0.5, 0.875], 0.375),  # 0.375 and 0.8125 are equally good
        ([0.375, 0.75], [0.5, 0.9375], 0.4375),
        ([0.25], [0.25], 0.625),  # nothing to tell apart: below 0.25 or above it
        ([0.75], [0.75], 0.375),
        ([0.5], [0.5], 0.25),  # of two at the same distance the lower
        ([1.0], [1.0], 0.5),  # all or none: all is nearer to 0.5
        ([1.0], [0.0], 0.0),
        ([0.75], [0.25], 0.125),  # worse than chance: calling all alike is better
    ],
)
def test_threshold_by_hand(negative, positive, threshold):
    assert youden(negative, positive) == threshold


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    negative=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    positive=st.lists(st.floats(0, 1), min_size=1, max_size=12),
)
def test_no_other_threshold_has_a_better_balanced_accuracy(negative, positive):
    labels = np.array([False] * len(negative) + [True] * len(positive))
    scores = np.array([*negative, *positive])

    def quality(threshold):
        return balanced_accuracy_score(labels, scores >= threshold)

    chosen = youden(negative, positive)
    assert quality(chosen) == pytest.approx(max(map(quality, [*scores, np.inf])))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=15))
def test_a_tiny_change_of_a_score_flips_no_decision(rows):
    labels, levels = map(np.array, zip(*rows, strict=True))
    if labels.all() or not labels.any():
        return
    scores = levels / 8
    threshold = choose_threshold(labels, scores, "youden")
    assert np.abs(scores - threshold).min() >= 1 / 16 or threshold in (0, 1)


@pytest.mark.parametrize("toward", [0, 1])  # half-way is rounded down in one, up in the other
def test_neighbouring_floats_are_kept_apart(toward):
    low, high = sorted([0.25, np.nextafter(0.25, toward)])
    assert low < youden([low], [high]) <= high


def test_fixed_is_one_half_whatever_the_data():
    assert choose_threshold(np.array([True]), np.array([0.1]), "fixed") == 0.5


@pytest.mark.parametrize(
    ("labels", "found"), [([True] * 3, "3 positive and 0"), ([False], "0 pos")]
)
def test_one_class_only_is_an_error(labels, found):
    with pytest.raises(UserError, match=f"threshold=youden needs both classes.*got {found}"):
        choose_threshold(np.array(labels), np.full(len(labels), 0.5), "youden")


@pytest.mark.parametrize(
    "rule", ["f1", "", "sensitivity", "sensitivity0", "specificity1.2", "cost0", "cost-1", "cost5x"]
)
def test_an_unknown_rule_is_refused_by_the_settings(rule):
    with pytest.raises(ValueError, match=f"threshold\n.*must be youden, .*input_value='{rule}'"):
        EvaluationConfig(threshold=rule)


NEGATIVE, POSITIVE = [0.1, 0.2, 0.3, 0.6, 0.8], [0.25, 0.5, 0.7, 0.9]


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        ("sensitivity1", 0.225),  # all four: above 0.2
        ("sensitivity0.75", 0.4),  # three of four: above 0.3
        ("sensitivity0.76", 0.225),
        ("sensitivity0.01", 0.85),  # one is enough
        ("specificity0.8", 0.65),  # four of five: above 0.6
        ("specificity0.81", 0.85),
        ("specificity1", 0.85),
        ("specificity0.01", 0.15),
        ("cost1", 0.4),  # 1 missed, 2 alarms; as 0.65 (2, 1) and 0.85 (3, 0): nearest to 0.5
        ("cost10", 0.225),  # none missed, 3 alarms
        ("cost0.01", 0.85),  # no alarm
    ],
)
def test_operating_points_by_hand(rule, threshold):
    labels = np.array([False] * len(NEGATIVE) + [True] * len(POSITIVE))
    found = choose_threshold(labels, np.array([*NEGATIVE, *POSITIVE]), rule)
    assert found == pytest.approx(threshold)


def test_a_specificity_that_takes_calling_nobody_is_kept():
    labels, scores = np.array([True, False]), np.array([1.0, 1.0])
    threshold = choose_threshold(labels, scores, "specificity0.9")
    assert not (scores >= threshold).any()


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=15),
    share=st.sampled_from([0.1, 0.5, 0.8, 0.95, 1.0]),
)
def test_what_was_asked_for_is_reached_and_no_better_threshold_does(rows, share):
    labels, levels = map(np.array, zip(*rows, strict=True))
    if labels.all() or not labels.any():
        return
    scores = levels / 8
    every = [*np.unique(scores), 2.0]
    for rule, side, other in (("sensitivity", True, False), ("specificity", False, True)):
        found = choose_threshold(labels, scores, f"{rule}{share}")

        def right(threshold, of):
            return ((scores >= threshold) == of)[labels == of].mean()

        assert right(found, side) >= share - 1e-9
        reach = [right(t, other) for t in every if right(t, side) >= share - 1e-9]
        assert right(found, other) == pytest.approx(max(reach))


@pytest.mark.parametrize("score", [np.nan, -0.1, 1.1])
def test_a_score_that_is_no_probability_is_an_error(score):
    with pytest.raises(RuntimeError, match=r"Expected scores in \[0, 1\]"):
        choose_threshold(np.array([True, False]), np.array([0.5, score]), "youden")


@pytest.mark.parametrize("labels", [np.array([1, 0]), np.array([True, False, True])])
def test_labels_of_another_type_or_length_are_an_error(labels):
    with pytest.raises(RuntimeError, match="Expected bool labels"):
        choose_threshold(labels, np.array([0.1, 0.2]), "youden")
