"""The engine of one machine: folds run as processes, as many at once as there are slots."""

import signal
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from pipeline.config import Config
from pipeline.engine import PRELOADED
from pipeline.engine.devices import device_slots
from pipeline.engine.run_folder import Run
from pipeline.files import FULL, DiskFullError
from pipeline.processes import (
    DISK_FULL_EXIT,
    FAILED_EXIT,
    call_in_child,
    preload,
    start_forkserver,
)
from pipeline.tracking.journal import Failed, Journal, read_journal
from pipeline.training.job import FoldJob

POLL_S = 0.3
Poll = Callable[[Collection[int]], None]
preload(*PRELOADED)


def slots(config: Config) -> list[str]:
    """This machine's GPUs, or its cores."""
    return call_in_child(device_slots, config.engine, config.training.precision)


def check(_run: Run) -> None:
    """Its processes see what the command sees."""


def run_folds(jobs: Sequence[FoldJob], slots: Sequence[str], poll: Poll) -> dict[int, str]:
    """Each fold in a process of its own.

    On any exception, Ctrl-C too, all of them are ended before it goes on: their files are whole at
    every moment.
    """
    context = start_forkserver()
    waiting, free = list(jobs), list(slots)
    running: dict[ForkServerProcess, FoldJob] = {}
    failures: dict[int, str] = {}
    try:
        while waiting or running:
            while waiting and free:
                job = replace(waiting.pop(0), device=free.pop(0))
                name = job.fold_dir.name.replace("_", "-")
                process = context.Process(target=_work, args=(job,), name=name)
                process.start()
                running[process] = job
            wait([process.sentinel for process in running], timeout=POLL_S)
            for process in [process for process in running if not process.is_alive()]:
                job = running.pop(process)
                free.append(job.device)
                if process.exitcode:
                    failures[job.fold.index] = _reason(job, process.exitcode)
            poll([job.fold.index for job in running.values()])
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join()
    return failures


def cause_of(reason: str, fold_dir: Path) -> str:
    """What the folds that fail for one cause share: a full disk, or a reason without the folder."""
    without_fold = reason.replace(str(fold_dir), "")
    return next((full for full in FULL.values() if full in reason), without_fold)


def _work(job: FoldJob) -> None:
    from pipeline.engine.worker import run_worker  # with torch: only in the worker itself

    run_worker(job, job.config.engine.threads_per_fold)


def _reason(job: FoldJob, code: int) -> str:
    """Why a worker that ended with this exit code did not finish its fold."""
    path = job.fold_dir / "journal.jsonl"
    last = read_journal(path)[-1:]
    if code == FAILED_EXIT and last and isinstance(last[0], Failed):
        return last[0].error
    reason = f"the worker ended with exit code {code}; see {job.fold_dir / 'output.log'}"
    if code == DISK_FULL_EXIT:
        reason = (
            f"folder {job.fold_dir}: the disk has no room left, not even for the journal. What is "
            "there is whole: make room, and the same command continues."
        )
    if code == -signal.SIGTERM:  # a scheduler ends all processes of a job, and we are the next
        time.sleep(1.0)
    if code < 0:
        hint = ": often too little memory" if -code == signal.SIGKILL else ""
        reason = f"the worker was killed by {signal.Signals(-code).name}{hint}"
    with suppress(DiskFullError), Journal(path) as journal:  # the worker could not say so itself
        journal.append(Failed(error=reason))
    return reason
