"""Splits that somebody else made: a manifest's column, a CSV, or nnU-Net's splits_final.json."""

import csv
import json
from pathlib import Path

from pipeline.config import SplitConfig, UserError
from pipeline.manifest import Manifest
from pipeline.splits.folds import LeakageError

PART_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "dev": "val", "tune": "val", "tuning": "val", "test": "test", "testing": "test",
}  # fmt: skip


def predefined_blocks(manifest: Manifest, names: list[str], split: SplitConfig) -> dict[str, int]:
    """Group -> block 0 to k-1; empty when parts are given and no blocks.

    Raises:
        UserError: for a value that is no block, a gap, or fewer than 3 blocks.
        LeakageError: when a group lies in two blocks.
    """
    values = _values(manifest, split, "fold")
    if values is None:
        return {}
    wrong = sorted({v for v in values if not v.isdigit()})
    if wrong:
        raise UserError(f"split.scheme=predefined: fold must be 0, 1, 2, ..., got {wrong[:3]}.")
    of_group = _of_groups(manifest, values)
    blocks = {name: int(of_group[name]) for name in names}
    found = sorted(set(blocks.values()))
    if found != list(range(len(found))) or len(found) < 3:
        raise UserError(
            "split.scheme=predefined: folds must be numbered from 0 without a gap, 3 or more, got "
            f"{found[:10]}."
        )
    return blocks


def predefined_parts(
    manifest: Manifest, names: list[str], split: SplitConfig
) -> list[dict[str, str]]:
    """For each fold: group -> train, val or test. nnU-Net's "val" is the part that we call test.

    Raises:
        UserError: for an unknown word, or a patient without a part.
        LeakageError: when a group lies in two parts.
    """
    if split.assignments and split.assignments.endswith(".json"):
        rounds = _nnunet(manifest, Path(split.assignments))
    else:
        values = _values(manifest, split, "part")
        assert values is not None, "the settings name a fold or a part"
        rounds = [values]
    parts = []
    for values in rounds:
        unknown = sorted({v for v in values if v.lower() not in PART_WORDS})
        if unknown:
            raise UserError(
                f"split.scheme=predefined: part must be train, val or test, got {unknown[:3]}."
            )
        of_group = _of_groups(manifest, [PART_WORDS[v.lower()] for v in values])
        parts.append({name: of_group[name] for name in names})
    return parts


def _of_groups(manifest: Manifest, values: list[str]) -> dict[str, str]:
    """Group -> its value, proved to be one."""
    found: dict[str, tuple[str, str]] = {}
    table = manifest.table
    for patient, group, value in zip(table["patient_id"], table["group"], values, strict=True):
        other_value, other = found.setdefault(group, (value, patient))
        if other_value != value:
            who = f"patient {patient!r} is" if other == patient else (
                f"patients {other!r} and {patient!r} belong together but are")  # fmt: skip
            raise LeakageError(f"split.scheme=predefined: {who} in {other_value} and in {value}.")
    return {group: value for group, (value, _) in found.items()}


def _values(manifest: Manifest, split: SplitConfig, what: str) -> list[str] | None:
    """(N,) the value of each row, None when the source gives the other kind."""
    if split.assignments is None:
        return manifest.table[what].str.strip().tolist() if what in manifest.table else None
    if split.assignments.endswith(".json"):
        return None
    rows = _csv(Path(split.assignments))
    key = "image_path" if "image_path" in rows[0] else "patient_id"
    if what not in rows[0]:
        return None
    value_of = {row[key]: row[what].strip() for row in rows}
    keys = manifest.table[key].tolist()
    if missing := [k for k in keys if k not in value_of]:
        raise UserError(f"split.assignments {split.assignments}: {missing[0]!r} is not in it.")
    return [value_of[k] for k in keys]


def _csv(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"split.assignments {path}: {error.strerror}.") from None
    names = list(rows[0]) if rows else []
    if not {"patient_id", "image_path"} & set(names) or not {"fold", "part"} & set(names):
        raise UserError(
            f"split.assignments {path}: needs a column patient_id or image_path, and fold or part; "
            f"it has {', '.join(names) or 'no rows'}."
        )
    return rows


def _nnunet(manifest: Manifest, path: Path) -> list[list[str]]:
    """A list of rounds, each a value per row; cases are patient ids or images' file stems."""
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
        rounds = [(set(map(str, s["train"])), set(map(str, s["val"]))) for s in splits]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'split.assignments {path}: must be a list of {{"train": [...], "val": [...]}} '
            f"({error!r})."
        ) from None
    stems = [Path(image).name.split(".")[0] for image in manifest.table["image_path"]]
    ids = manifest.table["patient_id"].tolist()
    return [
        [_side(path, patient, stem, train, test) for patient, stem in zip(ids, stems, strict=True)]
        for train, test in rounds
    ]


def _side(path: Path, patient: str, stem: str, train: set[str], test: set[str]) -> str:
    names = {patient, stem}
    if bool(names & train) == bool(names & test):
        problem = "both train and val" if names & train else "neither train nor val"
        raise UserError(f"split.assignments {path}: patient {patient!r} is in {problem}.")
    return "train" if names & train else "test"
