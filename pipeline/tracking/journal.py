"""A fold's journal: one JSON object a line, appended by the fold's worker, read by all others."""

import errno
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.config import UserError


class JournalError(UserError):
    """A journal holds a complete line that is not a record."""


class Journal:
    """The writing end. Opening it cuts off a last line that a kill left without its newline."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        complete = path.read_bytes().rfind(b"\n") + 1
        if complete < os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, complete)

    def append(self, record: Mapping[str, object]) -> None:
        """Write one line; "time" (unix seconds) is added if it is absent.

        Raises:
            ValueError: a number is nan or infinite: a metric that cannot be computed is None.
        """
        stamped = {"event": record["event"], "time": time.time(), **record}
        try:
            line = json.dumps(stamped, allow_nan=False).encode() + b"\n"
        except ValueError as error:
            raise ValueError(
                f"{self.path}: event {record['event']!r} holds nan or inf, expected finite numbers"
                f" (None for a metric that cannot be computed), got {stamped}."
            ) from error
        size = os.fstat(self._fd).st_size
        if os.write(self._fd, line) < len(line):
            os.ftruncate(self._fd, size)  # half a line would spoil the next one
            raise OSError(errno.ENOSPC, "could not write a whole line", str(self.path))

    def close(self) -> None:
        """Close the file; nothing is buffered."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class JournalTail:
    """The reading end: each call returns the complete records that were added since the last."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset
        """Bytes read so far, always at the start of a line."""

    def read_new(self) -> list[dict[str, Any]]:
        """The new records, oldest first; none while the file is missing.

        Raises:
            JournalError: a complete line is not a record; names the file and the line.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        complete = data[: data.rfind(b"\n") + 1]
        records = []
        for line in complete.splitlines(keepends=True):
            records.append(_parse(self.path, line, self.offset))
            self.offset += len(line)
        return records


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All complete records, oldest first; [] when the file is missing.

    Raises:
        JournalError: a complete line is not a record; names the file and the line.
    """
    return JournalTail(path).read_new()


def first_record(path: Path) -> dict[str, Any] | None:
    """The first record; None while there is no complete line.

    Raises:
        JournalError: the line is not a record.
    """
    try:
        with path.open("rb") as file:
            line = file.readline()
    except FileNotFoundError:
        return None
    return _parse(path, line, offset=0) if line.endswith(b"\n") else None


def _parse(path: Path, line: bytes, offset: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or not {"event", "time"} <= record.keys():
        number = path.read_bytes()[:offset].count(b"\n") + 1
        raise JournalError(
            f"{path}, line {number}: expected a JSON object with 'event' and 'time', "
            f"found {line[:80].decode(errors='replace').rstrip()!r}. The file is damaged: "
            "restore it, or delete the fold's folder to train that fold again."
        )
    return record
