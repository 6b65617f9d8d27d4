"""Folds that somebody else made, as they are: no group is cut, and nobody is lost."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.arrays import Ints
from pipeline.config import SplitConfig, UserError
from pipeline.manifest import Manifest
from pipeline.splits.dealing.deal import carved
from pipeline.splits.folds import LeakageError
from pipeline.splits.given import GivenSplit, Words, fold_number, read_column, read_file
from pipeline.splits.schemes.scheme import Groups, Rounds, Scheme
from pipeline.words import counted, listed


def _rounds(groups: Groups, split: SplitConfig) -> Rounds:
    """The given folds without the locked patients; val is carved from train where none is given."""
    free = groups.free
    for given in _given_rounds(groups, split):
        test, val = (np.intersect1d(part, free) for part in given)
        rest = np.setdiff1d(free, np.concatenate([test, val]))
        parts = zip(("test", "val"), given, (test, val), strict=True)
        gone = [name for name, was, part in parts if len(was) and not len(part)]
        if gone or not len(rest):
            raise UserError(
                f"split.locked_fraction={split.locked_fraction} locks all patients of the "
                f"{' and '.join(gone) or 'train'} part of a given fold; set it to 0, or lock "
                "patients by hand: take their rows out of the manifest."
            )
        if not len(val) and len(rest) >= 2:
            val = carved(groups.quantities, rest, split.val_fraction, split.seed)
        yield test, val


def _given_rounds(groups: Groups, split: SplitConfig) -> list[tuple[Ints, Ints]]:
    """Each fold's (test, val): positions in the groups' names; the others are trained on.

    Numbered blocks rotate as those of kfold do; -1 is trained on in every fold. Where parts are
    given, val may be empty; nnU-Net's "val" is the part that we call test.

    Raises:
        UserError: for a split that cannot be read or trained on, or a patient in no part.
        LeakageError: when a group lies in two parts.
    """
    manifest, names = groups.manifest, groups.names
    assert not manifest.purged, "only temporal plans purge"
    where, audit, given = _read(manifest, split, groups.words)
    if given.form == "plan":
        raise UserError(
            f"{where}: is a plan of ours, which proves itself: use split.file={split.assignments} "
            "instead (split.scheme then means nothing)."
        )
    if unknown := given.unknown_names():
        raise UserError(f"{where}: {unknown}.")
    _check_numbers(where, given)
    table = manifest.table[["patient_id", "image_path"]].assign(
        group=pd.Index(names).get_indexer(pd.Index(manifest.table["group"]))
    )
    rounds = []
    for fold, placed in given.complete():
        pairs = _test_and_val(where, given, fold, placed)
        _check_whole(where, audit, table, fold, placed)
        _check_complete(where, table, fold, placed["row"].to_numpy())
        home = np.empty(len(names), object)
        home[table["group"].to_numpy()[placed["row"]]] = placed["place"]
        rounds += [
            (np.flatnonzero(home == test), np.flatnonzero(home == val)) for test, val in pairs
        ]
    times = np.bincount(np.concatenate([test for test, _ in rounds]), minlength=len(names))
    if times.max() > 1:
        who = table["patient_id"][table["group"] == times.argmax()].min()
        raise UserError(
            f"{where}: patient {who!r} is tested in {times.max()} folds; allowed is once "
            "(train the repeats, or the folds beside one common test part, one by one)."
        )
    return rounds


def _read(manifest: Manifest, split: SplitConfig, words: Words) -> tuple[str, str, GivenSplit]:
    """The setting that names the split, the one that audits it, and the split."""
    if split.assignments is not None:
        where = f"split.assignments {split.assignments}"
        given = read_file(manifest, Path(split.assignments), where, words)
        return where, f"audit.part_file={split.assignments}", given
    column = "fold" if "fold" in manifest.table else "part"
    where, theirs = f"manifest.columns.{column}", manifest.name_of(column)
    given = read_column(manifest, column, where, theirs, words)
    return where, f"audit.part_column={theirs}", given


def _check_numbers(where: str, given: GivenSplit) -> None:
    """A fold keeps its number: a gap, or a start at 1, would give it another."""
    numbers = sorted(n for n in map(fold_number, given.folds) if n is not None)
    blocks = given.form == "kfold"
    if numbers != list(range(len(numbers))) or (blocks and len(numbers) < 3):
        raise UserError(
            f"{where}: folds must be numbered from 0 without a gap{', 3 or more' if blocks else ''}"
            f", got {listed(list(map(str, numbers))) or 'none'}."
        )


def _test_and_val(
    where: str, given: GivenSplit, fold: str, placed: pd.DataFrame
) -> list[tuple[str, str]]:
    """The places that are tested and validated on: in this fold, or in each round of a k-fold."""
    if given.form == "kfold":
        blocks = [f"fold {number}" for number in given.folds]
        return list(zip(blocks, blocks[1:] + blocks[:1], strict=True))
    parts = given.folds[fold]
    test, val = ("val", "") if given.form == "nnunet" and "test" not in parts else ("test", "val")
    if empty := [part for part in ("train", test) if not (placed["place"] == part).any()]:
        whose = f"fold {fold}" if fold else "the split"
        hint = ", and what is to be tested must be called test" if "test" in empty else ""
        raise UserError(
            f"{where}: {whose} has nobody in {', '.join(empty)}; it has {listed(parts)}{hint}."
        )
    return [(test, val)]


def _check_whole(
    where: str, audit: str, table: pd.DataFrame, fold: str, placed: pd.DataFrame
) -> None:
    """Raise LeakageError, naming two patients or one, where a group lies in several places."""
    rows = placed.assign(
        group=table["group"].to_numpy()[placed["row"]],
        patient=table["patient_id"].to_numpy()[placed["row"]],
        number=placed["place"].cat.codes,
    )
    places = rows.groupby("group")["number"]
    cut = places.min().index[places.min() < places.max()]
    if not len(cut):
        return
    of_first = rows[rows["group"] == cut[0]].sort_values(["patient", "number"])
    seen = of_first.drop_duplicates(["patient", "number"])
    who = list(zip(seen["patient"], seen["number"], seen["place"], strict=True))
    pairs = [(a, b) for a in who for b in who if a[1] < b[1]]
    one, other = min(pairs, key=lambda pair: pair[0][0] != pair[1][0])
    both = f"{one[2]} and {other[2]}{f' of fold {fold}' if fold else ''}"
    text = f"patient {one[0]!r} is in both {both}"
    if one[0] != other[0]:
        text = f"patients {one[0]!r} and {other[0]!r} belong together but are in {both}"
    more = f", and {counted(len(cut) - 1, 'more group')} cut" if len(cut) > 1 else ""
    raise LeakageError(f"{where}: {text}{more}; patientfold check with {audit} names all.")


def _check_complete(where: str, table: pd.DataFrame, fold: str, rows: Ints) -> None:
    """Raise UserError, naming patients or single images, where some are in no part."""
    is_lost = ~np.isin(np.arange(len(table)), rows)
    if not is_lost.any():
        return
    lost = table[is_lost]
    patients = sorted(set(lost["patient_id"]) - set(table["patient_id"][~is_lost]))
    named, total, noun = lost["image_path"].tolist(), len(table), "image"
    if patients:
        named, total, noun = patients, table["patient_id"].nunique(), "patient"
    raise UserError(
        f"{where}: {len(named):,} of {counted(total, noun)} in no part"
        f"{f' of fold {fold}' if fold else ''}: {listed(named)}; give each a part, "
        "or take the rows out of the manifest."
    )


SCHEME = Scheme(
    name="predefined",
    words="as given",
    rounds=_rounds,
    remedy="assign patients in another way, or use split.scheme=kfold",
)
