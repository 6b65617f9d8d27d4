"""Signals by which a machine or a scheduler wants a command to stop, and what becomes of its job.

SIGTERM: SLURM takes the job's place away, or ends it. SIGUSR1, SIGUSR2: its time limit is near, if
it was submitted so (`sbatch --signal=USR1@300`; submitit's is USR2). All are as Ctrl-C: workers
end, what is written is whole, MLflow says KILLED, and the same command goes on.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Interrupted(KeyboardInterrupt):
    """One of STOPS has come."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """As a shell counts: 143 for SIGTERM, 138 for SIGUSR1, 140 for SIGUSR2."""
        return 128 + self.number


def listen() -> None:
    """From now on each of STOPS raises Interrupted in the main thread."""
    for number in STOPS:
        signal.signal(number, _interrupt)


@contextmanager
def requeued() -> Iterator[None]:
    """A job that submitit runs: when a signal stops it, our processes end before it is requeued.

    submitit's own handlers would requeue it at once, in the middle of whatever is done, or, of
    SIGTERM, only write a line. No more than SIGTERM is left to SLURM: it comes when SLURM requeues
    the job itself, and when somebody cancels it.
    """
    if "SUBMITIT_EXECUTOR" not in os.environ:
        yield
        return
    by_submitit = {number: signal.getsignal(number) for number in STOPS}
    listen()
    try:
        yield
    except Interrupted as stop:
        handler = by_submitit[signal.Signals(stop.number)]
        if stop.number != signal.SIGTERM and callable(handler):
            handler(stop.number, None)  # ends this process, or raises why there is no next time
        raise


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if number != signal.SIGTERM:  # once is enough: what it began takes a moment
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted(number)
