"""The rules that a split made elsewhere must keep, each a few lines over its long table."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations, pairwise, product

import numpy as np
import pandas as pd

from pipeline.arrays import Bools, Ints
from pipeline.manifest import Finding, Manifest
from pipeline.manifest.findings import Severity
from pipeline.manifest.groups import components, identical_files
from pipeline.splits.given import NEVER_TESTED, GivenSplit, fold_number
from pipeline.splits.quality import PartCounts
from pipeline.words import SHOWN, and_more, counted

Links = Sequence[tuple[int, int]]
"""Pairs of row numbers whose images show the same."""
MOST_PLACES = 3


@dataclass(frozen=True)
class Case:
    """A split laid over its manifest."""

    split: GivenSplit
    manifest: Manifest
    parts: tuple[PartCounts, ...]
    links: Links
    """Rows that show the same picture."""
    near: Links
    """Rows that may show the same picture."""
    rows: pd.DataFrame
    """(N,) `line`, and the numbers of `patient` and `group`, in the order of their names.

    Rows of one `kin` are joined by their group, or by a link to a row of another group.
    """
    patients: Sequence[str]

    @classmethod
    def of(
        cls,
        split: GivenSplit,
        manifest: Manifest,
        parts: tuple[PartCounts, ...],
        links: Links,
        near: Links,
    ) -> "Case":
        table = manifest.table
        patient, patients = pd.factorize(table["patient_id"].to_numpy(object), sort=True)
        group, _ = pd.factorize(table["group"].to_numpy(object), sort=True)
        ends = group[np.array([*links, *near], np.int64).reshape(-1, 2)]
        kin = components(ends[:, 0], ends[:, 1], int(group.max()) + 1)[group]
        columns = {"line": table["line"], "patient": patient, "group": group, "kin": kin}
        rows = pd.DataFrame(columns)
        return cls(split, manifest, parts, links, near, rows, patients.tolist())


@dataclass(frozen=True)
class Side:
    """Places that must share nobody: two parts of a fold, or all blocks of a k-fold."""

    title: str
    """ "both train and test" | "more than one fold"."""
    places: Sequence[str]
    rows: pd.DataFrame
    """`Case.rows` and the number of their `place`; a row of two places is there twice."""


def _sides(case: Case) -> Iterator[Side]:
    """Every two parts of a fold; the blocks of a k-fold, of which there may be many, at once.

    A fold without kin in two places is left out: nobody can be shared there.
    """
    for fold, placed in case.split.complete():
        places = placed["place"].cat.categories.tolist()
        rows = case.rows.take(placed["row"].to_numpy(np.int64))
        rows = rows.assign(place=placed["place"].cat.codes.to_numpy())
        if not len(_on_several(rows, "kin")):
            continue
        if case.split.form == "kfold":
            yield Side("more than one fold", places, rows)
            continue
        for one, other in combinations(case.split.folds[fold], 2):
            two = rows[rows["place"].isin([places.index(one), places.index(other)])]
            yield Side(f"both {one} and {other}{f' of fold {fold}' if fold else ''}", places, two)


# --- on two sides


def shared(case: Case) -> Iterator[Finding]:
    """Patients, then pictures of two patients, then the groups that neither explains."""
    apart = [_of_several_patients(side, "group") for side in _sides(case)]
    picture = _pictures(case, np.unique(np.concatenate([np.empty(0, np.int64), *apart])))
    pictured = replace(case, rows=case.rows.assign(picture=picture))
    for side, groups in zip(_sides(pictured), apart, strict=True):
        yield from _shared_patients(case, side)
        pictures = _of_several_patients(side, "picture")
        if len(pictures):
            yield _shared_pictures(case, side, pictures)
        explained = case.rows["group"][np.isin(picture, pictures)]
        if len(others := np.setdiff1d(groups, explained)):
            yield _shared_groups(case, side, others)


def near_copies(case: Case) -> Iterator[Finding]:
    """What only may be the same picture: for an eye to judge."""
    if not len(case.near):
        return
    ends = np.asarray(case.near, np.int64)
    picture = _linked(ends[:, 0], ends[:, 1], len(case.rows))
    for side in _sides(replace(case, rows=case.rows.assign(picture=picture))):
        pictures = _of_several_patients(side, "picture")
        if len(pictures):
            found = _shared_pictures(case, side, pictures).message
            text = f"nearly the same: {found}; look at them (copies.png), and make such pairs an "
            yield Finding("near_images", "warning", f"{text}error with audit.near=error")


def _shared_patients(case: Case, side: Side) -> Iterator[Finding]:
    shared = _on_several(side.rows, "patient")
    if not len(shared):
        return
    examples = []
    for patient in shared[:SHOWN]:
        seen = side.rows[side.rows["patient"] == patient].sort_values(["place", "line"])
        lines = [f"line {row.line} in {side.places[row.place]}"
                 for row in seen.drop_duplicates("place").itertuples()]  # fmt: skip
        examples.append(f"{case.patients[patient]!r} ({and_more(lines[:MOST_PLACES], len(lines))})")
    text = (
        f"{len(shared):,} of {counted(side.rows['patient'].nunique(), 'patient')} in {side.title}: "
    )
    yield Finding("shared_patients", "error", text + and_more(examples, len(shared)))


def _shared_pictures(case: Case, side: Side, pictures: Ints) -> Finding:
    images = case.manifest.table["image_path"].to_numpy()
    examples = [
        " = ".join(f"{images[row]!r} (line {line}, {at})" for row, line, at in pair)
        for pair in _pairs(side, "picture", pictures)
    ]
    text = f"{counted(len(pictures), 'picture')} of several patients in {side.title}: "
    return Finding("shared_images", "error", text + and_more(examples, len(pictures)))


def _shared_groups(case: Case, side: Side, groups: Ints) -> Finding:
    ids = case.manifest.table["patient_id"].to_numpy()
    examples = [
        " and ".join(f"{ids[row]!r} (line {line}) in {at}" for row, line, at in pair)
        for pair in _pairs(side, "group", groups)
    ]
    text = f"{counted(len(groups), 'group')} of patients that belong together (one study, family "
    text += f"or image) in {side.title}: "
    return Finding("shared_groups", "error", text + and_more(examples, len(groups)))


def _on_several(rows: pd.DataFrame, key: str) -> Ints:
    """Values of the key that have rows in several places, ascending."""
    places = rows.groupby(key)["place"]
    several = places.min() < places.max()
    return several.index[several].to_numpy(np.int64)


def _of_several_patients(side: Side, key: str) -> Ints:
    """Values of the key in several places and of several patients, so of two on two sides.

    Ascending; -1 is no value.
    """
    keyed = side.rows[side.rows[key] >= 0].groupby(key)[["place", "patient"]]
    apart = (keyed.min() < keyed.max()).all(axis=1)
    return apart.index[apart].to_numpy(np.int64)


def _pairs(side: Side, key: str, values: Ints) -> Iterator[list[tuple[int, int, str]]]:
    """For the first values of the key: row, line and place of two patients on two sides."""
    for value in values[:SHOWN]:
        seen = side.rows[side.rows[key] == value].sort_values(["place", "line"])
        firsts = list(seen.drop_duplicates(["place", "patient"]).itertuples())
        pair = next((one, other) for one, other in product(firsts, firsts)
                    if one.place != other.place and one.patient != other.patient)  # fmt: skip
        yield [(row.Index, row.line, side.places[row.place]) for row in pair]


def _pictures(case: Case, groups: Ints) -> Ints:
    """(N,) number of the picture that a row shares with others, -1 for a picture of its own.

    Copied files are looked for only in groups that lie apart: `read_manifest` has put the patients
    of a file into one group, so no other can be on two sides.
    """
    rows = np.flatnonzero(np.isin(case.rows["group"], groups))
    images = case.manifest.table["image_path"].to_numpy()
    root = case.manifest.image_root
    digest = pd.Series(identical_files([root / images[row] for row in rows]), rows).dropna()
    first = digest.groupby(digest).transform(lambda twins: twins.index[0]).to_numpy(np.int64)
    ends = np.asarray(case.links, np.int64).reshape(-1, 2)
    one, other = np.append(ends[:, 0], digest.index), np.append(ends[:, 1], first)
    return _linked(one, other, len(case.rows))


def _linked(one: Ints, other: Ints, num: int) -> Ints:
    """(num,) the same number for rows that are linked, -1 for a row that is not."""
    linked = np.isin(np.arange(num), np.append(one, other))
    return np.where(linked, components(one, other, num), -1)


# --- in no part


def lost(case: Case) -> Iterator[Finding]:
    """Patients in no part are an error, single images of a patient a warning.

    What every fold lacks is reported once.
    """
    source, num = case.split.source, len(case.rows)
    packed = {fold: np.packbits(_absent(case, rows)) for fold, rows in case.split.complete()}
    always = np.unpackbits(reduce(np.bitwise_and, packed.values()), count=num).astype(bool)
    where = f"any fold of {source}" if len(packed) > 1 else source
    yield from _lost_from(case, always, always, where)
    if len(packed) > 1:
        for fold, bits in packed.items():
            absent = np.unpackbits(bits, count=num).astype(bool)
            yield from _lost_from(case, absent & ~always, absent, f"fold {fold}")


def _absent(case: Case, placed: pd.DataFrame) -> Bools:
    """(N,) rows that should be in a place and are not."""
    absent = np.zeros(len(case.rows), bool)
    absent[case.manifest.samples.index] = True
    absent[case.split.aside] = False
    absent[placed["row"]] = False
    return absent


def _lost_from(case: Case, new: Bools, absent: Bools, where: str) -> Iterator[Finding]:
    """Findings on the rows of `new` (N,), in a fold that lacks the rows of `absent` (N,)."""
    if not new.any():
        return
    patient = case.rows["patient"].to_numpy()
    rows = case.manifest.table[new].sort_values("line")
    kept = np.isin(patient[rows.index], patient[~absent])
    kinds: tuple[tuple[str, Severity, str, int, str, pd.DataFrame], ...] = (
        ("lost_patients", "error", "patient", len(case.patients), "patient_id",
         rows[~kept].drop_duplicates("patient_id")),
        ("lost_images", "warning", "image", len(patient), "image_path", rows[kept]),
    )  # fmt: skip
    for rule, severity, noun, total, column, gone in kinds:
        if len(gone):
            named = zip(gone[column], gone["line"].head(SHOWN), strict=False)
            examples = [f"{name!r} (line {line})" for name, line in named]
            text = f"{len(gone):,} of {counted(total, noun)} in no part of {where}: "
            yield Finding(rule, severity, text + and_more(examples, len(gone)))


def unknown_names(case: Case) -> Iterator[Finding]:
    """Names that the manifest lacks; rows that it leaves out are known."""
    if text := case.split.unknown_names():
        yield Finding("unknown_names", "error", text)


def doubt(case: Case) -> Iterator[Finding]:
    """A plan.csv without the plan.json that fits it."""
    if case.split.doubt:
        yield Finding("plan_json", "warning", case.split.doubt)


# --- empty or missing


def empty_parts(case: Case) -> Iterator[Finding]:
    """A fold needs a train part and one to test."""
    sizes = {(part.fold, part.part): part.num_images for part in case.parts}
    for fold, parts in case.split.folds.items():
        tested = "val" if "val" in parts and "test" not in parts else "test"
        needed = sorted({*parts, "train", tested})
        if empty := [part for part in needed if not sizes.get((fold, part))]:
            where = f"fold {fold}" if fold else "the split"
            yield Finding("empty_parts", "error", f"{where} has nobody in {', '.join(empty)}")


def fold_numbers(case: Case) -> Iterator[Finding]:
    """A number between two others is missing."""
    numbers = sorted(n for n in map(fold_number, case.split.folds) if n is not None)
    gaps = [f"{a} is followed by {b}" for a, b in pairwise(numbers) if b > a + 1]
    if gaps:
        text = f"fold numbers are missing: {and_more(gaps[:SHOWN], len(gaps))}"
        yield Finding("fold_numbers", "warning", text)


def missing_classes(case: Case) -> Iterator[Finding]:
    """Reported once for all folds: an error in train, which cannot learn it, else a warning."""
    folds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for part in case.parts:
        for name, num in zip(case.manifest.classes, part.images_per_class, strict=True):
            if part.num_images and not num:
                folds[part.part, name].append(part.fold)
    num_folds = len(case.split.folds)
    for (where, name), lacking in folds.items():
        text = f"{where} has no image of {name!r}"
        if num_folds > 1:
            text += f" in {len(lacking):,} of {num_folds:,} folds: "
            text += and_more(lacking[:SHOWN], len(lacking))
        yield Finding("missing_classes", "error" if where == "train" else "warning", text)


# --- validated and tested


def validation_is_test(case: Case) -> Iterator[Finding]:
    """A part on which something is chosen is no test part; a split may also have none."""
    who = _who(case)
    val, test = (who.loc[who["part"] == part, ["fold", "patient"]] for part in ("val", "test"))
    num = pd.DataFrame({name: those.groupby("fold", observed=False).size() for name, those in
                        (("val", val), ("test", test), ("both", val.merge(test)))})  # fmt: skip
    same = num[(num["val"] > 0) & (num["val"] == num["test"]) & (num["val"] == num["both"])]
    for fold, number in same["val"].items():
        text = f"{f'fold {fold}: ' if fold else ''}the validation part is the test part "
        text += f"({counted(number, 'patient')}): what is chosen there (epoch, threshold, "
        text += "settings) makes the test result too good"
        yield Finding("validation_is_test", "error", text)
    parts = {part for parts in case.split.folds.values() for part in parts}
    if "val" in parts and "test" not in parts:
        text = "train and val only: a result on val is too good if an epoch, a threshold or a "
        yield Finding("no_test_part", "warning", f"{text}setting was chosen there")


def tested_often(case: Case) -> Iterator[Finding]:
    """In a cross-validation everyone who is in it should be tested equally often.

    A patient in two blocks of a k-fold was reported as shared, one in no part as lost.
    """
    who, folds = _who(case), case.split.folds
    if case.split.form == "kfold":
        never = np.unique(who.loc[who["fold"] == str(NEVER_TESTED), "patient"])
        yield from _tested(case, "never_tested", never, "in no fold")
        return
    tested = who["fold"].map({f: "test" if "test" in p else "val" for f, p in folds.items()})
    patient = who["patient"].to_numpy()
    num = len(case.patients)
    times = np.bincount(patient[tested.astype(object) == who["part"].astype(object)], minlength=num)
    if len(folds) < 2 or np.isin(times, (0, len(folds))).all():
        return  # one split, or folds within train and val beside one test part for all
    used = np.zeros(num, bool)
    used[case.rows["patient"].to_numpy()[case.split.rest]] = True
    used[patient[(who["part"] != "locked").to_numpy()]] = True
    usual = max(1, int(np.bincount(times[used]).argmax()))  # more than 1 in repeated schemes
    often, never = np.flatnonzero(times > usual), np.flatnonzero(used & (times == 0))
    many = [f" ({times[p]} times)" for p in often[:SHOWN]]
    yield from _tested(case, "tested_several_times", often, "in several folds", many)
    yield from _tested(case, "never_tested", never, "in no fold")


def _who(case: Case) -> pd.DataFrame:
    """`fold`, `part` and `patient` of the split's table, each once."""
    patient = case.rows["patient"].to_numpy()[case.split.table["row"]]
    return case.split.table[["fold", "part"]].assign(patient=patient).drop_duplicates()


def _tested(
    case: Case, rule: str, who: Ints, where: str, times: Sequence[str] = ("",) * SHOWN
) -> Iterator[Finding]:
    if len(who):
        examples = [f"{case.patients[p]!r}{n}" for p, n in zip(who[:SHOWN], times, strict=False)]
        text = f"{len(who):,} of {counted(len(case.patients), 'patient')} tested {where}: "
        yield Finding(rule, "warning", text + and_more(examples, len(who)))


RULES: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    shared,
    near_copies,
    lost,
    unknown_names,
    doubt,
    empty_parts,
    fold_numbers,
    missing_classes,
    validation_is_test,
    tested_often,
)
