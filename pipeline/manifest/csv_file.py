"""The manifest's CSV as a table of text: encoding, separator, header, number of cells."""

import codecs
import csv
import difflib
import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipeline.config import ManifestConfig
from pipeline.formats import ImageError
from pipeline.formats.limits import check_kind
from pipeline.levels import MIDDLES
from pipeline.manifest.findings import Finding, ManifestError
from pipeline.manifest.manifest import SEVERAL
from pipeline.words import counted, listed

MOST_BYTES, ROWS_AT_ONCE = 2**30, 2**16
COLUMNS_SHOWN, MOST_LETTERS, MOST_COMPARED = 50, 80, 1000
"""Of the header: names that a message lists, letters of a name, names that a guess looks at."""
_OTHER_KINDS = {
    b"PK\x03\x04": "an Excel workbook (or another zip file): open it and save it as CSV UTF-8",
    b"PK\x05\x06": "an empty zip file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls): open it and save it as CSV UTF-8",
    b"\x1f\x8b": "compressed with gzip: unpack it with gunzip",
    b"BZh": "compressed with bzip2: unpack it with bunzip2",
    b"\xfd7zXZ": "compressed with xz: unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it with unzstd",
    b"PAR1": "a Parquet table: pandas.read_parquet(...).to_csv(..., index=False) makes a CSV",
    b"ARROW1": "a Feather table: pandas.read_feather(...).to_csv(..., index=False) makes a CSV",
    b"SQLite format 3": "a SQLite database: export the table as CSV",
    b"\x89HDF": "an HDF5 file: write its table as CSV",
    b"\x89PNG": "a PNG image, no table",
    b"\xff\xd8\xff": "a JPEG image, no table",
    b"%PDF": "a PDF document: save the table in it as CSV",
    b"{\\rtf": "a text document (RTF): save the table in it as CSV",
}
"""First bytes -> what a file is that is called a CSV, and what to do."""
ZERO_BYTE = "has a zero byte (NUL), so the file is damaged or no text; save the table again"
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_OURS = {"patient": "patient_id", "image": "image_path"}
_OURS |= {name: name for name in ("label", "site", *MIDDLES, "date", "weight", "fold", "part")}
"""Setting in manifest.columns -> what we call the column."""


class Batch(NamedTuple):
    """Some records."""

    lines: list[int]
    """That each begins on."""
    rows: list[list[str]]


def header_of(config: ManifestConfig) -> list[str]:
    """The CSV's names of its columns; ManifestError where it cannot be read."""
    path = Path(config.path)
    batches = _batches(path, _read_text(path, config), config.separator)
    return next(batches, Batch([1], [[]])).rows[0]


def read_table(
    config: ManifestConfig, needs_label: bool = True
) -> tuple[pd.DataFrame, dict[str, str], list[Finding]]:
    """All cells as text, with the CSV's line numbers, under our names; those names; and errors for
    rows that are left out, because they have more or fewer cells than the header.

    A CSV without a label can only be read where none is needed. A study, slide or value of a group
    column is the same with and without spaces around it.
    """
    path = Path(config.path)
    batches = _batches(path, _read_text(path, config), config.separator)
    header = next(batches, Batch([1], [[]])).rows[0]
    _check_header(path, header, config, needs_label)
    problems: list[Finding] = []
    names = _our_names(config, header)
    columns = [names.get(name, name) for name in header]
    pieces = []
    for batch in batches:
        good = _good_rows(batch, header, config, problems)
        if good.rows:
            piece = pd.DataFrame(good.rows, columns=columns, dtype=str)
            pieces.append(piece.assign(line=good.lines))
    if not pieces:
        raise ManifestError(path, problems or [Finding("no_rows", "error", "has no rows")])
    table = pd.concat(pieces, ignore_index=True)
    if len(config.columns.images) > 1:
        images = [names.get(name, name) for name in config.columns.images]
        paths = table[images].agg(SEVERAL.join, axis=1)
        table = table.drop(columns=images)
        table.insert(0, "image_path", paths)
        names[SEVERAL.join(config.columns.images)] = "image_path"
    keys = {*MIDDLES, *(names.get(name, name) for name in config.group_columns)}
    for key in (keys & {*table.columns}) - {"patient_id", "image_path"}:
        table[key] = table[key].str.strip()
    return table, names, problems


def _good_rows(
    batch: Batch, header: list[str], config: ManifestConfig, problems: list[Finding]
) -> Batch:
    """The records that fit the header; what is wrong with the others is added to `problems`."""
    has_several, length = len(config.columns.images) > 1, len(header)
    if not has_several and set(map(len, batch.rows)) == {length}:
        return batch  # nearly every one, of a million rows
    good = Batch([], [])
    for line, row in zip(*batch, strict=True):
        fault = ""
        if len(row) != length:
            fault = f"has {counted(len(row), 'cell')}, the header has {length}" * bool(row)
        elif has_several:
            fault = _separator_in_path(dict(zip(header, row, strict=True)), config)
        if fault:
            problems.append(Finding("cells", "error", fault, line))
        elif row:
            good.lines.append(line)
            good.rows.append(row)
    return good


def _separator_in_path(cells: dict[str, str], config: ManifestConfig) -> str:
    """What stands between the paths of several images may not stand in one."""
    for name in config.columns.images:
        if SEVERAL in cells[name]:
            return (
                f"image {cells[name]!r} in column {name!r} has a {SEVERAL} in its name, which "
                "stands between the images of a sample; rename the file"
            )
    return ""


def _our_names(config: ManifestConfig, header: list[str]) -> dict[str, str]:
    """The CSV's name of a column -> ours, for columns that have a meaning or are set aside.

    A column that is only called like one of ours, and is not named in the settings, means nothing.
    """
    names = {theirs: _OURS[setting] for theirs, setting in _settings(config).items()}
    images = config.columns.images if len(config.columns.images) > 1 else ()
    for name in (*images, *label_columns(config)):  # they keep their names, become one column later
        del names[name]
    for name in header:
        if name in (*_OURS.values(), "line", "group") and name not in names:
            names[name] = f"csv {name}"
            while names[name] in header:
                names[name] = f"csv {names[name]}"
    return names


def _settings(config: ManifestConfig) -> dict[str, str]:
    """The CSV's name of a column -> the setting in manifest.columns that names it."""
    named = {getattr(config.columns, setting): setting for setting in _OURS}
    named = {theirs: setting for theirs, setting in named.items() if isinstance(theirs, str)}
    named |= dict.fromkeys(config.columns.images, "image")
    return named | dict.fromkeys(label_columns(config), "label")


def label_columns(config: ManifestConfig) -> tuple[str, ...]:
    """The columns of a multilabel task that has one for each label."""
    label = config.columns.label
    return () if isinstance(label, str) else label


def _read_text(path: Path, config: ManifestConfig) -> str:
    rule, line, hint = "encoding", 0, ""
    try:
        raw = _read_bytes(path)
        codec = codecs.lookup(config.encoding).name
        problem, line = other_encoding(raw, codec)
    except FileNotFoundError:
        rule, problem = "file", f"no such file (searched from {Path.cwd()})"
        hint = config.hint
    except OSError as error:
        rule, problem = "file", f"cannot be read: {error.strerror}"
    except ImageError as error:
        rule, problem = "file", str(error)
    except LookupError:
        known = "allowed are utf-8, latin-1, ..."
        problem = f"manifest.encoding={config.encoding} is not known; {known}"
    if problem:
        raise ManifestError(path, [Finding(rule, "error", problem, line)], hint)
    text = raw.decode("utf-8-sig" if codec == "utf-8" else codec)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_bytes(path: Path) -> bytes:
    """All of it; of what cannot be a manifest no more than its beginning."""
    if path.exists():
        check_kind(path)
    with path.open("rb") as file:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ImageError(f"has {size:,} bytes; a manifest may have {MOST_BYTES:,}")
        start = file.read(2**16)
        return start if start[:200].count(0) > 150 else start + file.read()


def other_encoding(raw: bytes, codec: str) -> tuple[str, int]:
    """In which encoding the text is, where not in the one of the settings; and the line."""
    for beginning, what in _OTHER_KINDS.items():
        if raw.startswith(beginning):
            return f"is no CSV but {what}", 0
    if raw.lstrip()[:1] in (b"{", b"["):
        with suppress(ValueError):
            json.loads(raw)
            return "is no CSV but JSON: pandas.read_json(...).to_csv(..., index=False) makes one", 0
    name = codec.upper()
    is_wide, zeros = codec.startswith(("utf-16", "utf-32")), raw[:200].count(0)
    if is_wide and not zeros:
        return f"is not {name}, which has zero bytes; set manifest.encoding=utf-8", 1
    is_mostly_wide = zeros > len(raw[:200]) / 4
    if not is_wide and (
        is_mostly_wide or raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    ):
        return f"is not {name} but looks like UTF-16; set manifest.encoding=utf-16", 1
    if not is_wide and (at := raw.find(0)) >= 0:
        return ZERO_BYTE, line_of(raw, at)
    try:
        raw.decode(codec)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = line_of(raw, start)
        other = "save the file as UTF-8, or set manifest.encoding (latin-1 or cp1252 is likely)"
        if codec != "utf-8":
            other = "set manifest.encoding to what the file was saved in"
        return f"is not {name}; {other}", line
    if not codec.startswith(("utf", "ascii")) and not raw.isascii():
        # Text of another encoding that happens to be valid UTF-8 all through is next to impossible.
        with suppress(UnicodeDecodeError):
            raw.decode("utf-8")
            return f"is UTF-8, not {codec}; set manifest.encoding=utf-8", 0
    return "", 0


def line_of(raw: bytes, at: int) -> int:
    """The line of a byte, however lines end."""
    return raw[:at].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1


def _batches(path: Path, text: str, separator: str) -> Iterator[Batch]:
    """The first record, and then many at a time: Python's texts take much room. Only a line feed
    ends a line.
    """

    def begun() -> Any:
        return csv.reader(io.StringIO(text), delimiter=separator, strict=True)

    reader, line, size = begun(), 1, 1
    try:
        while rows := list(islice(reader, size)):
            lines, after = list(range(line, line + len(rows))), reader.line_num + 1
            if after - line > len(rows):  # cells have lines of their own
                heights = [1 + sum(cell.count("\n") for cell in row) for row in rows]
                lines = list(accumulate(heights[:-1], initial=line))
            yield Batch(lines, rows)
            line, size = after, ROWS_AT_ONCE
    except csv.Error as error:
        fault = f"a cell is badly quoted ({error})"
        if "field larger" in str(error):
            fault = (
                f"a cell has more than {csv.field_size_limit():,} characters; is a quote never "
                "closed?"
            )
        problem = Finding("quote", "error", fault, _line_of_fault(begun()))
        raise ManifestError(path, [problem]) from None


def _line_of_fault(reader: Any) -> int:
    """The line on which the record begins that cannot be read."""
    line = 1
    with suppress(csv.Error):
        for _ in reader:
            line = reader.line_num + 1
    return line


def _check_header(path: Path, header: list[str], config: ManifestConfig, needs_label: bool) -> None:
    if not any(name.strip() for name in header):
        text = "the file is empty" if not header else "the header has no names"
        raise ManifestError(path, [Finding("header", "error", text, 1)], config.hint)
    columns = listed([name[:MOST_LETTERS] for name in header], COLUMNS_SHOWN)
    wanted = {
        theirs: f"columns.{setting}"
        for theirs, setting in _settings(config).items()
        if needs_label or setting != "label"
    }
    wanted |= {name: "group_columns" for name in config.group_columns if name not in wanted}
    texts = [
        f"column {theirs!r} is missing (manifest.{setting}); the columns are {columns}"
        f"{_did_you_mean(theirs, header)}"
        for theirs, setting in wanted.items()
        if theirs not in header
    ]
    texts += [
        f"column {name[:MOST_LETTERS]!r} occurs {number:,} times"
        for name, number in sorted(Counter(header).items())
        if number > 1
    ]
    if texts:
        hints = [
            f"the separator seems to be {mark!r}; set manifest.separator={name}"
            for mark, name in _SEPARATORS.items()
            if len(header) == 1 and mark in header[0]
        ]
        problems = [Finding("header", "error", text, 1) for text in texts]
        raise ManifestError(path, problems, *hints[:1])


def _did_you_mean(name: str, header: list[str]) -> str:
    plain = {column.strip().casefold(): column for column in header[:MOST_COMPARED]}
    close = difflib.get_close_matches(name.casefold(), plain, n=1) if len(header) > 1 else []
    return f"; did you mean {plain[close[0]]!r}?" if close else ""
