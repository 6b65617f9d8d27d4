"""A champion is replaced by what is shown to be better; by nothing else, unless asked to."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import finished_run
import pytest

from pipeline.engine.finished import Finished
from pipeline.export.champion import judge
from pipeline.tracking.registry import Version

pytestmark = pytest.mark.slow


def made(folder: Path, signal: float, *overrides: str) -> Finished:
    """A run whose predictions are as good as this, over a cohort in which that shows."""
    before, finished_run.SIGNAL = finished_run.SIGNAL, signal
    try:
        manifest = finished_run.cohort(60)
        return finished_run.finished_run(folder, "split.num_folds=3", *overrides, manifest=manifest)
    finally:
        finished_run.SIGNAL = before


@pytest.fixture(scope="session")
def runs(made_once: Callable[..., Path]) -> dict[str, Finished]:
    def make(folder: Path) -> None:
        made(folder / "poor", 0.3)
        made(folder / "good", 3.0, "training.seed=1")
        made(folder / "same", 0.4, "training.seed=2")
        made(folder / "other", 3.0, "split.seed=1")

    folder = made_once("champions", make)
    return {name: Finished.read(folder / name) for name in ("poor", "good", "same", "other")}


def champion(run: Finished) -> Version:
    return Version("4", run.key, str(run.dir), "folds")


def test_the_first_and_another_version_of_the_same_run_become_champion(
    runs: dict[str, Finished],
) -> None:
    poor = runs["poor"]
    assert judge(poor, None, "auroc", False).moves
    again = judge(poor, champion(poor), "auroc", False)
    assert again.moves
    assert "version 4, the champion before, is of the same cross-validation" in again.why


def test_what_is_better_replaces_it(runs: dict[str, Finished]) -> None:
    found = judge(runs["good"], champion(runs["poor"]), "auroc", False)
    assert found.moves
    assert not found.is_forced
    assert found.why.startswith("better than version 4: ")
    assert "95 % interval +" in found.why


@pytest.mark.parametrize(
    ("name", "of", "words"),
    [
        ("poor", "good", "is worse than"),
        ("same", "poor", "No difference between"),
        ("other", "poor", "They cannot be compared: .* has another plan than"),
    ],
)
def test_anything_else_leaves_it_and_says_why(
    runs: dict[str, Finished], name: str, of: str, words: str
) -> None:
    found = judge(runs[name], champion(runs[of]), "auroc", False)
    assert not found.moves
    assert "version 4 stays the champion: this run is not shown to be better" in found.why
    assert re.search(words, found.why)
    assert "replace=true gives it the alias all the same" in found.why
    forced = judge(runs[name], champion(runs[of]), "auroc", True)
    assert forced.moves
    assert forced.is_forced
    assert forced.why.startswith("replace=true: version 4 was the champion")


def test_a_metric_of_which_less_is_better_counts_the_other_way(runs: dict[str, Finished]) -> None:
    assert judge(runs["good"], champion(runs["poor"]), "brier", False).moves
    assert not judge(runs["poor"], champion(runs["good"]), "brier", False).moves


def test_a_champion_whose_run_is_not_here_stays(runs: dict[str, Finished], tmp_path: Path) -> None:
    good, there = runs["good"], champion(runs["poor"])
    gone = judge(good, replace(there, run_dir=str(tmp_path / "gone")), "auroc", False)
    assert not gone.moves
    assert "no such folder" in gone.why
    wrong = judge(good, replace(there, run_dir=str(runs["same"].dir)), "auroc", False)
    assert not wrong.moves
    assert f"not {there.key[:12]}, of which version 4 is" in wrong.why
    unknown = judge(good, Version("4", "", "", ""), "auroc", False)
    assert not unknown.moves
    assert "patientfold did not register it" in unknown.why
