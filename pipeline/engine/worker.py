"""The process that trains one fold, and never outlives the command that started it."""

import os
import sys
import traceback
from contextlib import suppress
from dataclasses import replace
from functools import partial

from pipeline.config.leaf import is_baseline
from pipeline.files import NOT_FOLLOWED, DiskFullError, lock, remove_leftovers
from pipeline.processes import DISK_FULL_EXIT, FAILED_EXIT, follow_parent
from pipeline.tracking.journal import Failed, Journal
from pipeline.training.job import FoldJob

LOCK_PATIENCE_S = 120.0
"""A server of files frees the locks of a machine that died after some 90 s."""


def run_worker(job: FoldJob, num_threads: int) -> None:
    """Train `job`; exit code 0 when done, FAILED_EXIT when it failed (the journal says why).

    Where not even the journal has room, the exit code is DISK_FULL_EXIT.
    """
    follow_parent()
    _redirect_output(job)
    try:
        # An orphan of a killed run may need a moment to end; two must never write one folder.
        refusal = f"fold folder {job.fold_dir} is in use by another process; wait until it ends."
        with lock(job.fold_dir / ".lock", refusal, LOCK_PATIENCE_S):
            remove_leftovers(job.fold_dir)
            _train(job, num_threads)
    except Exception as error:  # noqa: BLE001  (whatever ends a fold is written down)
        with suppress(OSError):  # output.log may be on a full disk
            traceback.print_exc()
        sys.exit(_written(job, Failed.by(error)))


def _written(job: FoldJob, failed: Failed) -> int:
    """Write down why the fold failed; returns the exit code."""
    try:
        with Journal(job.fold_dir / "journal.jsonl") as journal:
            journal.append(failed)
    except DiskFullError:
        return DISK_FULL_EXIT
    return FAILED_EXIT


def _train(job: FoldJob, num_threads: int) -> None:
    if is_baseline(job.config.model):
        from pipeline.training.baseline import train_baseline

        train_baseline(job)
        return
    from pipeline.engine.peers import peers
    from pipeline.training.device import prepare
    from pipeline.training.fold import train_fold
    from pipeline.training.parallel import Worker, workers_of

    main, *others = workers_of(job.device)
    devices = job.device if others else ""

    def work(worker: Worker) -> None:
        prepare(job.config.training, worker.device, num_threads)
        with worker.joined():
            train_fold(replace(job, device=worker.device, devices=devices), worker)

    with peers(others, work, partial(_written, job)):
        work(main)


def _redirect_output(job: FoldJob) -> None:
    """Keep warnings of libraries out of the parent's progress table."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | NOT_FOLLOWED
    log = os.open(job.fold_dir / "output.log", flags, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
