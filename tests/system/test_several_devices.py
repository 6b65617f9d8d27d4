"""The whole command with two processes for each fold, one of which is killed."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from system_runs import make_cohort, only_run_dir, run_cv, start_cv

from pipeline.tracking.journal import EpochEnded, Started, read_journal
from pipeline.tracking.result import read_result

PATIENCE_S = 300.0


def _peers(run_dir: Path) -> Iterator[int]:
    """Processes beside that of fold 0, once it has trained two epochs."""
    events = read_journal(run_dir / "fold_00" / "journal.jsonl")
    if sum(isinstance(event, EpochEnded) for event in events) < 2:
        return
    pid = next(event.pid for event in events if isinstance(event, Started))
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield int(child)


def test_a_command_whose_process_was_killed_goes_on_to_the_same_predictions(
    tmp_path: Path,
) -> None:
    cohort = make_cohort(tmp_path / "cohort")
    overrides = [*cohort.overrides, "experiment=demo", "training.epochs=8"]
    overrides += ["engine.devices_per_fold=2", "training.average=0.5"]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    assert run_cv(tmp_path / "whole", *overrides).returncode == 0

    process = start_cv(tmp_path / "killed", *overrides)
    peers: list[int] = []
    deadline = time.monotonic() + PATIENCE_S
    while not peers and process.poll() is None and time.monotonic() < deadline:
        for run_dir in (tmp_path / "killed" / "runs").glob("demo/*"):
            peers = list(_peers(run_dir))
        time.sleep(0.01)
    (peer,) = peers
    os.kill(peer, signal.SIGKILL)
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "fold 0: worker 2 of 2 (cpu) was killed by SIGKILL" in told
    assert run_cv(tmp_path / "killed", *overrides).returncode == 0

    whole, killed = (only_run_dir(tmp_path / name, "demo") for name in ("whole", "killed"))
    assert whole.name == killed.name
    for name in ("predictions.csv", "metrics.json"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    assert read_result(killed / "fold_00" / "result.json")["device"] == "cpu,cpu"
