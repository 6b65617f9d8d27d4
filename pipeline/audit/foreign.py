"""Anyone's folds: what leaks, is lost or is missing in a split that was made elsewhere."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

from pipeline.audit.foreign_file import (
    SHOWN,
    ForeignSplit,
    Round,
    Rows,
    read_part_column,
    read_part_file,
)
from pipeline.config import AuditConfig, UserError
from pipeline.manifest import Finding, Manifest
from pipeline.manifest.files import file_digest

Links = Sequence[tuple[int, int]]
"""Pairs of row numbers whose images show the same."""


@dataclass(frozen=True, slots=True)
class PartRow:
    """What one part of one fold holds; the tuples have one entry a class."""

    fold: str
    part: str
    num_patients: int
    num_images: int
    patients_per_class: tuple[int, ...]
    images_per_class: tuple[int, ...]


@dataclass(frozen=True)
class ForeignTable:
    """The audited split: where it came from, what its parts hold, and everyone who leaks."""

    source: str
    rows: tuple[PartRow, ...]
    shared_patients: tuple[str, ...]
    """All of them; a finding names five."""


def audit_parts(
    manifest: Manifest, config: AuditConfig, links: Links = ()
) -> tuple[list[Finding], ForeignTable]:
    """Audit the split of `audit.part_column` or `audit.part_file` against the manifest.

    `links` are pairs of row numbers found to show the same picture; byte-identical files are
    found here. Kaggle's paediatric pneumonia set, for one, has patients in train and in test.

    Raises:
        UserError: when the column or file cannot be read as a split, or both are given.
    """
    split = _read(manifest, config)
    findings = [finding for rule in _RULES for finding in rule(split, manifest)]
    findings += _shared_images(split, manifest, [*_identical_files(manifest), *links])
    leaking = {p for one, other in _pairs(split) for p in _shared(manifest, one[1], other[1])}
    rows = [_part_row(r.name, part, r.parts[part], manifest) for r in split.folds for part in r.parts]
    return findings, ForeignTable(split.source, tuple(rows), tuple(sorted(leaking)))


def _read(manifest: Manifest, config: AuditConfig) -> ForeignSplit:
    if config.part_column and config.part_file:
        raise UserError("audit.part_column and audit.part_file: give one of them, not both.")
    if config.part_file:
        return read_part_file(manifest, Path(config.part_file))
    assert config.part_column is not None, "asked only when there is a split to audit"
    return read_part_column(manifest, config.part_column)


Side = tuple[str, Rows]


def _pairs(split: ForeignSplit) -> Iterator[tuple[Side, Side]]:
    """Every two parts that must share nobody."""
    for group in split.apart:
        named = [(_place(group, part), rows) for part, rows in group.parts.items()]
        yield from combinations(named, 2)


def _place(group: Round, part: str) -> str:
    return f"{part} of fold {group.name}" if group.name else part


def _patients(manifest: Manifest, rows: Rows) -> set[str]:
    return set(manifest.table["patient_id"].to_numpy()[sorted(rows)])


def _shared(manifest: Manifest, one: Rows, other: Rows) -> list[str]:
    return sorted(_patients(manifest, one) & _patients(manifest, other))


# --- rules: each yields its findings


def _shared_patients(split: ForeignSplit, manifest: Manifest) -> Iterator[Finding]:
    lines = _lines_of_patients(manifest)
    for (one, rows), (other, others) in _pairs(split):
        if shared := _shared(manifest, rows, others):
            examples = [
                f"{p!r} (line {_first(lines[p], rows)} in {one}, "
                f"line {_first(lines[p], others)} in {other})"
                for p in shared[:SHOWN]
            ]
            yield Finding(
                "shared_patients",
                "error",
                f"{_count(len(shared), 'patient')} in both {one} and {other}: "
                f"{_and_more(examples, len(shared))}",
            )


def _shared_groups(split: ForeignSplit, manifest: Manifest) -> Iterator[Finding]:
    """Patients that belong together but lie apart; groups with a shared patient are told above."""
    table = manifest.table
    groups = table["group"].to_numpy()
    if table["group"].nunique() == table["patient_id"].nunique():
        return
    for (one, rows), (other, others) in _pairs(split):
        told = set(groups[table["patient_id"].isin(_shared(manifest, rows, others)).to_numpy()])
        shared = sorted(({groups[r] for r in rows} & {groups[r] for r in others}) - told)
        if shared:
            examples = [
                f"{_first_of(manifest, groups, group, rows)} in {one} and "
                f"{_first_of(manifest, groups, group, others)} in {other}"
                for group in shared[:SHOWN]
            ]
            yield Finding(
                "shared_groups",
                "error",
                f"{_count(len(shared), 'group')} of patients that belong together (one study, "
                f"family or image) in both {one} and {other}: {_and_more(examples, len(shared))}",
            )


def _shared_images(split: ForeignSplit, manifest: Manifest, links: Links) -> Iterator[Finding]:
    images = manifest.table["image_path"].to_numpy()
    lines = manifest.table["line"].to_numpy()
    ordered = sorted({(min(pair), max(pair)) for pair in links})
    for (one, rows), (other, others) in _pairs(split):
        shared = [
            (a, b) if a in rows and b in others else (b, a)
            for a, b in ordered
            if (a in rows and b in others) or (b in rows and a in others)
        ]
        if shared:
            examples = [
                f"{images[a]!r} (line {lines[a]}, {one}) = {images[b]!r} (line {lines[b]}, {other})"
                for a, b in shared[:SHOWN]
            ]
            yield Finding(
                "shared_images",
                "error",
                f"{_count(len(shared), 'pair')} of images that show the same in {one} and "
                f"{other}: {_and_more(examples, len(shared))}",
            )


def _lost(split: ForeignSplit, manifest: Manifest) -> Iterator[Finding]:
    table = manifest.samples
    for group in split.apart:
        where = f"fold {group.name}" if group.name else split.source
        used = Rows().union(*group.parts.values())
        absent = table[~table.index.isin(used)]
        if absent.empty:
            continue
        gone = absent["patient_id"].isin(_patients(manifest, used))
        for rule, severity, rows, noun in (
            ("lost_patients", "error", absent[~gone].drop_duplicates("patient_id"), "patient"),
            ("lost_images", "warning", absent[gone], "image"),
        ):
            column = "patient_id" if noun == "patient" else "image_path"
            if len(rows):
                first = rows.sort_values("line").head(SHOWN)
                examples = [
                    f"{name!r} (line {line})"
                    for name, line in zip(first[column], first["line"], strict=True)
                ]
                yield Finding(
                    rule,
                    "error" if severity == "error" else "warning",
                    f"{_count(len(rows), noun)} of the manifest in no part of {where}: "
                    f"{_and_more(examples, len(rows))}",
                )


def _unknown(split: ForeignSplit, _manifest: Manifest) -> Iterator[Finding]:
    if split.unknown:
        named = _and_more([repr(name) for name in split.unknown[:SHOWN]], len(split.unknown))
        yield Finding(
            "unknown_names",
            "error",
            f"{_count(len(split.unknown), 'name')} of {split.source} not in the manifest: {named}",
        )


def _empty_parts(split: ForeignSplit, _manifest: Manifest) -> Iterator[Finding]:
    for fold in split.folds:
        where = f"fold {fold.name}" if fold.name else "the split"
        needed = {"train", "val" if "val" in fold.parts and "test" not in fold.parts else "test"}
        for part in sorted({*fold.parts, *needed}):
            if not fold.parts.get(part):
                yield Finding("empty_parts", "error", f"{where} has nobody in {part}")
    numbers = [int(fold.name) for fold in split.folds if fold.name.isdecimal()]
    for before, after in pairwise(numbers):
        if after - before > 1:
            message = f"fold {before} is followed by fold {after}: what is between is empty"
            yield Finding("empty_parts", "error", message)


def _missing_classes(split: ForeignSplit, manifest: Manifest) -> Iterator[Finding]:
    for fold in split.folds:
        for part, rows in fold.parts.items():
            counts = manifest.num_per_class(np.array(sorted(rows), dtype=np.int64))
            absent = [c for c, n in zip(manifest.classes, counts, strict=True) if not n]
            if rows and absent:
                yield Finding(
                    "missing_classes",
                    "error" if part == "train" else "warning",
                    f"{_place(fold, part)} has no image of {', '.join(map(repr, absent))}",
                )


def _validation_is_test(split: ForeignSplit, manifest: Manifest) -> Iterator[Finding]:
    for fold in split.folds:
        where = f"fold {fold.name}: " if fold.name else ""
        val, test = (fold.parts.get(part, Rows()) for part in ("val", "test"))
        if val and _patients(manifest, val) == _patients(manifest, test):
            yield Finding(
                "validation_is_test",
                "error",
                f"{where}the validation part is the test part: what is chosen there (epoch, "
                "threshold, settings) makes the test result too good",
            )
    if any(f.parts.get("val") for f in split.folds) and not any(
        "test" in fold.parts for fold in split.folds
    ):
        yield Finding(
            "no_test_part",
            "warning",
            "train and val only: a result on val is too good if an epoch, a threshold or a "
            "setting was chosen there",
        )


def _tested_often(split: ForeignSplit, manifest: Manifest) -> Iterator[Finding]:
    """In a cross-validation everyone should be tested once."""
    if len(split.folds) < 2:
        return
    times: dict[str, int] = dict.fromkeys(manifest.patients, 0)
    for fold in split.folds:
        for patient in _patients(manifest, fold.parts.get("test") or fold.parts.get("val", Rows())):
            times[patient] = times.get(patient, 0) + 1
    for rule, patients, what in (
        ("tested_several_times", [p for p, n in times.items() if n > 1], "tested in several folds"),
        ("never_tested", [p for p, n in times.items() if not n], "tested in no fold"),
    ):
        if patients:
            examples = [
                repr(p) + (f" ({times[p]} times)" if times[p] else "") for p in patients[:SHOWN]
            ]
            named = _and_more(examples, len(patients))
            message = f"{_count(len(patients), 'patient')} {what}: {named}"
            yield Finding(rule, "warning", message)


_RULES: tuple[Callable[[ForeignSplit, Manifest], Iterator[Finding]], ...] = (
    _shared_patients,
    _shared_groups,
    _lost,
    _unknown,
    _empty_parts,
    _missing_classes,
    _validation_is_test,
    _tested_often,
)


# --- what the messages name


def _part_row(fold: str, part: str, rows: Rows, manifest: Manifest) -> PartRow:
    numbers = np.array(sorted(rows), dtype=np.int64)
    return PartRow(
        fold=fold,
        part=part,
        num_patients=len(_patients(manifest, rows)),
        num_images=len(rows),
        patients_per_class=tuple(manifest.num_patients_per_class(numbers).tolist()),
        images_per_class=tuple(manifest.num_per_class(numbers).tolist()),
    )


def _lines_of_patients(manifest: Manifest) -> dict[str, list[tuple[int, int]]]:
    """(line, row number) of each patient's rows, in the order of the file."""
    lines: dict[str, list[tuple[int, int]]] = defaultdict(list)
    table = manifest.table
    for row, (patient, line) in enumerate(zip(table["patient_id"], table["line"], strict=True)):
        lines[patient].append((int(line), row))
    return {patient: sorted(pairs) for patient, pairs in lines.items()}


def _first(lines: list[tuple[int, int]], rows: Rows) -> int:
    return next(line for line, row in lines if row in rows)


def _first_of(manifest: Manifest, groups: "np.ndarray", group: str, rows: Rows) -> str:
    members = manifest.table.iloc[[row for row in sorted(rows) if groups[row] == group]]
    first = members.sort_values("line").iloc[0]
    return f"{first['patient_id']!r} (line {first['line']})"


def _identical_files(manifest: Manifest) -> list[tuple[int, int]]:
    """Pairs of rows whose files have the same bytes; only files of equal size are read."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for row, path in enumerate(manifest.image_files):
        by_size[os.stat(path).st_size].append(row)  # noqa: PTH116 (see files.file_stamp)
    by_digest: dict[str, list[int]] = defaultdict(list)
    for twins in by_size.values():
        if len(twins) > 1:
            for row in twins:
                by_digest[file_digest(manifest.image_files[row])].append(row)
    return [pair for same in by_digest.values() for pair in combinations(same, 2)]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _and_more(examples: list[str], number: int) -> str:
    more = f" and {number - len(examples):,} more" if number > len(examples) else ""
    return ", ".join(examples) + more
