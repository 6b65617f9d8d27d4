"""The two text files of a plan: `plan.csv` (who is tested when) and `plan.json` (how, hashes)."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.config import fingerprint
from pipeline.files import replacing, write_json
from pipeline.splits.folds import LeakageError

SCHEMA = 4
HEADER = ["patient_id", "group", "fold", "val_fold"]
EDITED = "was changed after it was made (its hash does not match)."
DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What text that is no plan of ours, though JSON and CSV, can raise."""


def write_files(header: dict[str, Any], rows: list[list[str]], path: Path) -> None:
    """Write both files, so that neither is ever seen without the other or cut off."""
    header = {"schema": SCHEMA, **header}
    header["content_hash"] = _content_hash(header, rows)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEADER, *rows])
    with replacing(path) as file:  # the JSON seals the CSV: both take their places together
        file.write(text.getvalue().encode())
        write_json(path.with_suffix(".json"), header)


def purged_images(path: Path) -> frozenset[str]:
    """Images that a saved plan has in no part; raises LeakageError if it was edited or is gone."""
    with named(path):
        header, _ = read_files(path)
        return frozenset(header["purged_images"])


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Whatever is wrong with the plan in `path` becomes a LeakageError that names it."""
    try:
        yield
    except LeakageError as error:
        raise LeakageError(f"plan {path}: {error}") from None
    except OSError as error:
        raise LeakageError(f"plan {error.filename}: cannot be read: {error.strerror}.") from None
    except (*DAMAGE, csv.Error) as error:
        raise LeakageError(f"plan {path}: is damaged ({error!r}).") from None


def read_files(path: Path) -> tuple[dict[str, Any], list[list[str]]]:
    """The header of plan.json and the rows of plan.csv, as they were written."""
    if path.suffix != ".csv":
        raise LeakageError(f"name the plan's .csv file, {path.with_suffix('.csv')}.")
    header = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    with path.open(encoding="utf-8", newline="") as file:
        first, *rows = csv.reader(file)
    if header["schema"] != SCHEMA:
        raise LeakageError(
            f"schema {SCHEMA} expected, got {header['schema']}; make the plan again."
        )
    if first != HEADER or any(len(row) != len(HEADER) for row in rows):
        raise LeakageError(f"the columns must be {', '.join(HEADER)}.")
    if _content_hash(header, rows) != header["content_hash"]:
        raise LeakageError(EDITED)
    return header, rows


def _content_hash(header: dict[str, Any], rows: list[list[str]]) -> str:
    """SHA-256 of both files, without this hash itself."""
    rest = {name: value for name, value in header.items() if name != "content_hash"}
    return fingerprint([rest, rows])
