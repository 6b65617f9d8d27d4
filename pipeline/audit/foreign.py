"""Anyone's folds: what leaks, is lost or is missing in a split that was made elsewhere."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.audit.foreign_file import read_part_column, read_part_file
from pipeline.audit.foreign_leaks import Leaks, Links
from pipeline.audit.foreign_split import (
    SHOWN,
    ForeignSplit,
    PartCounts,
    Rows,
    Split,
    and_more,
    counted,
)
from pipeline.config import AuditConfig, UserError
from pipeline.manifest import Finding, Manifest
from pipeline.manifest.findings import Severity


def audit_parts(
    manifest: Manifest, config: AuditConfig, links: Links = (), column: str = ""
) -> tuple[list[Finding], Split]:
    """Audit the split of `audit.part_column` or `audit.part_file` against the manifest.

    `links` are pairs of rows found to show the same picture; rows of one group must not be apart
    anyway. `column` is what the manifest's table calls `audit.part_column`, if not the same.

    Raises:
        UserError: when the column or file cannot be read as a split, or both are given.
    """
    split = _read(manifest, config, column)
    audit = _Audit(split, manifest)
    findings = [
        *Leaks(split, manifest).shared(links),
        *audit.lost(),
        *audit.unknown(),
        *audit.empty_parts(),
        *audit.missing_classes(),
        *audit.validation_is_test(),
        *audit.tested_often(),
    ]
    parts = [
        _part_counts(fold.name, part, rows, manifest)
        for fold in split.folds
        for part, rows in fold.parts.items()
    ]
    errors = sum(finding.severity == "error" for finding in findings)
    verdict = f"{errors} error(s)" if errors else "nobody is in two parts, and nobody is lost"
    return findings, Split(split.source, (f"split of {split.source}: {verdict}",), tuple(parts))


def _read(manifest: Manifest, config: AuditConfig, column: str) -> ForeignSplit:
    if config.part_column and config.part_file:
        raise UserError("audit.part_column and audit.part_file: give one of them, not both.")
    if config.part_file:
        return read_part_file(manifest, Path(config.part_file))
    assert config.part_column is not None, "asked only when there is a split to audit"
    return read_part_column(manifest, column or config.part_column, config.part_column)


class _Audit:
    """A split laid over a manifest; each method yields the findings of one rule."""

    def __init__(self, split: ForeignSplit, manifest: Manifest) -> None:
        self.split, self.manifest = split, manifest
        table = manifest.table
        self.patient, self.patients = pd.factorize(table["patient_id"].to_numpy(object))

    def lost(self) -> Iterator[Finding]:
        """Patients in no part are an error, single images of a patient a warning."""
        table = self.manifest.samples
        for group in self.split.apart:
            where = f"fold {group.name}" if group.name else self.split.source
            used = np.logical_or.reduce(list(group.parts.values()))
            absent = table[~used[table.index]]
            gone = ~np.isin(self.patient[absent.index], self.patient[used])
            patients = absent[gone].sort_values("line").drop_duplicates("patient_id")
            kinds: tuple[tuple[str, Severity, str, str, pd.DataFrame], ...] = (
                ("lost_patients", "error", "patient", "patient_id", patients),
                ("lost_images", "warning", "image", "image_path", absent[~gone]),
            )
            for rule, severity, noun, column, rows in kinds:
                if len(rows):
                    first = rows.sort_values("line").head(SHOWN)
                    examples = [
                        f"{name!r} (line {line})"
                        for name, line in zip(first[column], first["line"], strict=True)
                    ]
                    text = f"{counted(len(rows), noun)} of the manifest in no part of {where}: "
                    yield Finding(rule, severity, text + and_more(examples, len(rows)))

    def unknown(self) -> Iterator[Finding]:
        names = self.split.unknown
        if names:
            text = f"{counted(len(names), 'name')} of {self.split.source} not in the manifest: "
            text += and_more([repr(name) for name in names[:SHOWN]], len(names))
            yield Finding("unknown_names", "error", text)

    def empty_parts(self) -> Iterator[Finding]:
        for fold in self.split.folds:
            where = f"fold {fold.name}" if fold.name else "the split"
            tested = "val" if "val" in fold.parts and "test" not in fold.parts else "test"
            for part in sorted({*fold.parts, "train", tested}):
                if part not in fold.parts or not fold.parts[part].any():
                    yield Finding("empty_parts", "error", f"{where} has nobody in {part}")
        numbers = [int(fold.name) for fold in self.split.folds if fold.name.isdecimal()]
        for before, after in pairwise(numbers):
            if after - before > 1:
                text = f"fold {before} is followed by fold {after}: what is between is empty"
                yield Finding("empty_parts", "error", text)

    def missing_classes(self) -> Iterator[Finding]:
        for fold in self.split.folds:
            for part, rows in fold.parts.items():
                counts = self.manifest.num_per_class(np.flatnonzero(rows))
                absent = [c for c, n in zip(self.manifest.classes, counts, strict=True) if not n]
                if rows.any() and absent:
                    severity: Severity = "error" if part == "train" else "warning"
                    text = f"{fold.place(part)} has no image of {', '.join(map(repr, absent))}"
                    yield Finding("missing_classes", severity, text)

    def validation_is_test(self) -> Iterator[Finding]:
        for fold in self.split.folds:
            val, test = fold.parts.get("val"), fold.parts.get("test")
            if val is None or test is None or not val.any():
                continue
            if np.array_equal(np.unique(self.patient[val]), np.unique(self.patient[test])):
                where = f"fold {fold.name}: " if fold.name else ""
                text = f"{where}the validation part is the test part: what is chosen there "
                text += "(epoch, threshold, settings) makes the test result too good"
                yield Finding("validation_is_test", "error", text)
        parts = [fold.parts for fold in self.split.folds]
        if any("val" in named for named in parts) and not any("test" in named for named in parts):
            text = "train and val only: a result on val is too good if an epoch, a threshold or a "
            yield Finding("no_test_part", "warning", f"{text}setting was chosen there")

    def tested_often(self) -> Iterator[Finding]:
        """In a cross-validation everyone should be tested once."""
        if len(self.split.folds) < 2:
            return
        times = np.zeros(len(self.patients), dtype=np.int64)
        for fold in self.split.folds:
            tested = fold.parts.get("test", fold.parts.get("val"))
            if tested is not None:
                times[np.unique(self.patient[tested])] += 1
        for rule, who, what in (
            ("tested_several_times", np.flatnonzero(times > 1), "tested in several folds"),
            ("never_tested", np.flatnonzero(times == 0), "tested in no fold"),
        ):
            if len(who):
                examples = [
                    repr(self.patients[p]) + (f" ({times[p]} times)" if times[p] else "")
                    for p in who[:SHOWN]
                ]
                text = f"{counted(len(who), 'patient')} {what}: {and_more(examples, len(who))}"
                yield Finding(rule, "warning", text)


def _part_counts(fold: str, part: str, rows: Rows, manifest: Manifest) -> PartCounts:
    numbers = np.flatnonzero(rows)
    return PartCounts(
        fold=fold,
        part=part,
        num_patients=int(manifest.table["patient_id"].iloc[numbers].nunique()),
        num_images=len(numbers),
        patients_per_class=tuple(manifest.num_patients_per_class(numbers).tolist()),
        images_per_class=tuple(manifest.num_per_class(numbers).tolist()),
    )
