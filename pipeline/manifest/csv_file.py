"""The manifest's CSV as a table of text: encoding, separator, header, number of cells."""

import codecs
import csv
import difflib
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from pipeline.config import ManifestConfig
from pipeline.manifest.findings import Finding, ManifestError
from pipeline.words import counted

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_OPTIONAL = ("site", "study", "date", "fold", "part")
_OURS = ("patient_id", "image_path", "label", *_OPTIONAL, "line", "group")


def read_table(config: ManifestConfig) -> tuple[pd.DataFrame, dict[str, str]]:
    """All cells as text, with the CSV's line numbers, under our names; and those names.

    Raises:
        ManifestError: when the file cannot be read as a table at all.
    """
    path = Path(config.path)
    records = _records(path, _read_text(path, config), config.separator)
    _, header = next(records, (1, []))
    _check_header(path, header, config)
    rows, lines, problems = [], [], []
    for line, row in records:
        if len(row) == len(header):
            rows.append(row)
            lines.append(line)
        elif row:
            text = f"has {counted(len(row), 'cell')}, the header has {len(header)}"
            problems.append(Finding("cells", "error", text, line))
    if not rows and not problems:
        problems = [Finding("no_rows", "error", "has no rows")]
    if problems:
        raise ManifestError(path, problems)
    names = our_names(config, header)
    table = pd.DataFrame(rows, columns=[names.get(name, name) for name in header], dtype=str)
    return table.assign(line=lines), names


def our_names(config: ManifestConfig, header: Sequence[str]) -> dict[str, str]:
    """The CSV's name of a column -> ours, for columns that have a meaning or are set aside.

    A column that is only called like one of ours, and is not named in the settings, means nothing.
    """
    names = _meanings(config)
    aside: dict[str, str] = {}
    for name in header:
        if name in _OURS and name not in names:
            aside[name] = f"csv {name}"
            while aside[name] in header:
                aside[name] = f"csv {aside[name]}"
    return names | aside


def _meanings(config: ManifestConfig) -> dict[str, str]:
    columns = config.columns
    names = {columns.patient: "patient_id", columns.image: "image_path", columns.label: "label"}
    for ours in _OPTIONAL:
        if theirs := getattr(columns, ours):
            names[theirs] = ours
    return names


def _read_text(path: Path, config: ManifestConfig) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        missing = Finding("file", "error", f"no such file (searched from {Path.cwd()})")
        raise ManifestError(path, [missing], config.hint) from None
    except OSError as error:
        unreadable = Finding("file", "error", f"cannot be read: {error.strerror}")
        raise ManifestError(path, [unreadable]) from None
    try:
        codec = codecs.lookup(config.encoding).name
    except LookupError:
        text = f"manifest.encoding={config.encoding} is not known; allowed are utf-8, latin-1, ..."
        raise ManifestError(path, [Finding("encoding", "error", text)]) from None
    if problem := _other_encoding(raw, codec):
        raise ManifestError(path, [problem])
    text = raw.decode("utf-8-sig" if codec == "utf-8" else codec)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _other_encoding(raw: bytes, codec: str) -> Finding | None:
    """Is the text in another encoding than the settings say, and in which?"""
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in raw[:200]
    if wide and not codec.startswith(("utf-16", "utf-32")):
        text = f"is not {codec.upper()} but looks like UTF-16; set manifest.encoding=utf-16"
        return Finding("encoding", "error", text, 1)
    if codec.startswith(("utf-16", "utf-32")) and b"\0" not in raw[:200]:
        text = f"is not {codec.upper()}, which has zero bytes; set manifest.encoding=utf-8"
        return Finding("encoding", "error", text, 1)
    try:
        raw.decode(codec)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = raw[:start].count(b"\n") + 1
        other = "save the file as UTF-8, or set manifest.encoding (latin-1 or cp1252 is likely)"
        if codec != "utf-8":
            other = "set manifest.encoding to what the file was saved in"
        return Finding("encoding", "error", f"is not {codec.upper()}; {other}", line)
    if codec.startswith(("utf", "ascii")) or raw.isascii():
        return None
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    # Text of another encoding that happens to be valid UTF-8 all through is next to impossible.
    text = f"is UTF-8, not {codec}; set manifest.encoding=utf-8"
    return Finding("encoding", "error", text)


def _records(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line that it begins on; only a line feed ends a line."""
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    first_line = 1
    try:
        for cells in reader:
            yield first_line, cells
            first_line = reader.line_num + 1
    except csv.Error as error:
        problem = Finding("quote", "error", f"a cell is badly quoted ({error})", first_line)
        raise ManifestError(path, [problem]) from None


def _check_header(path: Path, header: list[str], config: ManifestConfig) -> None:
    if not any(name.strip() for name in header):
        text = "the file is empty" if not header else "the header has no names"
        raise ManifestError(path, [Finding("header", "error", text, 1)], config.hint)
    names = _meanings(config)
    columns = ", ".join(map(repr, header))
    wanted = {theirs: f"columns.{ours.split('_')[0]}" for theirs, ours in names.items()}
    wanted |= {name: "group_columns" for name in config.group_columns if name not in wanted}
    texts = [
        f"column {theirs!r} is missing (manifest.{setting}); the columns are {columns}"
        f"{_did_you_mean(theirs, header)}"
        for theirs, setting in wanted.items()
        if theirs not in header
    ]
    others = [s for s in _SEPARATORS if len(header) == 1 and s in header[0]]
    texts += [
        f"column {name!r} occurs {number} times"
        for name, number in sorted(Counter(header).items())
        if number > 1
    ]
    if texts:
        hint = ""
        if others:
            name = _SEPARATORS[others[0]]
            hint = f"the separator seems to be {others[0]!r}; set manifest.separator={name}"
        raise ManifestError(path, [Finding("header", "error", t, 1) for t in texts], hint)


def _did_you_mean(name: str, header: list[str]) -> str:
    plain = {column.strip().casefold(): column for column in header}
    close = difflib.get_close_matches(name.casefold(), plain, n=1) if len(header) > 1 else []
    return f"; did you mean {plain[close[0]]!r}?" if close else ""
