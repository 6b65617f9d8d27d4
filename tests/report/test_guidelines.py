"""The checklists: every line of them, what fills it, and that what fills it is no constant."""

import inspect
from collections.abc import Mapping
from typing import Any

import pytest
from finished_run import with_settings

from pipeline.engine.finished import Finished
from pipeline.report.paper import cells
from pipeline.report.paper.facts import Facts
from pipeline.report.paper.guidelines import GUIDELINES, Guideline

LINES = {"CLAIM 2024": 44, "TRIPOD+AI 2024": 52, "STARD-AI 2025": 48}
ITEMS = {"CLAIM 2024": 44, "TRIPOD+AI 2024": 27, "STARD-AI 2025": 40}
FILLERS = sorted(
    name
    for name, member in vars(cells).items()
    if inspect.isfunction(member) and member.__module__ == cells.__name__ and name[0] != "_"
)
SOMETIMES = {"sites", "subgroups"}
"""Fillers of what not every run has."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "technology": {"model.estimator._target_": "sklearn.svm.SVC"},
    "steps": {"images.size": [32, 48]},
    "normalisation": {"features.size": 12},
    "missing_values": {"manifest.blank_label": "leave_out"},
    "pseudonyms": {"privacy.pseudonyms": True},
    "inputs": {"features.kind": "texture"},
    "model": {"model.estimator.max_iter": 77},
    "initialisation": {"training.seed": 7},
    "training": {"model": {"_target_": "pipeline.models.LeNet5"}},
    "loss": {"sampler.balance": "none"},
    "imbalance": {"loss.class_weights": {"healthy": 1.0, "lesion": 5.0}},
    "threshold": {"evaluation.threshold": "sensitivity0.85"},
    "prediction": {"evaluation.aggregate": "top3"},
    "ensembling": {"training.average": 0.5},
}
"""Settings that the cell must follow, where it follows some."""
RESULTS: Mapping[str, Mapping[str, Any]] = {
    "selection": {"select_value": 0.123},
    "training": {"num_epochs": 9},
    "prediction": {"best_sha256": "f00d" * 16},
    "threshold": {"thresholds": {"image": 0.5, "patient": 0.321}},
    "imbalance": {"trained_under": [0.9, 0.1], "logit_shift": [0.7, -0.7]},
    "ensembling": {"fold": 3},
}
"""What of a fold's result.json it must follow."""
each_guideline = pytest.mark.parametrize("guideline", GUIDELINES, ids=lambda g: g.name)


def with_result(run: Finished, change: Mapping[str, Any]) -> Facts:
    """The same run with another result of its last fold, or with one more fold."""
    changed = Finished(run.dir)
    last = max(run.results)
    result = {**run.results[last], **change}
    vars(changed)["results"] = {**run.results, result["fold"]: result}
    return Facts(changed)


def text_of(name: str, facts: Facts) -> str:
    cell = getattr(cells, name)(facts)
    return "" if cell is None else cell.text


# --- the lists


@each_guideline
def test_every_line_of_the_guideline_is_there_once(guideline: Guideline) -> None:
    numbers = [item.number for item in guideline.items]
    assert len(numbers) == len(set(numbers)) == LINES[guideline.name]
    bare = list(dict.fromkeys(int(number.rstrip("abcdefg")) for number in numbers))
    assert bare == list(range(1, ITEMS[guideline.name] + 1))
    assert all(item.section and item.asks_for for item in guideline.items)


@each_guideline
def test_what_the_run_does_not_say_is_left_to_the_author(
    guideline: Guideline, binary: Finished
) -> None:
    facts = Facts(binary)
    states = {item.number: item.answer(facts) for item in guideline.items}
    for item in guideline.items:
        state, cell = states[item.number]
        assert (state == "filled") == ("TODO(author)" not in cell)
        assert (state == "open") == cell.startswith("TODO(author)")
        if not item.fills:
            assert (state, cell) == ("open", f"TODO(author): {item.asks_for}.")
    count = [state for state, _ in states.values()].count
    said = guideline.coverage(facts)
    assert f"{count('filled')} of {len(states)} items filled in" in said
    assert f"{count('in part')} in part, {count('open')} left to the author" in said
    assert count("filled") >= 6


def test_the_coverage_follows_the_run(binary: Finished) -> None:
    """A fact that is missing in the folder makes an item open, and the count smaller."""
    claim, facts = GUIDELINES[0], Facts(binary)
    less = Facts(with_settings(binary, {"privacy": {}}))
    before, after = claim.coverage(facts), claim.coverage(less)
    number = next(item for item in claim.items if item.number == "11")
    assert (number.answer(facts)[0], number.answer(less)[0]) == ("in part", "open")
    assert before != after


# --- no constant


def test_every_filler_is_used_and_every_used_one_fills(binary: Finished, several: Finished) -> None:
    used = {fill.__name__ for g in GUIDELINES for item in g.items for fill in item.fills}
    assert used == set(FILLERS)
    for name in set(FILLERS) - SOMETIMES:
        assert text_of(name, Facts(binary))
        assert text_of(name, Facts(several))


@pytest.mark.parametrize("name", sorted(set(FILLERS) - SOMETIMES))
def test_no_filled_cell_is_a_constant(name: str, binary: Finished, several: Finished) -> None:
    assert text_of(name, Facts(binary)) != text_of(name, Facts(several))


@pytest.mark.parametrize(("name", "settings"), SETTINGS.items())
def test_a_cell_follows_its_settings(
    name: str, settings: Mapping[str, Any], binary: Finished
) -> None:
    changed = Facts(with_settings(binary, settings))
    assert text_of(name, Facts(binary)) != text_of(name, changed)


@pytest.mark.parametrize(("name", "change"), RESULTS.items())
def test_a_cell_follows_the_results(name: str, change: Mapping[str, Any], binary: Finished) -> None:
    assert text_of(name, Facts(binary)) != text_of(name, with_result(binary, change))
