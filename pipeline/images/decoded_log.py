"""Which images of a cache are decoded: a line for each chunk, so that a killed build goes on."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from pipeline.files import write_whole
from pipeline.images.decoding import ARRAYS, Facts, checksum

NAME = "decoded.jsonl"


class Chunk(NamedTuple):
    """Images that are decoded."""

    start: int
    """Row of the first."""
    rows: list[Facts]
    checksum: int
    """Of what is stored of them: a power cut may lose it, though the line is there."""


class DecodedLog:
    """The log of one folder in which a cache is built; one process writes it."""

    def __init__(self, path: Path, chunks: Sequence[Chunk]) -> None:
        self.path = path
        self.chunks = chunks
        """Those of an earlier command, whose pixels are as they were stored."""

    @classmethod
    def begin(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """An empty one, once the arrays are there; `facts` say what they hold."""
        (folder / NAME).write_text(_line(facts))
        return cls(folder / NAME, ())

    @classmethod
    def reopen(cls, folder: Path, facts: dict[str, Any]) -> tuple[Self, list[int]] | None:
        """The log of an earlier command and the shape of an image; None when there is none that
        fits.

        Lines that are torn, or whose pixels are not those that were stored, are left out.
        """
        lines = _whole_lines(folder / NAME)
        if not lines or {**lines[0], "shape": None} != {**facts, "shape": None}:
            return None
        try:
            arrays = [np.lib.format.open_memmap(folder / name, mode="r") for name in ARRAYS]
        except (OSError, ValueError):
            return None
        chunks = [Chunk(**line) for line in lines[1:]]
        kept = [c for c in chunks if checksum(arrays, c.start, len(c.rows)) == c.checksum]
        write_whole(folder / NAME, "".join(map(_line, [lines[0], *(c._asdict() for c in kept)])))
        shape: list[int] = lines[0]["shape"]
        return cls(folder / NAME, kept), shape

    def add(self, chunk: Chunk) -> None:
        with self.path.open("a") as file:
            file.write(_line(chunk._asdict()))


def num_decoded(folder: Path) -> int:
    """How many images another command has decoded there by now."""
    return sum(len(line["rows"]) for line in _whole_lines(folder / NAME)[1:])


def _line(value: dict[str, Any]) -> str:
    text = json.dumps(value)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines whose checksum is right."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError:
        return []
    return [json.loads(line[9:]) for line in lines if line[:8] == b"%08x" % zlib.crc32(line[9:])]
