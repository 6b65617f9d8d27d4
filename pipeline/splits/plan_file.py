"""A plan as two text files: `plan.csv` (who is tested when) and `plan.json` (how, and hashes)."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.config import fingerprint
from pipeline.files import replacing, write_json
from pipeline.manifest import Manifest
from pipeline.splits.fitting import check_fits
from pipeline.splits.folds import Fold, LeakageError, Plan

SCHEMA = 4
HEADER = ["patient_id", "group", "fold", "val_fold"]
EDITED = "was changed after it was made (its hash does not match)."
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError,
          csv.Error)  # fmt: skip
"""What text that is no plan of ours, though JSON and CSV, can raise."""


def save_plan(plan: Plan, path: Path) -> None:
    """Write `plan.csv` and `plan.json` beside it: versioned text, fit to be committed.

    `fold` holds the folds that test the patient (several in repeated schemes, none for a patient
    who is only trained on), or "locked" or "purged"; `val_fold` those that validate on it.
    """
    header = {
        "schema": SCHEMA,
        "scheme": plan.scheme,
        "num_folds": plan.num_folds,
        "repeats": plan.repeats,
        "seed": plan.seed,
        "version": plan.version,
        "parent_plan_hash": plan.parent_hash,
        "plan_hash": plan.hash,
        "manifest_hash": plan.manifest_hash,
        "purged_images": sorted(plan.purged_images),
        "cuts": list(plan.cuts),
    }
    header["content_hash"] = _content_hash(header, plan.rows)
    rows = io.StringIO()
    csv.writer(rows, lineterminator="\n").writerows([HEADER, *plan.rows])
    with replacing(path) as file:  # the JSON seals the CSV: both take their places together
        file.write(rows.getvalue().encode())
        write_json(path.with_suffix(".json"), header)


def load_plan(path: Path, manifest: Manifest | None = None) -> Plan:
    """Read a plan and prove it again: not edited, no group on two sides, made for `manifest`.

    Raises:
        LeakageError: when the files are missing, were edited, or belong to another manifest.
    """
    with _named(path):
        header, rows = _read(path)
        plan = _plan(header, rows)
        if len(plan.groups) != len(rows) or plan.hash != header["plan_hash"]:
            raise LeakageError(EDITED)
    if manifest is not None:
        try:
            check_fits(plan, manifest)
        except LeakageError as error:
            raise LeakageError(f"plan {path}: {error}") from None
    return plan


def purged_images(path: Path) -> frozenset[str]:
    """Images that a saved plan has in no part; whether it leaks otherwise is not asked.

    Raises:
        LeakageError: when its files are missing or were edited.
    """
    with _named(path):
        header, _ = _read(path)
        return frozenset(header["purged_images"])


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever is wrong with the plan in `path` becomes a LeakageError that names it."""
    try:
        yield
    except LeakageError as error:
        raise LeakageError(f"plan {path}: {error}") from None
    except OSError as error:
        raise LeakageError(f"plan {error.filename}: cannot be read: {error.strerror}.") from None
    except DAMAGE as error:
        raise LeakageError(f"plan {path}: is damaged ({error!r}).") from None


def _read(path: Path) -> tuple[dict[str, Any], list[list[str]]]:
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


def _plan(header: dict[str, Any], rows: list[list[str]]) -> Plan:
    """The folds follow from the rows: who is neither tested nor validated on is trained on."""
    states = {
        state: frozenset(row[0] for row in rows if row[2] == state)
        for state in ("locked", "purged")
    }
    members = [row for row in rows if row[2] not in states]
    tested: list[set[str]] = [set() for _ in range(header["num_folds"])]
    validated: list[set[str]] = [set() for _ in range(header["num_folds"])]
    for patient, _, test, val in members:
        for sets, folds in ((tested, test), (validated, val)):
            for fold in folds.split():
                if not 0 <= int(fold) < len(sets):
                    raise LeakageError(f"fold {fold} is outside 0 to {len(sets) - 1}.")
                sets[int(fold)].add(patient)
    everyone = frozenset(row[0] for row in members)
    return Plan(
        scheme=header["scheme"],
        seed=header["seed"],
        folds=tuple(
            Fold(i, everyone - test - val, frozenset(val), frozenset(test))
            for i, (test, val) in enumerate(zip(tested, validated, strict=True))
        ),
        groups={row[0]: row[1] for row in rows},
        manifest_hash=header["manifest_hash"],
        repeats=header["repeats"],
        locked=states["locked"],
        purged_patients=states["purged"],
        purged_images=frozenset(header["purged_images"]),
        cuts=tuple(header["cuts"]),
        version=header["version"],
        parent_hash=header["parent_plan_hash"],
    )
