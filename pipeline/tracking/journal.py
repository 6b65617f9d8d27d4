"""A fold's journal: one event a line as JSON, appended by the fold's worker, read by all others."""

import errno
import json
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from traceback import format_exception
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from pipeline.config import FORMER_METRICS, UserError
from pipeline.files import NOT_FOLLOWED, open_plain, told_when_full

VERSION: Final = 2
"""Written into journal lines, checkpoints and result.json, whose epochs count from 1.

Files without a version are of the first, which counted from 0 and left `image` out of the names
of metrics. Each journal line has its own version: a journal may have been begun by the first.
"""

TRAIN_AGAIN: Final = "Restore it, or delete the fold's folder to train that fold again."


@dataclass(frozen=True, kw_only=True)
class _Event:
    time: float = field(default_factory=time.time)
    """Unix seconds."""
    version: Literal[2] = VERSION


@dataclass(frozen=True, kw_only=True)
class Started(_Event):
    """A worker begins with the fold, or goes on with it."""

    event: Literal["start"] = "start"
    fold: int
    epochs_done: int = 0
    epochs: int = 0
    """At most; the fold may stop earlier."""
    unit: str = "epoch"
    """What is counted: of a baseline, candidates."""
    device: str = ""
    pid: int = 0


@dataclass(frozen=True, kw_only=True)
class Progressed(_Event):
    """Some images of a long epoch are done."""

    event: Literal["progress"] = "progress"
    epoch: int
    done: int
    of: int
    images_per_s: float


@dataclass(frozen=True, kw_only=True)
class EpochEnded(_Event):
    event: Literal["epoch"] = "epoch"
    epoch: int
    metrics: Mapping[str, float | None]
    """None: it cannot be computed."""
    best: bool = False
    left_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Failed(_Event):
    event: Literal["failed"] = "failed"
    error: str
    traceback: str = ""

    @classmethod
    def by(cls, error: Exception) -> "Failed":
        """What a user can mend speaks for itself; anything else needs its type."""
        told = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return cls(error=told, traceback="".join(format_exception(error)))


@dataclass(frozen=True, kw_only=True)
class Stopped(_Event):
    """The command that trained it was stopped; it goes on when that is called again."""

    event: Literal["stopped"] = "stopped"
    reason: str
    """Ctrl-C, or the name of a signal."""


Event = Started | Progressed | EpochEnded | Failed | Stopped
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class JournalError(UserError):
    """A journal holds a complete line that is not an event."""


class Journal(AbstractContextManager["Journal"]):
    """The writing end. Opening it cuts off a last line that a kill left without its newline.

    DiskFullError when there is no room for a line: the journal then ends with the line before.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with told_when_full(path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | NOT_FOLLOWED, 0o644)
        complete = path.read_bytes().rfind(b"\n") + 1
        if complete < os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, complete)

    def append(self, event: Event) -> None:
        """Write one line; ValueError for nan or inf: a metric that cannot be computed is None."""
        try:
            line = json.dumps(to_record(event), allow_nan=False).encode() + b"\n"
        except ValueError as error:
            raise ValueError(
                f"{self.path}: event {event.event!r} holds nan or inf, expected finite numbers"
                f" (None for a metric that cannot be computed), got {event}."
            ) from error
        size = os.fstat(self._fd).st_size
        with told_when_full(self.path):
            if os.write(self._fd, line) < len(line):
                os.ftruncate(self._fd, size)  # half a line would spoil the next one
                raise OSError(errno.ENOSPC, "could not write a whole line", str(self.path))

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)


class JournalTail:
    """The reading end: each call returns the complete events that were added since the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0  # bytes read so far, always at the start of a line

    def read_new(self) -> list[Event]:
        """The new events, oldest first; none while the file is missing.

        JournalError when a complete line is not an event; it names the file and the line.
        """
        try:
            with open_plain(self.path) as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            reason = f"{self.path} cannot be read: {error.strerror}."
            raise JournalError(f"{reason} {TRAIN_AGAIN}") from None
        complete = data[: data.rfind(b"\n") + 1]
        events = []
        for line in complete.splitlines(keepends=True):
            events.append(self._parse(line))
            self._offset += len(line)
        return events

    def _parse(self, line: bytes) -> Event:
        try:
            return to_event(json.loads(line))
        except (ValueError, RecursionError) as error:
            number = self.path.read_bytes()[: self._offset].count(b"\n") + 1
            shown = line[:80].decode(errors="replace").rstrip()
            raise JournalError(
                f"{self.path}, line {number}: expected an event (start, progress, epoch, failed or "
                f"stopped) as JSON, found {shown!r}. The file "
                "is damaged: restore it, or delete the fold's folder to train that fold again."
            ) from error


def read_journal(path: Path) -> list[Event]:
    """All complete events, as JournalTail reads them; [] when the file is missing."""
    return JournalTail(path).read_new()


def history_of(path: Path) -> dict[int, Mapping[str, float | None]]:
    """Epoch, from 1 -> its metrics."""
    events = read_journal(path)
    return {event.epoch: event.metrics for event in events if isinstance(event, EpochEnded)}


def to_record(event: Event) -> dict[str, Any]:
    """The event as JSON holds it."""
    return {"event": event.event, **asdict(event)}


def to_event(record: Any) -> Event:
    """The event of a record, whatever version wrote it; ValueError when it is not one."""
    if not isinstance(record, dict) or "time" not in record or "event" not in record:
        raise ValueError("expected a JSON object with 'event' and 'time'.")
    if "version" not in record:
        record = _from_version_1(record)
    return _EVENT.validate_python(record)  # its ValidationError is a ValueError


def _from_version_1(record: Mapping[str, Any]) -> dict[str, Any]:
    epoch, metrics = record.get("epoch"), record.get("metrics")
    changed = {**record, "version": VERSION}
    if isinstance(epoch, int):  # a start had the number of epochs done, all others an index
        changed |= {"epochs_done": epoch, "epoch": epoch + 1}
    if isinstance(metrics, dict):
        changed["metrics"] = {FORMER_METRICS.get(name, name): metrics[name] for name in metrics}
    return changed
