"""A plan as two text files: `plan.csv` (who is tested when) and `plan.json` (how, and hashes)."""

import csv
import json
from pathlib import Path

from pipeline.config import fingerprint
from pipeline.manifest import Manifest
from pipeline.splits.folds import LeakageError, Plan

SCHEMA = 1
HEADER = ["patient_id", "group", "fold"]


def save_plan(plan: Plan, path: Path) -> None:
    """Write `plan.csv` and `plan.json` beside it. `fold` is the one that tests the patient."""
    rows = [[p, plan.groups[p], str(plan.blocks[p])] for p in sorted(plan.blocks)]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])
    header = {
        "schema": SCHEMA,
        "scheme": "kfold",
        "num_folds": plan.num_folds,
        "seed": plan.seed,
        "plan_hash": plan.hash,
        "manifest_hash": plan.manifest_hash,
        "rows_hash": fingerprint(rows),
    }
    path.with_suffix(".json").write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")


def load_plan(path: Path, manifest: Manifest | None = None) -> Plan:
    """Read a plan and prove it again: not edited, no group in two folds, made for `manifest`.

    Raises:
        LeakageError: when the files are missing, were edited, or belong to another manifest.
    """
    try:
        header = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        with path.open(encoding="utf-8", newline="") as file:
            first, *rows = csv.reader(file)
        if first != HEADER or any(len(row) != len(HEADER) for row in rows):
            raise LeakageError(f"the columns must be {', '.join(HEADER)}.")
        if header["schema"] != SCHEMA:
            raise LeakageError(f"schema {SCHEMA} expected, got {header['schema']}.")
        edited = fingerprint(rows) != header["rows_hash"]
        plan = Plan(
            num_folds=header["num_folds"],
            seed=header["seed"],
            blocks={patient: int(block) for patient, _, block in rows},
            groups={patient: group for patient, group, _ in rows},
            manifest_hash=header["manifest_hash"],
        )
    except LeakageError as error:
        raise LeakageError(f"plan {path}: {error}") from None
    except OSError as error:
        raise LeakageError(f"plan {error.filename}: cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise LeakageError(f"plan {path}: is damaged ({error!r}).") from None
    if edited or len(plan.blocks) != len(rows) or plan.hash != header["plan_hash"]:
        raise LeakageError(f"plan {path}: was changed after it was made (its hash does not match).")
    if manifest is not None:
        try:
            plan.check_covers(manifest)
        except LeakageError as error:
            raise LeakageError(f"plan {path}: {error}") from None
    return plan
