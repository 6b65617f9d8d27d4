"""A function run by several workers of a fold, in processes forked from the test's own."""

from collections.abc import Callable
from multiprocessing import Pipe, get_context
from typing import TypeVar

from pipeline.training.parallel import Worker, workers_of

T = TypeVar("T")
PATIENCE_S = 60.0


def together(num_workers: int, function: Callable[[Worker], T]) -> list[T]:
    """What the function gives for each worker, the main one first; AssertionError if one fails."""
    waiting = []
    for worker in workers_of(",".join(["cpu"] * num_workers)):
        ours, theirs = Pipe(duplex=False)
        process = get_context("fork").Process(target=_run, args=(function, worker, theirs))
        process.start()
        theirs.close()
        waiting.append((process, ours))
    try:
        found = [ours.recv() for _, ours in waiting if ours.poll(PATIENCE_S)]
    finally:
        for process, _ in waiting:
            process.kill()
            process.join()
    assert len(found) == num_workers, "a worker waits for ever"
    return found


def _run(function: Callable[[Worker], T], worker: Worker, theirs) -> None:  # type: ignore[no-untyped-def]
    with worker.joined():
        theirs.send(function(worker))
