"""A sweep whose jobs are refused, fail or are stopped: the others go on, and the table has all."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from system_runs import cv_command, make_cohort, run_cv, start_cv


def _rows(out: str) -> list[list[str]]:
    """The cells of the table's rows, the wrapped lines of a cell joined."""
    rows: list[list[str]] = []
    for line in out.splitlines():
        if line.startswith("│"):
            cells = [cell.strip() for cell in line.strip("│").split("│")]
            if cells[0]:
                rows.append(cells)
            else:
                rows[-1] = [f"{a} {b}".strip() for a, b in zip(rows[-1], cells, strict=True)]
    return rows


def test_settings_refused_before_a_job_begins_are_told_at_once_and_listed(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort")
    refused = ["training.epochs=0,-5", "training.patience=-1,-2"]
    swept = run_cv(tmp_path, "-m", *cohort.overrides, *refused)
    assert swept.returncode == 1
    assert "Traceback" not in swept.stderr
    assert "Error executing job" not in swept.stderr  # Hydra's own words
    for number in range(1, 5):
        assert f"error: job {number} of 4: The settings have problems:\n  tr" in swept.stderr
    assert "error: 4 of 4 jobs failed; the same command tries again" in swept.stderr
    rows = _rows(swept.stdout)
    assert [row[:3] for row in rows] == [
        ["1", "training.epochs=0 training.patience=-1", "-"],
        ["2", "training.epochs=0 training.patience=-2", "-"],
        ["3", "training.epochs=-5 training.patience=-1", "-"],
        ["4", "training.epochs=-5 training.patience=-2", "-"],
    ]
    for row in rows:
        assert "training.epochs: " in row[-1]
        assert "training.patience: " in row[-1]


def test_a_line_feed_in_the_settings_of_a_job_forges_no_line(tmp_path: Path) -> None:
    command = cv_command(
        "-m", "manifest.name=x", "manifest.path='my\nerror: set.csv','a\nFORGED.csv'"
    )
    swept = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert swept.returncode == 1
    assert r"error: job 1 of 2: manifest my\nerror: set.csv" in swept.stderr
    assert r"error: job 2 of 2: manifest a\nFORGED.csv" in swept.stderr
    lines = (swept.stdout + swept.stderr).splitlines()
    assert not [line for line in lines if line.startswith(("error: set", "FORGED"))]


def test_a_job_that_fails_is_told_when_it_fails_and_the_others_go_on(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort")
    rates = "optimizer.lr=-1,1e30,1e-3"
    common = [*cohort.overrides, "training.epochs=1", "folds=[0]"]
    env = {**os.environ, "COLUMNS": "200"}
    swept = subprocess.run(
        cv_command("-m", *common, rates),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # one stream: its order is what a user sees
        text=True,
        env={**env, "PYTHONUNBUFFERED": "1"},
        check=False,
    )
    assert swept.returncode == 1
    assert "Traceback" not in swept.stdout
    order = [
        "job 1 of 3: ",
        "error: job 1 of 3: The settings have problems:",
        "job 2 of 3: ",
        "error: job 2 of 3: 1 fold failed:",
        "job 3 of 3: ",
        "Test results",
        "compare the runs: ",
        "error: 2 of 3 jobs failed; the same command tries again",
    ]
    places = [swept.stdout.index(text) for text in order]
    assert places == sorted(places)
    rows = _rows(swept.stdout)
    assert [row[:2] for row in rows] == [
        ["3", "optimizer.lr=0.001"],
        ["1", "optimizer.lr=-1"],
        ["2", "optimizer.lr=1e+30"],
    ]
    assert rows[0][-1].startswith("runs/")
    assert "Invalid learning rate: -1" in rows[1][-1]
    assert "fold 0: the training loss is nan in epoch 1" in rows[2][-1]


def test_ctrl_c_in_a_sweep_says_what_is_done_and_the_command_goes_on(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort")
    command = ["-m", *cohort.overrides, "training.epochs=1,100000,2", "folds=[0]"]
    process = start_cv(tmp_path, *command)
    while not any(
        json.loads(line).get("epoch", 0) > 1
        for path in tmp_path.glob("runs/*/*/fold_00/journal.jsonl")
        for line in path.read_text().splitlines()
    ):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "1 of 3 jobs done; the same command trains only what is missing" in out
    assert "stopped; what is written is whole, the same command continues" in err
    rows = _rows(out)
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert [row[1] for row in rows] == [f"training.epochs={n}" for n in (1, 100000, 2)]
    assert [row[-1] for row in rows[1:]] == ["stopped", "not begun"]
    again = run_cv(tmp_path, *command[1:-2], "training.epochs=1", "folds=[0]")
    assert "all folds are done already" in again.stdout
