"""Anyone's folds: what leaks, is lost or is missing in a split that was made elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.audit.foreign_rules import RULES, Case, Links
from pipeline.config import AuditConfig
from pipeline.errors import UserError
from pipeline.manifest import Finding, Manifest
from pipeline.splits.given import NEVER_TESTED, GivenSplit, read_column, read_file
from pipeline.splits.quality import PartCounter, PartCounts, Split
from pipeline.words import counted


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
    parts = tuple(_count(split, manifest))
    case = Case.of(split, manifest, parts, links, near)
    findings = [finding for rule in RULES for finding in rule(case)]
    errors = sum(finding.severity == "error" for finding in findings)
    verdict = counted(errors, "error") if errors else "nobody is in two parts, and nobody is lost"
    return findings, Split(split.source, (f"split of {split.source}: {verdict}",), parts)


def _read(manifest: Manifest, config: AuditConfig) -> GivenSplit:
    if config.part_column and config.part_file:
        raise UserError("audit.part_column and audit.part_file: give one of them, not both.")
    if config.part_file:
        return read_file(manifest, Path(config.part_file), f"audit.part_file {config.part_file}")
    asked = config.part_column
    assert asked is not None, "called only when there is a split to audit"
    column = manifest.column(asked) or asked
    return read_column(manifest, column, f"audit.part_column={asked}", asked)


def _count(split: GivenSplit, manifest: Manifest) -> Iterator[PartCounts]:
    """Every part of every fold, in order; of a k-fold, train is everything but the test block."""
    counter = PartCounter(manifest, split.rest)
    for fold, listed in split.table.groupby("fold", observed=False):
        if fold == str(NEVER_TESTED) and split.form == "kfold":
            continue
        rows, where = listed["row"].to_numpy(np.int64), listed["part"]
        for part in split.folds[str(fold)]:
            if part == "train" and len(split.rest):
                yield counter.without(str(fold), part, np.unique(rows[where != "locked"]))
            else:
                yield counter.part(str(fold), part, rows[where == part])
