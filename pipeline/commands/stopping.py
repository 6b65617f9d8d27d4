"""Signals by which a machine or a scheduler wants a command to stop, and what becomes of its job.

SIGTERM: SLURM takes the job's place away, or ends it. SIGUSR1, SIGUSR2: its time limit is near, if
it was submitted so (`sbatch --signal=USR1@300`; submitit's is USR2). All are as Ctrl-C: workers
end, what is written is whole, MLflow says KILLED, and the same command goes on.
"""

import os
import re
import signal
import subprocess
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
    SIGTERM, only write a line. SIGTERM comes when SLURM preempts the job, and when somebody cancels
    it; only in the first case it is requeued.
    """
    if "SUBMITIT_EXECUTOR" not in os.environ:
        yield
        return
    asking = signal.Signals["SIG" + os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")]
    handler = signal.getsignal(asking)
    listen()
    try:
        yield
    except Interrupted as stop:
        goes_on = stop.number != signal.SIGTERM or is_preempted()
        if goes_on and callable(handler):
            handler(asking, None)  # ends this process, or raises why there is no next time
        raise


def is_preempted() -> bool:
    """Whether SLURM takes the place of the job that this process is in, for another."""
    if (job := os.environ.get("SLURM_JOB_ID")) is None:
        return False
    command = ["scontrol", "show", "job", job]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return re.search(r"\bPreemptTime=\d", told.stdout) is not None


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if number != signal.SIGTERM:  # once is enough: what it began takes a moment
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted(number)
