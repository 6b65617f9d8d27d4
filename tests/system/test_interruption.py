"""Ctrl-C, a parent that vanishes, and a fold that fails."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from system_runs import (
    NUM_FOLDS,
    make_cohort,
    mlflow_client,
    mlflow_runs,
    only_run_dir,
    run_cv,
    start_cv,
)

from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config

LONG = ["experiment=demo", "training.epochs=100000"]


def _start(cwd: Path, overrides: list[str]) -> subprocess.Popen[str]:
    """Start a run that will not end by itself, and wait until its folds have trained an epoch."""
    process = start_cv(cwd, *overrides, stdout=subprocess.DEVNULL)
    while not any('"epoch"' in p.read_text() for p in cwd.glob("runs/demo/*/*/journal.jsonl")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    return process


def _worker_pids(cwd: Path) -> list[int]:
    journals = cwd.glob("runs/demo/*/*/journal.jsonl")
    return [json.loads(path.read_text().splitlines()[0])["pid"] for path in journals]


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_workers_end_within_seconds_when_their_parent_is_gone(tmp_path: Path) -> None:
    process = _start(tmp_path, [*make_cohort(tmp_path / "cohort").overrides, *LONG])
    workers = _worker_pids(tmp_path)
    try:
        assert workers
        assert all(map(_is_alive, workers))
        process.kill()  # the parent alone; its workers and the fork server get no signal
        process.wait()
        deadline = time.monotonic() + 10
        while any(map(_is_alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(map(_is_alive, workers)), "an orphan trains on"
    finally:
        os.killpg(process.pid, signal.SIGKILL) if any(map(_is_alive, workers)) else None


def test_ctrl_c_marks_runs_killed_and_the_same_command_continues_them(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort")
    process = _start(tmp_path, [*cohort.overrides, *LONG])
    workers = _worker_pids(tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everyone
    assert process.wait(timeout=120) == 130
    assert process.stderr is not None
    told = process.stderr.read()
    assert "Traceback" not in told
    assert "stopped; what is written is whole, the same command continues" in told
    assert not any(map(_is_alive, workers))
    client = mlflow_client(tmp_path)
    parents, children = mlflow_runs(client, "demo")
    assert [run.info.status for run in parents] == ["KILLED"]
    assert children
    assert {run.info.status for run in children} == {"KILLED"}

    process = _start(tmp_path, [*cohort.overrides, *LONG])
    while client.get_run(parents[0].info.run_id).info.status != "RUNNING":
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)  # as a batch system does
    assert process.wait() == 143
    assert _last_events(tmp_path) == {("stopped", "SIGTERM")}
    parents_again, children_again = mlflow_runs(client, "demo")
    assert [run.info.run_id for run in parents_again] == [run.info.run_id for run in parents]
    assert len({run.info.run_name for run in children_again}) == len(children_again)


def _last_events(cwd: Path) -> set[tuple[str, str]]:
    """What the journals of the folds that had begun end with."""
    paths = cwd.glob("runs/demo/*/*/journal.jsonl")
    last = [json.loads(path.read_text().splitlines()[-1]) for path in paths]
    return {(event["event"], event.get("reason", "")) for event in last}


def test_the_end_of_its_time_is_said_to_all_processes_and_the_command_ends_them(
    tmp_path: Path,
) -> None:
    """SLURM sends SIGUSR1 to every process of a job, which would kill workers."""
    process = _start(tmp_path, [*make_cohort(tmp_path / "cohort").overrides, *LONG, "folds=[0]"])
    workers = _worker_pids(tmp_path)
    os.killpg(process.pid, signal.SIGUSR1)
    assert process.wait(timeout=120) == 138
    assert not any(map(_is_alive, workers))
    assert _last_events(tmp_path) == {("stopped", "SIGUSR1")}
    parents, children = mlflow_runs(mlflow_client(tmp_path), "demo")
    assert {run.info.status for run in parents + children} == {"KILLED"}


def test_a_failing_fold_leaves_the_others_alone_and_can_be_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cohort = make_cohort(tmp_path / "cohort")
    in_turn = "engine.folds_at_once=1"  # fold 2 waits while fold 1 fails
    overrides = [*cohort.overrides, "experiment=demo", "training.epochs=2", in_turn]
    cross_validate(load_config([*overrides, "folds=[0]"]))
    run_dir = only_run_dir(tmp_path, "demo")
    (run_dir / "fold_01").mkdir()
    (run_dir / "fold_01" / "last.pt").write_bytes(b"half a checkpoint")

    failed = run_cv(tmp_path, *overrides)
    assert failed.returncode == 1
    assert "1 fold failed" in failed.stderr
    assert f"fold 1: runs/demo/{run_dir.name}/fold_01/last.pt is damaged" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert (run_dir / "fold_02" / "result.json").exists()
    assert not (run_dir / "predictions.csv").exists()
    parents, children = mlflow_runs(mlflow_client(tmp_path), "demo")
    assert [run.info.status for run in parents] == ["FAILED"]
    statuses = {str(r.info.run_name).partition(" of ")[0]: r.info.status for r in children}
    assert statuses == {"fold-00": "FINISHED", "fold-01": "FAILED", "fold-02": "FINISHED"}

    (run_dir / "fold_01" / "last.pt").unlink()
    cross_validate(load_config(overrides))
    assert (run_dir / "predictions.csv").exists()
    parents, children = mlflow_runs(mlflow_client(tmp_path), "demo")
    assert {run.info.status for run in parents + children} == {"FINISHED"}
    assert len(children) == NUM_FOLDS


def test_a_killed_worker_is_reported_with_its_signal(tmp_path: Path) -> None:
    process = _start(tmp_path, [*make_cohort(tmp_path / "cohort").overrides, *LONG, "folds=[0]"])
    (worker,) = _worker_pids(tmp_path)
    os.kill(worker, signal.SIGKILL)
    assert process.wait() == 1
    assert process.stderr is not None
    assert "fold 0: the worker was killed by SIGKILL" in process.stderr.read()


SLOW = """
import time


class Slow:
    def __call__(self, image):
        time.sleep(0.3)
        return image
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR2, 140)]
)
def test_a_stop_while_images_are_decoded_is_one_line_and_the_command_goes_on(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    cohort = make_cohort(tmp_path / "cohort")
    (tmp_path / "slow.py").write_text(SLOW)
    slow = ["plugins=[slow]", "images.transforms=[{_target_:slow.Slow}]"]
    process = start_cv(tmp_path, *cohort.overrides, *slow, "images.num_processes=1")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("decoding images: "):
            break
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err == "stopped; what is written is whole, the same command continues\n"
    assert "plan: " not in out
    assert not list(tmp_path.glob("runs/*"))
