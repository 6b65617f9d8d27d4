"""Anyone's folds: what leaks, is lost or is missing in a split that was made elsewhere."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.audit.foreign_counts import PartCounts, Split, part_counts
from pipeline.audit.foreign_leaks import Leaks, Links
from pipeline.config import AuditConfig, UserError
from pipeline.manifest import Finding, Manifest
from pipeline.manifest.findings import Severity
from pipeline.splits.given import (
    NEVER_TESTED,
    GivenSplit,
    Numbers,
    Round,
    fold_number,
    read_column,
    read_file,
)
from pipeline.words import SHOWN, and_more, counted

Mask = NDArray[np.bool_]


def audit_parts(
    manifest: Manifest, config: AuditConfig, links: Links = (), near: Links = ()
) -> tuple[list[Finding], Split]:
    """Audit the split of `audit.part_column` or `audit.part_file` against the manifest.

    `links` are pairs of row numbers found to show the same picture, `near` those that may be; rows
    of one group must not be apart anyway. Kaggle's paediatric pneumonia set, for one, has patient
    ids in both train and test.

    Raises:
        UserError: when the column or file cannot be read as a split, or both are given.
    """
    split = _read(manifest, config)
    audit, parts = _Audit(split, manifest), part_counts(split, manifest)
    findings = [
        *Leaks(split, manifest, links).findings(),
        *Leaks(split, manifest, near).near_copies(),
        *audit.lost(),
        *audit.unknown(),
        *audit.doubt(),
        *audit.empty_parts(parts),
        *audit.missing_classes(parts),
        *audit.validation_is_test(),
        *audit.tested_often(),
    ]
    errors = sum(finding.severity == "error" for finding in findings)
    verdict = counted(errors, "error") if errors else "nobody is in two parts, and nobody is lost"
    return findings, Split(split.source, (f"split of {split.source}: {verdict}",), tuple(parts))


def _read(manifest: Manifest, config: AuditConfig) -> GivenSplit:
    if config.part_column and config.part_file:
        raise UserError("audit.part_column and audit.part_file: give one of them, not both.")
    if config.part_file:
        return read_file(manifest, Path(config.part_file), f"audit.part_file {config.part_file}")
    asked = config.part_column
    assert asked is not None, "asked only when there is a split to audit"
    column = manifest.column(asked) or asked
    return read_column(manifest, column, f"audit.part_column={asked}", asked)


class _Audit:
    """A split laid over a manifest; each method yields the findings of one rule."""

    def __init__(self, split: GivenSplit, manifest: Manifest) -> None:
        self.split, self.manifest = split, manifest
        ids = manifest.table["patient_id"].to_numpy(object)
        self.patient, self.patients = pd.factorize(ids, sort=True)

    def lost(self) -> Iterator[Finding]:
        """Patients in no part are an error, single images of a patient a warning.

        What every fold lacks is told once.
        """
        folds = self.split.everywhere
        always: Mask = reduce(np.logical_and, map(self._absent, folds))
        where = f"any fold of {self.split.source}" if len(folds) > 1 else self.split.source
        yield from self._lost_from(always, always, where)
        if len(folds) > 1:
            for fold in folds:
                absent = self._absent(fold)
                yield from self._lost_from(absent & ~always, absent, f"fold {fold.name}")

    def _absent(self, fold: Round) -> Mask:
        """(N,) rows that should be in a part of the fold and are not."""
        absent = np.zeros(len(self.manifest), bool)
        absent[self.manifest.samples.index] = True
        absent[self.split.aside] = False
        for rows in fold.parts.values():
            absent[rows] = False
        return absent

    def _lost_from(self, told: Mask, absent: Mask, where: str) -> Iterator[Finding]:
        """Findings on the rows of `told` (N,), in a fold that lacks the rows of `absent` (N,)."""
        present = np.zeros(len(self.patients), bool)
        present[self.patient[~absent]] = True
        rows = self.manifest.table[told].sort_values("line")
        kept = present[self.patient[rows.index]]
        kinds: tuple[tuple[str, Severity, str, str, pd.DataFrame], ...] = (
            ("lost_patients", "error", "patient", "patient_id",
             rows[~kept].drop_duplicates("patient_id")),
            ("lost_images", "warning", "image", "image_path", rows[kept]),
        )  # fmt: skip
        for rule, severity, noun, column, lost in kinds:
            if len(lost):
                total = len(self.patients) if noun == "patient" else len(self.manifest)
                first = lost.head(SHOWN)
                examples = [
                    f"{name!r} (line {line})"
                    for name, line in zip(first[column], first["line"], strict=True)
                ]
                text = f"{len(lost):,} of {counted(total, noun)} in no part of {where}: "
                yield Finding(rule, severity, text + and_more(examples, len(lost)))

    def unknown(self) -> Iterator[Finding]:
        """Names that the manifest lacks; rows that it leaves out are known."""
        if text := self.split.unknown_names():
            yield Finding("unknown_names", "error", text)

    def doubt(self) -> Iterator[Finding]:
        """A plan.csv without the plan.json that fits it."""
        if self.split.doubt:
            yield Finding("plan_json", "warning", self.split.doubt)

    def empty_parts(self, parts: Sequence[PartCounts]) -> Iterator[Finding]:
        """A fold needs a train part and one to test; a number between two others is missing."""
        of_fold: dict[str, dict[str, int]] = defaultdict(dict)
        for part in parts:
            of_fold[part.fold][part.part] = part.num_images
        for fold, sizes in of_fold.items():
            where = f"fold {fold}" if fold else "the split"
            tested = "val" if "val" in sizes and "test" not in sizes else "test"
            empty = sorted(part for part in {*sizes, "train", tested} if not sizes.get(part))
            if empty:
                yield Finding("empty_parts", "error", f"{where} has nobody in {', '.join(empty)}")
        numbers = sorted(n for n in map(fold_number, of_fold) if n is not None)
        gaps = [f"{a} is followed by {b}" for a, b in pairwise(numbers) if b > a + 1]
        if gaps:
            text = f"fold numbers are missing: {and_more(gaps[:SHOWN], len(gaps))}"
            yield Finding("fold_numbers", "warning", text)

    def missing_classes(self, parts: Sequence[PartCounts]) -> Iterator[Finding]:
        """Told once for all folds: an error in train, which cannot learn it, else a warning."""
        folds: dict[tuple[str, str], list[str]] = defaultdict(list)
        for part in parts:
            for name, num in zip(self.manifest.classes, part.images_per_class, strict=True):
                if part.num_images and not num:
                    folds[part.part, name].append(part.fold)
        num_folds = len({part.fold for part in parts})
        for (where, name), lacking in folds.items():
            text = f"{where} has no image of {name!r}"
            if num_folds > 1:
                text += f" in {len(lacking):,} of {num_folds:,} folds: "
                text += and_more(lacking[:SHOWN], len(lacking))
            yield Finding("missing_classes", "error" if where == "train" else "warning", text)

    def validation_is_test(self) -> Iterator[Finding]:
        """Who chooses on the test part has no test part; nor has one who names none."""
        rounds = self.split.rounds
        for fold in rounds:
            val, test = (self._patients(fold.parts.get(part)) for part in ("val", "test"))
            if len(val) and np.array_equal(val, test):
                where = f"fold {fold.name}: " if fold.name else ""
                text = (
                    f"{where}the validation part is the test part ({counted(len(val), 'patient')}"
                )
                text += "): what is chosen there (epoch, threshold, settings) makes the test "
                yield Finding("validation_is_test", "error", f"{text}result too good")
        parts = {part for fold in rounds for part in fold.parts}
        if "val" in parts and "test" not in parts:
            text = "train and val only: a result on val is too good if an epoch, a threshold or a "
            yield Finding("no_test_part", "warning", f"{text}setting was chosen there")

    def tested_often(self) -> Iterator[Finding]:
        """In a cross-validation everyone who is in it should be tested equally often.

        A patient in two blocks of a k-fold was told as shared, one in no part as lost.
        """
        if self.split.blocks is not None:
            never = self._patients(self.split.blocks.get(NEVER_TESTED))
            yield from self._tested("never_tested", never, "in no fold")
            return
        tested = [self._patients(fold.parts.get("test", fold.parts.get("val")))
                  for fold in self.split.rounds]  # fmt: skip
        if len(tested) < 2 or all(np.array_equal(tested[0], other) for other in tested):
            return  # one split, or folds within train and val beside one test part for all
        times = np.bincount(np.concatenate(tested), minlength=len(self.patients))
        used = np.zeros(len(self.patients), bool)
        for fold in self.split.rounds:
            for part in ("train", "val", "test"):
                used[self._patients(fold.parts.get(part))] = True
        usual = max(1, int(np.bincount(times[used]).argmax()))  # more than 1 in repeated schemes
        often, never = np.flatnonzero(times > usual), np.flatnonzero(used & (times == 0))
        yield from self._tested("tested_several_times", often, "in several folds", times)
        yield from self._tested("never_tested", never, "in no fold")

    def _tested(
        self, rule: str, who: Numbers, where: str, times: Numbers | None = None
    ) -> Iterator[Finding]:
        if len(who):
            examples = [
                repr(self.patients[p]) + ("" if times is None else f" ({times[p]} times)")
                for p in who[:SHOWN]
            ]
            text = f"{len(who):,} of {counted(len(self.patients), 'patient')} tested {where}: "
            yield Finding(rule, "warning", text + and_more(examples, len(who)))

    def _patients(self, rows: Numbers | None) -> Numbers:
        """Numbers of the patients of these rows, ascending."""
        return np.unique(self.patient[rows]) if rows is not None else np.empty(0, np.int64)
