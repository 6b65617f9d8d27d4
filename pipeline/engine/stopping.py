"""What a command that is stopped leaves in the journals of its folds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from signal import Signals

from pipeline.errors import UserError
from pipeline.tracking.journal import (
    EpochEnded,
    Journal,
    Progressed,
    Started,
    Stopped,
    read_journal,
)
from pipeline.training.job import FoldJob


@contextmanager
def said_when_stopped(jobs: Sequence[FoldJob]) -> Iterator[None]:
    """When Ctrl-C or a signal ends the block, and with it the workers, the journals say so."""
    try:
        yield
    except KeyboardInterrupt as stop:
        number = getattr(stop, "number", None)
        reason = "Ctrl-C" if number is None else Signals(number).name
        for job in jobs:
            with suppress(UserError, OSError):  # no room for a line: it is stopped all the same
                _say(job, reason)
        raise


def _say(job: FoldJob, reason: str) -> None:
    path = job.fold_dir / "journal.jsonl"
    last = read_journal(path)[-1:]
    if not job.is_done and last and isinstance(last[0], Started | Progressed | EpochEnded):
        with Journal(path) as journal:
            journal.append(Stopped(reason=reason))
