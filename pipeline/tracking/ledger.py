"""ledger.jsonl: which settings were tested on which plan, and who opened its locked patients.

A run folder can be deleted; that its test results were seen cannot be undone. So the count of what
was tried lies beside the run folders, one line a setting. No patient is named in it.
"""

import errno
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from pipeline.config import LEDGER, UserError
from pipeline.files import NOT_FOLLOWED, lock, open_plain, told_when_full
from pipeline.words import counted

VERSION = 1
PATIENCE_S = 30.0
"""How long others may keep the ledger while they write their line."""
IN_USE = "ledger {}: another process has kept it for half a minute; try again."


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line: a test part of the plan was opened for these settings, or its locked patients."""

    event: Literal["tested", "opened"]
    plan: str
    """Hash of the plan."""
    manifest: str
    """Hash of the manifest."""
    key: str
    """Of the run: all that its numbers depend on."""
    name: str = ""
    """Of the experiment, for people."""
    run_dir: str = ""
    time: float = field(default_factory=time.time)
    version: int = VERSION

    @property
    def day(self) -> str:
        return datetime.fromtimestamp(self.time, UTC).date().isoformat()


@dataclass(frozen=True)
class Tries:
    """What was tried on one plan."""

    keys: tuple[str, ...]
    """Of the runs, each once, in the order of their first test."""
    opened: tuple[Entry, ...]
    """Every time that its locked patients were opened for a run."""

    @property
    def num(self) -> int:
        """How many settings were tested."""
        return len(self.keys)

    @property
    def note(self) -> str:
        """What follows for the best of them; "" for a single one: nothing was chosen."""
        if self.num < 2:
            return ""
        return (
            f"{self.num} settings were tested on this plan: the best of {self.num} is optimistic, "
            "by selection. Report what `patientfold select` says of all of them, or one setting on "
            "patients that were locked away (docs/sweeps.md)"
        )


_ENTRY = TypeAdapter(Entry)


def tries_of(plan: str, path: Path = Path(LEDGER)) -> Tries | None:
    """What the ledger knows of a plan (its hash); None where there is no ledger.

    Raises:
        UserError: the ledger is there and cannot be read.
    """
    if not path.exists():
        return None
    return _tries(plan, _read(path))


def note_tested(path: Path, entry: Entry) -> None:
    """Add a line unless the same settings have one on this plan; a line is written whole or not.

    Raises:
        UserError, OSError: it cannot be written.
    """
    assert entry.event == "tested"
    if path.exists() and entry.key in _tries(entry.plan, _read(path)).keys:
        return  # without a lock, so that a ledger of somebody else's is enough
    with _held(path):
        if entry.key not in _tries(entry.plan, _read(path)).keys:
            _append(path, entry)


def note_opening(path: Path, entry: Entry, again: bool = False) -> tuple[Entry, ...]:
    """Record that the plan's locked patients are opened for a run; returns all openings.

    The same run is recorded once: what it predicts stays the same.

    Raises:
        UserError: as `refuse_reopening`.
        OSError: it cannot be written.
    """
    assert entry.event == "opened"
    with _held(path):
        refuse_reopening(path, entry.plan, entry.key, again)
        before = _tries(entry.plan, _read(path)).opened
        if any(entry.key == other.key for other in before):
            return before
        _append(path, entry)
        return (*before, entry)


def refuse_reopening(path: Path, plan: str, key: str, again: bool) -> None:
    """UserError if a plan's locked patients were opened for another run than that of `key`.

    Not where `again` says that it is known.
    """
    tries = tries_of(plan, path)
    if again or tries is None or not tries.opened or key in (of.key for of in tries.opened):
        return
    first = tries.opened[0]
    raise UserError(
        f"the locked patients of plan {plan[:12]} were opened {counted(len(tries.opened), 'time')} "
        f"before, first on {first.day} for {first.run_dir or first.key[:12]}: whoever looks again "
        "chooses by them, and then they prove nothing. To look all the same, on record: again=true"
    )


def _tries(plan: str, entries: Sequence[Entry]) -> Tries:
    of_plan = [entry for entry in entries if entry.plan == plan]
    keys = dict.fromkeys(entry.key for entry in of_plan if entry.event == "tested")
    return Tries(tuple(keys), tuple(entry for entry in of_plan if entry.event == "opened"))


def _held(path: Path) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    return lock(path, IN_USE.format(path), PATIENCE_S)


def _read(path: Path) -> list[Entry]:
    """All whole lines; what a crash left half is left out."""
    try:
        with open_plain(path) as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise UserError(f"ledger {path} cannot be read: {error.strerror}") from None
    entries = (_entry(line) for line in lines)
    return [entry for entry in entries if entry is not None]


def _entry(line: bytes) -> Entry | None:
    with suppress(ValueError, RecursionError):  # no JSON, or no line of ours
        record: Mapping[str, Any] = json.loads(line)
        return _ENTRY.validate_python(record)
    return None


def _append(path: Path, entry: Entry) -> None:
    """Write a line at the end, after half a line there was cut off; the lock must be held."""
    line = json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n"
    file = os.open(path, os.O_RDWR | os.O_APPEND | NOT_FOLLOWED)
    try:
        content = path.read_bytes()
        size = content.rfind(b"\n") + 1
        if size < len(content) and _entry(content[size:]) is not None:
            line, size = b"\n" + line, len(content)  # whole, but for its end
        os.ftruncate(file, size)
        with told_when_full(path, len(line)):
            if os.write(file, line) < len(line):
                os.ftruncate(file, size)
                raise OSError(errno.ENOSPC, "could not write a whole line", str(path))
            os.fsync(file)
    finally:
        os.close(file)
