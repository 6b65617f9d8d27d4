"""The leak canary and the leakage cost: what they compare, what they say, how it is marked."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from pipeline.commands.canary import (
    NUM_IMAGES,
    NUM_PATIENTS,
    CanaryError,
    canary_config,
    main,
    make_canary,
    verdict,
)
from pipeline.commands.settings import CanarySettings
from pipeline.config import UserError
from pipeline.engine.leakage import LeakageCost, both_runs, leakage_cost, print_leakage_cost
from pipeline.engine.run_folder import Run, open_run
from pipeline.engine.session import UNNAMED, _record, _warn_if_unsafe
from pipeline.evaluation.intervals import Interval
from pipeline.evaluation.plots import plot_confusion
from pipeline.evaluation.predictions import write_predictions
from pipeline.images.packed import PackedImages
from pipeline.manifest import read_manifest

CHANCE = Interval(0.47, 0.35, 0.6)
KNOWN = Interval(0.99, 0.98, 1.0)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Run, Run]:
    """Both runs of a canary, not trained."""
    make_canary(tmp_path, seed=0)
    config = canary_config(tmp_path, seed=0)
    np.save(tmp_path / "images.npy", np.zeros((1, 1, 2, 2), np.uint8))
    return both_runs(config, read_manifest(config.manifest), PackedImages(tmp_path, "pixels"))


def test_the_canary_has_labels_by_patient_and_by_lot(tmp_path: Path) -> None:
    make_canary(tmp_path, seed=0)
    table = pd.read_csv(tmp_path / "manifest.csv")
    patients = table.groupby("patient_id")
    assert patients.size().tolist() == [NUM_IMAGES] * NUM_PATIENTS
    assert (patients["label"].nunique() == 1).all()
    assert patients["label"].first().value_counts().tolist() == [30, 30]


def test_only_the_unsafe_run_has_a_patient_on_two_sides(runs: tuple[Run, Run]) -> None:
    leaking, safe = runs
    assert (leaking.plan.unsafe, safe.plan.unsafe) == (True, False)
    for run, is_shared in ((leaking, True), (safe, False)):
        fold = run.plan.folds[0]
        patient = safe.manifest.table["patient_id"].to_numpy()
        train, test = (set(patient[run.manifest.of(part)]) for part in (fold.train, fold.test))
        assert bool(train & test) == is_shared


def test_an_unsafe_run_is_marked(runs: tuple[Run, Run]) -> None:
    leaking, safe = runs
    assert leaking.dir.name.endswith("-UNSAFE-image-level")
    assert "UNSAFE" not in safe.dir.name
    assert leaking.key != safe.key
    for run in runs:
        with open_run(run):
            environment = json.loads((run.dir / "environment.json").read_text())
        assert environment["unsafe"] is run.plan.unsafe
        ids = [row.split(",")[0] for row in (run.dir / "plan.csv").read_text().splitlines()[1:]]
        assert all(("UNSAFE|" in name) == run.plan.unsafe for name in ids)


def test_an_image_is_never_counted_as_a_patient(runs: tuple[Run, Run]) -> None:
    levels = [run.config.evaluation.patient_label for run in runs]
    assert levels[0] == "none"
    assert levels[1] != "none"


def test_the_console_and_mlflow_say_unsafe(runs: tuple[Run, Run]) -> None:
    for run in runs:
        console = Console(record=True, width=200)
        _warn_if_unsafe(run, console)
        assert ("UNSAFE: split by image" in console.export_text()) == run.plan.unsafe
        record = _record(run, UNNAMED)
        assert record.tags.get("patientfold.unsafe") == ("true" if run.plan.unsafe else None)
        assert ("UNSAFE" in record.run_name) == run.plan.unsafe


def test_it_lies_wherever_temporary_files_do(tmp_path: Path) -> None:
    folder = tmp_path / "für (mich)"
    config = canary_config(folder, seed=3)
    assert config.manifest.path == f"{folder}/manifest.csv"
    assert (config.run_dir, config.images.cache_dir) == (f"{folder}/run", f"{folder}/cache")
    assert (config.split.seed, config.training.seed) == (3, 3)


def test_a_warning_is_written_across_a_plot(tmp_path: Path) -> None:
    for name, warning in (("safe", ""), ("unsafe", "UNSAFE: split by image")):
        plot_confusion(np.eye(3, dtype=np.int64), "abc", "title", tmp_path / name, warning)
    reds = [_num_red(tmp_path / name) for name in ("safe", "unsafe")]
    assert reds[0] == 0
    assert reds[1] > 500


def _num_red(path: Path) -> int:
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return int((pixels[..., 0] - pixels[..., 1:].max(axis=2) > 80).sum())


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{"scheme": "holdout"}, {"file": "plan.csv"}])
def test_only_rotating_folds_are_split_both_ways(
    tmp_path: Path, runs: tuple[Run, Run], changed: dict[str, Any]
) -> None:
    safe = runs[1]
    config = replace(safe.config, split=replace(safe.config.split, **changed))
    with pytest.raises(UserError, match=r"needs split.scheme=kfold and no split.file"):
        both_runs(config, safe.manifest, PackedImages(tmp_path, "pixels"))


def predict(run: Run, patients: pd.Series, knows: bool) -> None:
    """Write a predictions.csv: the label if `knows`, else a number of each patient's own."""
    luck = {name: np.random.default_rng(i).random() for i, name in enumerate(sorted(set(patients)))}
    table = run.manifest.table[["patient_id", "image_path", "label"]].copy()
    fold_of = {name: fold.index for fold in run.plan.folds for name in fold.test}
    table.insert(0, "fold", table["patient_id"].map(fold_of))
    score = (table["label"] == "heads").astype(float) if knows else patients.map(luck)
    table["prob_tails"], table["prob_heads"] = 1 - score, score
    table["predicted"] = np.where(score > 0.5, "heads", "tails")
    run.dir.mkdir(parents=True)
    write_predictions(table, run.dir / "predictions.csv")


def test_cost_is_the_gap_with_intervals_over_patients(runs: tuple[Run, Run]) -> None:
    leaking, safe = runs
    patients = safe.manifest.table["patient_id"]
    predict(leaking, patients, knows=False)  # the same luck for all images of a patient
    predict(safe, patients, knows=True)
    cost = leakage_cost(runs)
    assert (cost.by_patient.value, cost.by_patient.high) == (1.0, 1.0)
    assert 0.99 < cost.by_patient.low < 1  # a perfect ranking is not certain
    assert cost.gap == pytest.approx(cost.by_image.value - 1)
    # of 600 pseudo patients, the interval would be 0.09 wide; of 60 patients it is 0.3
    assert cost.by_image.high - cost.by_image.low > 0.2
    assert leakage_cost(runs[::-1]) == cost


def test_the_table_says_which_is_unsafe() -> None:
    console = Console(record=True, width=100)
    print_leakage_cost(LeakageCost(KNOWN, CHANCE), console)
    text = console.export_text()
    assert "image (UNSAFE)" in text
    assert "optimism gap: +0.520 AUROC" in text


@pytest.mark.parametrize(
    ("cost", "problem"),
    [
        (LeakageCost(KNOWN, CHANCE), None),
        (LeakageCost(KNOWN, Interval(0.7, 0.55, 0.8)), "something leaks"),
        (LeakageCost(KNOWN, Interval(0.3, 0.2, 0.45)), "must contain 0.5"),
        (LeakageCost(Interval(0.9, 0.8, 0.97), CHANCE), "would not see a leak"),
    ],
)
def test_verdict(cost: LeakageCost, problem: str | None) -> None:
    problems = verdict(cost)
    assert len(problems) == (problem is not None)
    assert problem is None or problem in problems[0]


def test_a_failed_canary_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The door shows it as one message, and exits with 1."""
    leak = LeakageCost(KNOWN, Interval(0.7, 0.55, 0.8))
    monkeypatch.setattr("pipeline.commands.canary.run_canary", lambda _config, _console: leak)
    with pytest.raises(CanaryError, match=r"^random labels were predicted"):
        main(CanarySettings())
