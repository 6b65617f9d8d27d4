"""Run folds as processes, as many at once as there are device slots."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess

from pipeline.processes import start_forkserver
from pipeline.tracking import Failed, Journal, read_journal
from pipeline.training.job import FoldJob

POLL_S = 0.3


@dataclass(frozen=True)
class Failure:
    """A fold that did not get done, and why, in one line."""

    fold: int
    reason: str


@dataclass
class _Running:
    job: FoldJob
    slot: str
    process: ForkServerProcess


def run_folds(
    jobs: Sequence[FoldJob], slots: Sequence[str], num_threads: int, poll: Callable[[], None]
) -> list[Failure]:
    """Train all jobs; `poll` is called several times a second meanwhile.

    A fold that fails leaves the others alone. On any exception, Ctrl-C too, all workers are ended
    before it goes on: their files are whole at every moment.
    """
    context = start_forkserver()
    waiting, free = list(jobs), list(slots)
    running: list[_Running] = []
    failures: list[Failure] = []
    try:
        while waiting or running:
            while waiting and free:
                running.append(_start(context, waiting.pop(0), free.pop(0), num_threads))
            wait([worker.process.sentinel for worker in running], timeout=POLL_S)
            for worker in [w for w in running if not w.process.is_alive()]:
                running.remove(worker)
                free.append(worker.slot)
                failures += _failure(worker)
            poll()
    finally:
        for worker in running:
            worker.process.terminate()
        for worker in running:
            worker.process.join()
    return failures


def _start(context: ForkServerContext, job: FoldJob, slot: str, num_threads: int) -> _Running:
    placed = replace(job, device=slot)
    process = context.Process(
        target=_work, args=(placed, num_threads), name=f"fold-{job.fold.index:02d}"
    )
    process.start()
    return _Running(placed, slot, process)


def _work(job: FoldJob, num_threads: int) -> None:
    from pipeline.engine.worker import run_worker  # with torch: only in the worker itself

    run_worker(job, num_threads)


def _failure(worker: _Running) -> list[Failure]:
    """Why a worker that has ended did not finish its fold; nothing when it did."""
    fold, code = worker.job.fold.index, worker.process.exitcode
    path = worker.job.fold_dir / "journal.jsonl"
    if code == 0:
        return []
    last = read_journal(path)[-1:]
    if code == 1 and last and isinstance(last[0], Failed):
        return [Failure(fold, last[0].error)]
    reason = f"the worker ended with exit code {code}; see {worker.job.fold_dir / 'output.log'}"
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = ": often too little memory" if -code == signal.SIGKILL else ""
        reason = f"the worker was killed by {name}{hint}"
    with Journal(path) as journal:  # the worker could not say so itself
        journal.append(Failed(error=reason))
    return [Failure(fold, reason)]
