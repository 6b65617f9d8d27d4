"""Our command as a user runs it, and what its run folder says of the time. Imports no torch."""

import itertools
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speed.process import Ran, run
from speed.task import FoldRows, Task

Event = dict[str, Any]


def cross_validate(overrides: Sequence[str], run_dir: Path, folder: Path) -> Ran:
    """One `cv` as a whole process, with MLflow's database in `folder`."""
    return run([sys.executable, "-m", "pipeline", "cv", *overrides, f"run_dir={run_dir}"], folder)


def facts_of(run_dir: Path, ran: Ran, task: Task) -> dict[str, float]:
    """Seconds and counts, from the journals, results and predictions of the run that `ran` made."""
    folders = sorted(run_dir.glob("fold_*"))
    journals = [_events(folder) for folder in folders]
    results = [json.loads((folder / "result.json").read_text()) for folder in folders]
    started = min(events[0]["time"] for events in journals)
    ended = max(result["time"] for result in results)
    working, num_processes = ended - started, task.num_processes
    return {
        "working": working,
        "whole": ran.whole,
        "processor": ran.processor,
        "start": started - ran.began,
        "end": ran.ended - ended,
        "first_epoch": statistics.median(_first_to_later(events) for events in journals),
        "own_share": ran.own_between(started, ended) / (num_processes * working),
        **_counts(folders, journals, task),
    }


def _events(folder: Path) -> list[Event]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def _epochs(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event["event"] == "epoch"]


def _first_to_later(events: Sequence[Event]) -> float:
    """How many times as long the first epoch takes as a later one; 1 where there is no later."""
    moments = [events[0]["time"], *(event["time"] for event in _epochs(events))]
    first, *later = (b - a for a, b in itertools.pairwise(moments))
    return first / statistics.median(later) if later else 1.0


def _counts(
    folders: Sequence[Path], journals: Sequence[Sequence[Event]], task: Task
) -> dict[str, float]:
    """Images that passed through the networks, steps, and the mean AUROC of the last epochs."""
    counts = dict.fromkeys(("train_images", "val_images", "test_images", "steps"), 0.0)
    aurocs = []
    for folder, events, fold in zip(folders, journals, task.folds, strict=True):
        epochs = _epochs(events)
        counts["train_images"] += len(epochs) * len(fold.train)
        counts["steps"] += len(epochs) * _steps(fold, task.batch_size)
        counts["val_images"] += len(epochs) * _rows(folder / "predictions_val.csv")
        counts["test_images"] += _rows(folder / "predictions_test.csv")
        aurocs.append(epochs[-1]["metrics"]["val/image/auroc"])
    return {**counts, "auroc": statistics.mean(aurocs)}


def _steps(fold: FoldRows, batch_size: int) -> int:
    """A last batch of one image joins its neighbour."""
    whole, rest = divmod(len(fold.train), batch_size)
    return max(1, whole + (rest > 1))


def _rows(path: Path) -> int:
    return len(path.read_text().splitlines()) - 1
