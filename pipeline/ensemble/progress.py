"""What is predicted so far: a line for each batch, so that a killed command goes on."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.arrays import Floats
from pipeline.config import UserError, fingerprint
from pipeline.ensemble.stream import Answer
from pipeline.files import NOT_FOLLOWED, make_private_file, open_plain, told_when_full, write_whole
from pipeline.formats.files import file_stamp

NAME = "progress.jsonl"


@dataclass(frozen=True)
class Line:
    """A batch that is done, without names: whose images these are, the manifest says."""

    batch: int
    stamp: str
    """Of its files as they were: one that has changed since is predicted anew."""
    members: list[list[list[float]]]
    """(M, B', K)"""
    faults: list[str]
    notes: dict[str, list[str]]

    @classmethod
    def of(cls, batch: int, stamp: str, answer: Answer) -> "Line":
        notes = {name: list(cells) for name, cells in answer.notes.items()}
        return cls(batch, stamp, answer.members.tolist(), list(answer.faults), notes)

    @property
    def answer(self) -> Answer:
        members: Floats = np.array(self.members, dtype=np.float64)
        if not members.size:
            members = members.reshape(len(self.members), 0, 1)
        return Answer(members, self.faults, self.notes)


class Done:
    """The file of what is done; one command writes it."""

    def __init__(self, path: Path, lines: Mapping[int, Line]) -> None:
        self.path = path
        self.lines = dict(lines)
        """By batch."""

    @classmethod
    def open(cls, folder: Path, key: str, stamps: Sequence[str]) -> "Done":
        """That of a folder, begun or gone on with; `stamps` are of each batch's files now.

        Raises:
            UserError: the folder holds predictions of something else.
        """
        path = folder / NAME
        first, *rest = _whole_lines(path) or [{"key": key}]
        if first.get("key") != key:
            raise UserError(
                f"out={folder}: holds predictions of another run, or of other images; name "
                "another folder, or leave out= away to get a new one"
            )
        found = [Line(**line) for line in rest]
        same = {of.batch: of for of in found if stamps[of.batch : of.batch + 1] == [of.stamp]}
        make_private_file(path)
        write_whole(path, "".join(map(_text, [first, *map(asdict, same.values())])))
        path.chmod(0o600)
        return cls(path, same)

    def has(self, batch: int, is_strict: bool) -> bool:
        """Whether a batch is done; `is_strict`: and without a fault."""
        line = self.lines.get(batch)
        return line is not None and not (is_strict and any(line.faults))

    def add(self, line: Line) -> None:
        """One more line, whole or not there."""
        text = _text(asdict(line)).encode()
        with told_when_full(self.path, len(text)):
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | NOT_FOLLOWED)
            with os.fdopen(file, "ab") as opened:
                opened.write(text)
        self.lines[line.batch] = line


def stamp_of(files: Sequence[tuple[Path, ...]]) -> str:
    """Changes whenever a byte of the files may have, or when others are named."""
    return fingerprint([[[str(path), file_stamp(path)] for path in of] for of in files])


def _text(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines up to the first that is torn, as a kill or a power cut may leave it."""
    try:
        with open_plain(path) as file:
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    found: list[dict[str, Any]] = []
    for line in text.split("\n")[:-1]:
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found
