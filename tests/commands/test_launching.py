"""Sweeps whose jobs are other processes: what is asked for, and what the jobs say."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.commands.jobs import NOT_BEGUN, STOPPED, Job, read_jobs, write_job
from pipeline.commands.launching import sweep_dir_of, with_launcher
from pipeline.commands.stopping import STOPS, Interrupted, listen, requeued
from pipeline.config import UserError
from pipeline.engine.pruning import Pruned
from pipeline.engine.session import Outcome


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("asked", "ours"), [("submitit_local", "local"), ("local", "local")])
def test_the_plugins_name_gets_our_values_and_a_folder_that_is_known(asked: str, ours: str) -> None:
    found = with_launcher(["-m"], ["a=1,2", f"hydra/launcher={asked}"])
    assert found[:2] == ["a=1,2", f"hydra/launcher={ours}"]
    assert sweep_dir_of(found) == Path(found[2].removeprefix("hydra.sweep.dir="))
    mine = with_launcher(["-m"], [f"hydra/launcher={asked}", "hydra.sweep.dir=mine"])
    assert sweep_dir_of(mine) == Path("mine")


def test_other_launchers_are_left_alone() -> None:
    for settings in (["a=1"], ["hydra/launcher=basic"], ["hydra/launcher=joblib"]):
        assert with_launcher(["-m"], settings) == settings
        assert sweep_dir_of([*settings, "hydra.sweep.dir=x"]) is None


def test_what_is_missing_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"runs the jobs of a sweep.*\n.*no srun is here"):
        with_launcher([], ["hydra/launcher=submitit_slurm"])


def test_jobs_say_what_became_of_them(tmp_path: Path) -> None:
    planned = [Job([f"a={i}"], tmp_path) for i in range(4)]
    pruned = Pruned(folds=(0,), mean=0.5, median=0.7, objective=0.5)
    outcome = Outcome(Path("runs/x"), "val/loss", (0.1, 0.2), (0, 1), "plan", pruned)
    done = Job(["a=1"], tmp_path, "sqlite:///x.db", outcome, STOPPED, "ledger.jsonl")
    failed = Job(["a=2"], tmp_path, error="no such file")
    drawn = Job(["a=0.33"], tmp_path, error=STOPPED)
    for number, job in ((1, done), (2, failed), (4, drawn)):
        write_job(job, number)
    (tmp_path / "jobs" / "3.json").write_text("{")
    assert read_jobs(planned, tmp_path) == [planned[0], done, failed, planned[3], drawn]
    assert planned[0].error == NOT_BEGUN


@pytest.mark.parametrize(("number", "code"), [(15, 143), (signal.SIGUSR1, 138), (12, 140)])
def test_a_signal_stops_like_ctrl_c_and_has_its_exit_code(number: int, code: int) -> None:
    listen()
    with pytest.raises(Interrupted) as caught:
        os.kill(os.getpid(), number)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert caught.value.exit_code == code


@pytest.mark.parametrize(
    ("number", "preempted", "asked"),
    [
        (signal.SIGUSR2, "None", True),
        (signal.SIGUSR1, "None", True),
        (signal.SIGTERM, "None", False),  # somebody cancels it
        (signal.SIGTERM, "2026-01-01T00:00:00", True),
    ],
)
def test_a_job_of_submitit_ends_its_processes_before_it_is_requeued(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    number: signal.Signals,
    preempted: str,
    asked: bool,
) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho 'PreemptEligibleTime=2025 PreemptTime={preempted}'\n")
    scontrol.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    order: list[str] = []
    for stop in STOPS:  # as submitit has set them when a job begins
        signal.signal(stop, lambda *_: order.append("requeued"))

    def work() -> None:
        try:
            os.kill(os.getpid(), number)
        finally:
            order.append("workers ended")

    with pytest.raises(Interrupted), requeued():
        work()
    assert order == ["workers ended", *["requeued"] * asked]
