"""Kill everything at any moment, run the same command again: nothing is lost, nothing doubled."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from system_runs import (
    NUM_FOLDS,
    cv_command,
    make_cohort,
    mlflow_client,
    mlflow_runs,
    only_run_dir,
)
from test_multilabel import NETWORK, write_cohort

from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config

NUM_EPOCHS = 6
NUM_KILLS = 4


@pytest.mark.parametrize("seed", [0])
def test_killed_runs_end_like_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    cohort = make_cohort(tmp_path / "cohort")
    overrides = [*cohort.overrides, "experiment=demo", f"training.epochs={NUM_EPOCHS}"]
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    cross_validate(load_config(overrides))

    moments = random.Random(seed)
    done_files: dict[Path, int] = {}
    num_interrupted = 0
    for _ in range(NUM_KILLS):
        num_interrupted += _start_and_kill(tmp_path / "killed", overrides, moments)
        for path, changed in done_files.items():
            assert path.stat().st_mtime_ns == changed, f"{path} of a finished fold was touched"
        done_files |= _files_of_done_folds(tmp_path / "killed")
    assert num_interrupted > 0, "no kill came before the end"
    monkeypatch.chdir(tmp_path / "killed")
    cross_validate(load_config(overrides))

    whole_dir = only_run_dir(tmp_path / "whole", "demo")
    killed_dir = only_run_dir(tmp_path / "killed", "demo")
    assert killed_dir.name == whole_dir.name
    for name in ["predictions.csv", "metrics.json", "plan.csv"]:
        assert (killed_dir / name).read_bytes() == (whole_dir / name).read_bytes(), name
    for path, changed in done_files.items():
        assert path.stat().st_mtime_ns == changed, f"{path} of a finished fold was touched"
    _assert_each_epoch_once_in_journals(killed_dir)
    _assert_each_epoch_once_in_mlflow(tmp_path / "killed")


@pytest.mark.parametrize("model", [NETWORK, ("model=boosted_trees",)], ids=["network", "baseline"])
def test_killed_runs_of_several_labels_end_like_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: tuple[str, ...]
) -> None:
    data = write_cohort(tmp_path / "data")
    overrides = [*data, *model, "name=demo", f"training.epochs={NUM_EPOCHS}"]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    moments = random.Random(0)
    killed = [_start_and_kill(tmp_path / "killed", overrides, moments) for _ in range(3)]
    assert any(killed), "no kill came before the end"
    for name in ("whole", "killed"):
        monkeypatch.chdir(tmp_path / name)
        cross_validate(load_config(overrides))
    whole, killed_dir = (only_run_dir(tmp_path / name, "demo") for name in ("whole", "killed"))
    for path in ["predictions.csv", "metrics.json", "plan.csv"]:
        assert (killed_dir / path).read_bytes() == (whole / path).read_bytes(), path


def _start_and_kill(cwd: Path, overrides: list[str], moments: random.Random) -> bool:
    """Start, wait for a random number of journal lines, kill -9 all; was it still alive?"""
    lines_before = _num_journal_lines(cwd)
    num_lines = moments.randint(0, 6)
    process = subprocess.Popen(
        cv_command(*overrides),
        cwd=cwd,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and _num_journal_lines(cwd) < lines_before + num_lines:
        time.sleep(0.002)
    time.sleep(moments.random() * 0.2)
    was_alive = process.poll() is None
    if was_alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return was_alive


def _num_journal_lines(cwd: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in cwd.glob("runs/demo/*/*/journal.jsonl"))


def _files_of_done_folds(cwd: Path) -> dict[Path, int]:
    """Every result and checkpoint of the folds that are done, with its time of change."""
    done = [path.parent for path in cwd.glob("runs/demo/*/*/result.json")]
    files = [file for fold_dir in done for file in fold_dir.glob("*.[pjc]*") if file.is_file()]
    return {file: file.stat().st_mtime_ns for file in files}


def _assert_each_epoch_once_in_journals(run_dir: Path) -> None:
    for fold in range(NUM_FOLDS):
        lines = (run_dir / f"fold_{fold:02d}" / "journal.jsonl").read_text().splitlines()
        epochs = [r["epoch"] for r in map(json.loads, lines) if r["event"] == "epoch"]
        assert epochs == list(range(1, NUM_EPOCHS + 1)), f"fold {fold}"


def _assert_each_epoch_once_in_mlflow(cwd: Path) -> None:
    client = mlflow_client(cwd)
    parents, children = mlflow_runs(client, "demo")
    assert [run.info.status for run in parents] == ["FINISHED"]
    names = [str(run.info.run_name).partition(" of ")[0] for run in children]
    assert names == [f"fold-{i:02d}" for i in range(NUM_FOLDS)]
    for run in children:
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "val/image/auroc")
        assert sorted(metric.step for metric in history) == list(range(1, NUM_EPOCHS + 1))
        assert len(client.get_metric_history(run.info.run_id, "test/patient/auroc")) == 1
