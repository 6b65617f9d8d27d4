"""Anyone's folds: what leaks, is lost or is missing in a split that was made elsewhere."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.arrays import Bools, Ints
from pipeline.config import AuditConfig
from pipeline.errors import UserError
from pipeline.manifest import Finding, Manifest
from pipeline.manifest.findings import Severity
from pipeline.manifest.groups import components
from pipeline.splits.given import NEVER_TESTED, GivenSplit, fold_number, read_column, read_file
from pipeline.splits.quality import PartCounter, PartCounts, Split
from pipeline.words import SHOWN, and_more, counted

Links = Sequence[tuple[int, int]]
"""Pairs of row numbers whose images show the same."""
MOST_PLACES = 3
Words = Callable[[Any], str]


@dataclass(frozen=True)
class Case:
    """A split laid over its manifest."""

    split: GivenSplit
    manifest: Manifest
    parts: tuple[PartCounts, ...]
    patients: Sequence[str]
    rows: pd.DataFrame
    """(N,) `line`, and numbers: `patient` and `group` in the order of their names, `picture` and
    `near` (one number for rows that show, or may show, the same picture; -1 for a picture of its
    own) and `kin` (one number for rows that anything of this joins)."""


def audit_parts(
    manifest: Manifest, config: AuditConfig, links: Links = (), near: Links = ()
) -> tuple[list[Finding], Split]:
    """Audit the split of `audit.part_column` or `audit.part_file` against the manifest.

    `links` are pairs of rows found to show the same picture, `near` those that may; rows of one
    group must not be apart anyway. UserError: the split cannot be read, or both are given.
    """
    split = _read(manifest, config)
    parts = tuple(_count(split, manifest))
    patient, patients = pd.factorize(manifest.table["patient_id"].to_numpy(object), sort=True)
    rows = _numbered(manifest, links, near).assign(patient=patient)
    case = Case(split, manifest, parts, patients.tolist(), rows)
    rules = (shared, lost, unknown, empty_parts, gaps, missing_classes, val_is_test, tested_often)
    findings = [finding for rule in rules for finding in rule(case)]
    errors = sum(finding.severity == "error" for finding in findings)
    doubts = [finding.message for finding in findings if finding.rule == "near_images"]
    verdict = "; ".join(doubts) or "nobody is in two parts, and nobody is lost"
    verdict = counted(errors, "error") if errors else verdict
    lines = (f"split of {split.source}: {verdict}",)
    return findings, Split(split.source, lines, parts, _places(case))


def _places(case: Case) -> dict[int, str]:
    """`Split.places`: of several folds the one that tests the row."""
    lines, places = case.rows["line"].to_numpy(), dict[int, str]()
    several = len(case.split.folds) > 1 and case.split.form != "kfold"
    for fold, placed in case.split.complete():
        rows, where = placed["row"].to_numpy(np.int64), placed["place"].astype(object).to_numpy()
        if not places or not several:
            places = dict(zip(lines[rows].tolist(), where.tolist(), strict=True)) | places
        if several:
            part = _tested_part(case.split.folds[fold])
            tested = lines[rows[where == part]].tolist()
            places |= dict.fromkeys(tested, f"{part} of fold {fold}")
    return places


def _read(manifest: Manifest, config: AuditConfig) -> GivenSplit:
    if config.part_column and config.part_file:
        raise UserError("audit.part_column and audit.part_file: give one of them, not both.")
    if config.part_file:
        where = f"audit.part_file {config.part_file}"
        return read_file(manifest, Path(config.part_file), where, config.words or {})
    asked = config.part_column
    assert asked is not None, "called only when there is a split to audit"
    column = manifest.column(asked) or asked
    return read_column(manifest, column, f"audit.part_column={asked}", asked, config.words or {})


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


def _numbered(manifest: Manifest, links: Links, near: Links) -> pd.DataFrame:
    """`Case.rows` without the patients."""
    twins = pd.Series(manifest.twin_digests, dtype=object).dropna()
    first = twins.index.to_series().groupby(twins).transform("min")
    same = [*links, *first.items()]
    group, _ = pd.factorize(manifest.table["group"].to_numpy(object), sort=True)
    joined = group[np.array([*same, *near], np.int64).reshape(-1, 2)]
    return manifest.table[["line"]].assign(
        group=group,
        picture=_linked(same, len(manifest)),
        near=_linked(near, len(manifest)),
        kin=components(joined[:, 0], joined[:, 1], int(group.max()) + 1)[group],
    )


def _linked(links: Sequence[tuple[Any, Any]], num: int) -> Ints:
    """(num,) the same number for rows that are linked, -1 for a row that is not."""
    one, other = np.array(links, np.int64).reshape(-1, 2).T
    linked = np.isin(np.arange(num), [one, other])
    return np.where(linked, components(one, other, num), -1)


def _report(
    rule: str, severity: Severity, text: str, found: Sequence[Any] | Ints, example: Words = str
) -> Iterator[Finding]:
    """A finding with the first examples of what was found; none if nothing was."""
    if len(found):
        examples = [example(one) for one in found[:SHOWN]]
        yield Finding(rule, severity, f"{text}: {and_more(examples, len(found))}")


# --- on two sides


def shared(case: Case) -> Iterator[Finding]:
    """Patients, then pictures of two patients, then the groups that neither explains.

    What only may be the same picture is for an eye to judge.
    """
    for title, rows in _sides(case):
        yield from _shared_patients(case, title, rows)
        pictures = _apart(rows, "picture", "patient")
        yield from _shared_pictures(case, title, rows, "picture", pictures)
        explained = case.rows["group"][case.rows["picture"].isin(pictures)]
        groups = np.setdiff1d(_apart(rows, "group", "patient"), explained)
        text = f"{counted(len(groups), 'group')} of patients that belong together (one study, "
        text += f"family or image) in {title}"
        example = _two_patients(case, rows, "group", "patient_id", " and ")
        yield from _report("shared_groups", "error", text, groups, example)
        near = _apart(rows, "near", "patient")
        for finding in _shared_pictures(case, title, rows, "near", near):
            text = f"nearly the same: {finding.message}; look at them (copies.png), and make such "
            text += "pairs an error with audit.near=error"
            yield replace(finding, rule="near_images", severity="warning", message=text)


def _sides(case: Case) -> Iterator[tuple[str, pd.DataFrame]]:
    """Places that must share nobody: every two parts of a fold; all blocks of a k-fold at once.

    Yields their title ("both train and test", "more than one fold") and `Case.rows` with the
    number of their `place` and its name, `where`; a row of two places is there twice. A fold
    without kin in two places is left out: nobody can be shared there.
    """
    for fold, placed in case.split.complete():
        rows = case.rows.take(placed["row"].to_numpy(np.int64))
        rows = rows.assign(place=placed["place"].cat.codes.to_numpy(), where=placed["place"].array)
        if not len(_apart(rows, "kin")):
            continue
        if case.split.form == "kfold":
            yield "more than one fold", rows
            continue
        for pair in combinations(case.split.folds[fold], 2):
            of_fold = f" of fold {fold}" if fold else ""
            yield f"both {' and '.join(pair)}{of_fold}", rows[rows["where"].isin(pair)]


def _apart(rows: pd.DataFrame, key: str, *of: str) -> Ints:
    """Values of the key whose rows differ in place, and in `of`, ascending; -1 is no value."""
    keyed = rows[rows[key] >= 0].groupby(key)[["place", *of]]
    apart = (keyed.min() < keyed.max()).all(axis=1)
    return apart.index[apart].to_numpy(np.int64)


def _shared_patients(case: Case, title: str, rows: pd.DataFrame) -> Iterator[Finding]:
    def example(patient: int) -> str:
        seen = rows[rows["patient"] == patient].sort_values(["place", "line"])
        firsts = seen.drop_duplicates("place").itertuples()
        lines = [f"line {row.line} in {row.where}" for row in firsts]
        return f"{case.patients[patient]!r} ({and_more(lines[:MOST_PLACES], len(lines))})"

    found = _apart(rows, "patient")
    text = f"{len(found):,} of {counted(rows['patient'].nunique(), 'patient')} in {title}"
    yield from _report("shared_patients", "error", text, found, example)


def _shared_pictures(
    case: Case, title: str, rows: pd.DataFrame, key: str, found: Ints
) -> Iterator[Finding]:
    text = f"{counted(len(found), 'picture')} of several patients in {title}"
    example = _two_patients(case, rows, key, "image_path", " = ")
    yield from _report("shared_images", "error", text, found, example)


def _two_patients(case: Case, rows: pd.DataFrame, key: str, column: str, between: str) -> Words:
    """The words for a value of the key: rows of two patients in two places, named by `column`."""
    names = case.manifest.table[column]

    def example(value: int) -> str:
        seen = rows[rows[key] == value].sort_values(["place", "line"])
        firsts: Iterator[Any] = seen.drop_duplicates(["place", "patient"]).itertuples()
        pair = next(
            (one, other)
            for one, other in combinations(firsts, 2)
            if one.place != other.place and one.patient != other.patient
        )
        return between.join(f"{names[r.Index]!r} (line {r.line} in {r.where})" for r in pair)

    return example


# --- in no part


def lost(case: Case) -> Iterator[Finding]:
    """Patients in no part are an error, single images of a patient a warning.

    What every fold lacks is reported once.
    """
    split = case.split
    excused = np.array([*case.manifest.purged, *split.aside], np.int64)
    due = _without(np.ones(len(case.rows), bool), excused)
    never = _without(due, np.append(split.table["row"], split.rest))
    several = len(split.folds) > 1 and split.form != "kfold"
    yield from _lost(case, never, never, f"any fold of {split.source}" if several else split.source)
    for fold, placed in split.complete():
        absent = _without(due, placed["row"].to_numpy())
        yield from _lost(case, absent & ~never, absent, f"fold {fold}")


def _without(flags: Bools, rows: Ints) -> Bools:
    """The flags (N,), but not those of the rows."""
    return flags & ~np.isin(np.arange(len(flags)), rows)


def _lost(case: Case, new: Bools, absent: Bools, where: str) -> Iterator[Finding]:
    """Findings on the rows of `new` (N,), in a fold that lacks the rows of `absent` (N,)."""
    if not new.any():
        return
    table = case.manifest.table
    gone = table[new].sort_values("line")
    kept = gone["patient_id"].isin(table["patient_id"][~absent])
    patients = gone[~kept].drop_duplicates("patient_id").index.to_numpy()
    images = gone.index[kept].to_numpy()
    text = f"{len(patients):,} of {counted(len(case.patients), 'patient')} in no part of {where}"
    yield from _report("lost_patients", "error", text, patients, _on_line(table, "patient_id"))
    text = f"{len(images):,} of {counted(len(table), 'image')} in no part of {where}"
    yield from _report("lost_images", "warning", text, images, _on_line(table, "image_path"))


def _on_line(table: pd.DataFrame, column: str) -> Words:
    return lambda row: f"{table[column][row]!r} (line {table['line'][row]})"


def unknown(case: Case) -> Iterator[Finding]:
    """Names that the manifest lacks, and a plan.csv without the plan.json that fits it."""
    if text := case.split.unknown_names():
        yield Finding("unknown_names", "error", text)
    if case.split.doubt:
        yield Finding("plan_json", "warning", case.split.doubt)


# --- empty or missing


def empty_parts(case: Case) -> Iterator[Finding]:
    """A fold needs a train part and one to test."""
    sizes = {(part.fold, part.part): part.num_images for part in case.parts}
    for fold, parts in case.split.folds.items():
        needed = sorted({*parts, "train", _tested_part(parts)})
        if empty := [part for part in needed if not sizes.get((fold, part))]:
            where = f"fold {fold}" if fold else "the split"
            yield Finding("empty_parts", "error", f"{where} has nobody in {', '.join(empty)}")


def _tested_part(parts: Sequence[str]) -> str:
    """What a fold with these parts tests: val only where there is no test part."""
    return "val" if "val" in parts and "test" not in parts else "test"


def gaps(case: Case) -> Iterator[Finding]:
    """A number between two others is missing."""
    numbers = sorted(n for n in map(fold_number, case.split.folds) if n is not None)
    found = [f"{a} is followed by {b}" for a, b in pairwise(numbers) if b > a + 1]
    yield from _report("fold_numbers", "warning", "fold numbers are missing", found)


def missing_classes(case: Case) -> Iterator[Finding]:
    """Reported once for all folds: an error in train, which cannot learn it, else a warning."""
    folds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for part in case.parts:
        for name, num in zip(case.manifest.classes, part.images_per_class, strict=True):
            if part.num_images and not num:
                folds[part.part, name].append(part.fold)
    num_folds = len(case.split.folds)
    for (where, name), lacking in folds.items():
        severity: Severity = "error" if where == "train" else "warning"
        text = f"{where} has no image of {name!r}"
        if num_folds > 1:
            text += f" in {len(lacking):,} of {num_folds:,} folds"
            yield from _report("missing_classes", severity, text, lacking)
        else:
            yield Finding("missing_classes", severity, text)


# --- validated and tested


def val_is_test(case: Case) -> Iterator[Finding]:
    """A part on which something is chosen is no test part; a split may also have none."""
    who = _who(case)
    held_out = who[who["part"].isin(["val", "test"])].groupby(["fold", "part"], observed=True)
    patients = held_out["patient"].agg(frozenset).to_dict()
    for fold in case.split.folds:
        val = patients.get((fold, "val"))
        if val and val == patients.get((fold, "test")):
            text = f"{f'fold {fold}: ' if fold else ''}the validation part is the test part "
            text += f"({counted(len(val), 'patient')}): what is chosen there (epoch, threshold, "
            text += "settings) makes the test result too good"
            yield Finding("validation_is_test", "error", text)
    parts = {part for parts in case.split.folds.values() for part in parts}
    if _tested_part(tuple(parts)) == "val":
        text = "train and val only: a result on val is too good if an epoch, a threshold or a "
        yield Finding("no_test_part", "warning", f"{text}setting was chosen there")


def tested_often(case: Case) -> Iterator[Finding]:
    """In a cross-validation everyone who is in it should be tested equally often.

    A patient in two blocks of a k-fold was reported as shared, one in no part as lost.
    """
    who, folds = _who(case), case.split.folds
    if case.split.form == "kfold":
        never = who["patient"][who["fold"] == str(NEVER_TESTED)]
        yield from _never_tested(case, sorted(set(never)))
        return
    tested = who["fold"].astype(object).map({f: _tested_part(p) for f, p in folds.items()})
    in_use = who["patient"][who["part"] != "locked"]
    used = np.union1d(case.rows["patient"].to_numpy()[case.split.rest], in_use)
    times = who["patient"][tested == who["part"].astype(object)].value_counts()
    times = times.reindex(used, fill_value=0)
    if len(folds) < 2 or times.isin((0, len(folds))).all():
        return  # one split, or folds within train and val beside one test part for all
    usual = max(1, times.mode()[0])  # more than 1 in repeated schemes
    often = [f"{case.patients[p]!r} ({times[p]} times)" for p in used[times > usual]]
    text = f"{len(often):,} of {counted(len(case.patients), 'patient')} tested in several folds"
    yield from _report("tested_several_times", "warning", text, often)
    yield from _never_tested(case, used[times == 0])


def _never_tested(case: Case, patients: Iterable[int]) -> Iterator[Finding]:
    who = [repr(case.patients[patient]) for patient in patients]
    text = f"{len(who):,} of {counted(len(case.patients), 'patient')} tested in no fold"
    yield from _report("never_tested", "warning", text, who)


def _who(case: Case) -> pd.DataFrame:
    """`fold`, `part` and `patient` of the split's table, each once."""
    patient = case.rows["patient"].to_numpy()[case.split.table["row"]]
    return case.split.table[["fold", "part"]].assign(patient=patient).drop_duplicates()
