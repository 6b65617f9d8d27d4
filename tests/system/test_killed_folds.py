"""A baseline and a frozen trunk, killed by kill -9 in their own workers, end like undisturbed ones.

The whole command, killed at any moment with networks: `test_resume.py`.
"""

import json
import os
import signal
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from system_runs import FROZEN, fold_job, make_cohort

from pipeline.engine.local import run_folds
from pipeline.tracking.journal import EpochEnded, Started, read_journal
from pipeline.training.job import FoldJob

TIMES = ("seconds", "time", "seal")
FILES = ("best.pt", "best.json", "predictions_val.csv", "predictions_test.csv")
NUM_EPOCHS = 8


def _train(job: FoldJob, kill_after: int | None = None) -> dict[int, str]:
    """Run the fold's worker; kill it once its journal has so many epochs."""
    journal = job.fold_dir / "journal.jsonl"

    def poll(_running: Collection[int]) -> None:
        events = read_journal(journal)
        pids = [event.pid for event in events if isinstance(event, Started)]
        if kill_after is not None and pids and len(_epochs(job)) >= kill_after:
            with suppress(ProcessLookupError):
                os.kill(pids[-1], signal.SIGKILL)

    return run_folds([job], ["cpu"], poll)


def _epochs(job: FoldJob) -> list[dict[str, Any]]:
    """What the journal has of each epoch, without times."""
    events = read_journal(job.fold_dir / "journal.jsonl")
    ended = [event for event in events if isinstance(event, EpochEnded)]
    return [
        {"epoch": e.epoch, "best": e.best, **e.metrics, "train/images_per_s": None} for e in ended
    ]


def _files(job: FoldJob) -> dict[str, Any]:
    result = json.loads((job.fold_dir / "result.json").read_text())
    found: dict[str, Any] = {name: value for name, value in result.items() if name not in TIMES}
    for name in FILES:
        if (path := job.fold_dir / name).exists():
            found[name] = path.read_bytes()
    return found


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=boosted_trees", "features=pixels", "++model.estimator.max_iter=400"],
        [*FROZEN, f"training.epochs={NUM_EPOCHS}"],
    ],
    ids=["baseline", "frozen trunk"],
)
def test_a_killed_fold_ends_like_an_undisturbed_one(tmp_path: Path, overrides: list[str]) -> None:
    cohort = make_cohort(tmp_path / "cohort", num_patients=36)
    whole, killed = (fold_job(cohort, tmp_path / name, *overrides) for name in ("whole", "killed"))
    assert _train(whole) == {}
    num_killed = 0
    for moment in (0, 1, 2):
        failures = _train(killed, kill_after=moment)
        assert set(failures.values()) <= {
            "the worker was killed by SIGKILL: often too little memory"
        }
        num_killed += len(failures)
    assert num_killed > 0, "no kill came before the end"
    assert _train(killed) == {}
    assert _files(killed) == _files(whole)
    assert _epochs(killed) == _epochs(whole)
    assert len(_files(whole)) > 12
