"""Folds that somebody else made, as rounds to train on: no group is cut, and nobody is lost."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import Ints
from pipeline.config import SplitConfig
from pipeline.errors import UserError
from pipeline.manifest import Manifest
from pipeline.splits.folds import LeakageError
from pipeline.splits.given import GivenSplit, fold_number, read_column, read_file
from pipeline.words import counted, listed


def predefined_rounds(
    manifest: Manifest, names: list[str], split: SplitConfig
) -> list[tuple[Ints, Ints]]:
    """Each fold's (test, val): positions in the groups `names`; the others are trained on.

    Numbered blocks rotate as those of kfold do; -1 is trained on in every fold. Where parts are
    given, val may be empty; nnU-Net's "val" is the part that we call test.

    Raises:
        UserError: for a split that cannot be read or trained on, or a patient in no part.
        LeakageError: when a group lies in two parts.
    """
    assert not manifest.purged, "only temporal plans purge"
    where, audit, given = _read(manifest, split)
    if given.form == "plan":
        raise UserError(
            f"{where}: is a plan of ours, which proves itself: use split.file={split.assignments} "
            "instead (split.scheme then means nothing)."
        )
    if unknown := given.unknown_names():
        raise UserError(f"{where}: {unknown}.")
    proof = _Proof(manifest, names, where, audit)
    if given.form == "kfold":
        return proof.rotation(given)
    numbers = [fold_number(fold) for fold in given.folds]
    proof.check_numbers([number for number in numbers if number is not None])
    rounds = [proof.parts(given, fold, placed) for fold, placed in given.complete()]
    proof.check_times([test for test, _ in rounds])
    return rounds


def _read(manifest: Manifest, split: SplitConfig) -> tuple[str, str, GivenSplit]:
    """The setting that names the split, the one that audits it, and the split."""
    if split.assignments is not None:
        where = f"split.assignments {split.assignments}"
        given = read_file(manifest, Path(split.assignments), where)
        return where, f"audit.part_file={split.assignments}", given
    column = "fold" if "fold" in manifest.table else "part"
    where, theirs = f"manifest.columns.{column}", manifest.name_of(column)
    return where, f"audit.part_column={theirs}", read_column(manifest, column, where, theirs)


class _Proof:
    """A given split laid over the leakage groups; what cannot be trained on raises."""

    def __init__(self, manifest: Manifest, names: Sequence[str], where: str, audit: str) -> None:
        self._where, self._audit = where, audit
        self._num_groups = len(names)
        self._ids = manifest.table["patient_id"].to_numpy(object)
        self._images = manifest.table["image_path"].to_numpy(object)
        self._group = pd.Index(names).get_indexer(pd.Index(manifest.table["group"]))

    def rotation(self, given: GivenSplit) -> list[tuple[Ints, Ints]]:
        """Fold i tests block i and validates on the next."""
        folds = list(map(int, given.folds))
        self.check_numbers(folds, least=3)
        ((_, placed),) = given.complete()
        home, k = self._home("", placed), len(folds)
        return [(np.flatnonzero(home == f"fold {i}"), np.flatnonzero(home == f"fold {(i + 1) % k}"))
                for i in folds]  # fmt: skip

    def parts(self, given: GivenSplit, fold: str, placed: pd.DataFrame) -> tuple[Ints, Ints]:
        """The groups to test and to validate on."""
        parts = given.folds[fold]
        tested = "val" if given.form == "nnunet" and "test" not in parts else "test"
        empty = [part for part in ("train", tested) if not (placed["place"] == part).any()]
        if empty:
            whose = f"fold {fold}" if fold else "the split"
            hint = ", and what is to be tested must be called test" if "test" in empty else ""
            raise UserError(
                f"{self._where}: {whose} has nobody in {', '.join(empty)}; it has "
                f"{listed(parts)}{hint}."
            )
        home = self._home(fold, placed)
        val = "val" if tested == "test" else ""
        return np.flatnonzero(home == tested), np.flatnonzero(home == val)

    def check_numbers(self, folds: list[int], least: int = 0) -> None:
        """A fold keeps its number: a gap, or a start at 1, would give it another."""
        if sorted(folds) != list(range(len(folds))) or len(folds) < least:
            enough = f", {least} or more" if least else ""
            raise UserError(
                f"{self._where}: folds must be numbered from 0 without a gap{enough}, got "
                f"{listed(list(map(str, sorted(folds)))) or 'none'}."
            )

    def check_times(self, tests: Sequence[Ints]) -> None:
        times = np.bincount(np.concatenate(tests), minlength=self._num_groups)
        if times.max() > 1:
            who = self._ids[self._group == times.argmax()].min()
            raise UserError(
                f"{self._where}: patient {who!r} is tested in {times.max()} folds; allowed is once "
                "(train the repeats, or the folds beside one common test part, one by one)."
            )

    def _home(self, fold: str, placed: pd.DataFrame) -> NDArray[np.object_]:
        """(G,) which of the fold's places each group lies in."""
        rows = placed.assign(
            group=self._group[placed["row"]],
            patient=self._ids[placed["row"]],
            number=placed["place"].cat.codes,
        )
        places = rows.groupby("group")["number"]
        cut = (places.min() < places.max()).to_numpy().nonzero()[0]
        if len(cut):
            of_first = rows[rows["group"] == places.min().index[cut[0]]]
            raise LeakageError(self._in_words(fold, of_first, len(cut)))
        self._check_complete(fold, placed["row"].to_numpy())
        return placed["place"].cat.categories.to_numpy(object)[places.min()]

    def _in_words(self, fold: str, rows: pd.DataFrame, num_cut: int) -> str:
        """Who of a group is where, from its rows in several places."""
        seen = rows.sort_values(["patient", "number"]).drop_duplicates(["patient", "number"])
        who = list(zip(seen["patient"], seen["number"], seen["place"], strict=True))
        pairs = [(a, b) for a in who for b in who if a[1] < b[1]]
        one, other = min(pairs, key=lambda pair: pair[0][0] != pair[1][0])
        both = f"{one[2]} and {other[2]}{f' of fold {fold}' if fold else ''}"
        text = f"patient {one[0]!r} is in both {both}"
        if one[0] != other[0]:
            text = f"patients {one[0]!r} and {other[0]!r} belong together but are in {both}"
        more = f", and {counted(num_cut - 1, 'more group')} cut" if num_cut > 1 else ""
        return f"{self._where}: {text}{more}; pipeline.check with {self._audit} names all."

    def _check_complete(self, fold: str, rows: Ints) -> None:
        lost = np.ones(len(self._group), bool)
        lost[rows] = False
        if not lost.any():
            return
        patients = sorted(set(self._ids[lost]) - set(self._ids[~lost]))
        named, total, noun = self._images[lost].tolist(), len(lost), "image"
        if patients:
            named, total, noun = patients, len(set(self._ids)), "patient"
        raise UserError(
            f"{self._where}: {len(named):,} of {counted(total, noun)} in no part"
            f"{f' of fold {fold}' if fold else ''}: {listed(named)}; give each a part, "
            "or take the rows out of the manifest."
        )
