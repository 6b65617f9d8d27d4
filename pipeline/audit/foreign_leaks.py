"""What lies on both sides of a split that was made elsewhere: patients, pictures, groups."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.manifest import Finding, Manifest
from pipeline.manifest.groups import components, identical_files
from pipeline.splits.given import GivenSplit, Numbers
from pipeline.words import SHOWN, and_more, counted

Links = Sequence[tuple[int, int]]
"""Pairs of row numbers whose images show the same."""
MOST_PLACES = 3


@dataclass(frozen=True)
class Sides:
    """Parts that must share nobody, as one list of their rows."""

    title: str
    """ "both train and test" | "more than one fold"."""
    places: tuple[str, ...]
    rows: Numbers
    """(M,) row numbers; a row of two parts occurs twice."""
    place: Numbers
    """(M,) which of `places` each row lies in."""


class Leaks:
    """A split laid over a manifest; nothing that is shared is told twice."""

    def __init__(self, split: GivenSplit, manifest: Manifest, links: Links = ()) -> None:
        table = manifest.table
        self._manifest, self._links = manifest, np.asarray(links, np.int64).reshape(-1, 2)
        self._line = table["line"].to_numpy(np.int64)
        self._images, self._ids = table["image_path"].to_numpy(), table["patient_id"].to_numpy()
        self._patient = _codes(table["patient_id"])
        self._group = _codes(table["group"])
        self._split = split

    def findings(self) -> Iterator[Finding]:
        """Patients, then pictures of two patients, then the groups that nothing above explains."""
        sides_of = partial(_sides, self._split)  # made anew each time: all at once are large
        groups = [self._of_several_patients(self._group, sides) for sides in sides_of()]
        picture = self._pictures(np.unique(np.concatenate([np.empty(0, np.int64), *groups])))
        for sides, apart in zip(sides_of(), groups, strict=True):
            yield from self._patients(sides)
            pictures = self._of_several_patients(picture, sides)
            if len(pictures):
                yield self._finding("shared_images", "picture", pictures, picture, sides)
            told = self._group[np.isin(picture, pictures)]
            if len(untold := np.setdiff1d(apart, told)):
                yield self._finding("shared_groups", "group", untold, self._group, sides)

    def near_copies(self) -> Iterator[Finding]:
        """The links taken for what only may be the same picture: for an eye to judge."""
        picture = self._linked(self._links[:, 0], self._links[:, 1])
        for sides in _sides(self._split):
            pictures = self._of_several_patients(picture, sides)
            if len(pictures):
                found = self._finding("near_images", "picture", pictures, picture, sides)
                text = f"nearly the same: {found.message}; look at them (copies.png), and make "
                text += "such pairs an error with audit.near=error"
                yield replace(found, severity="warning", message=text)

    def _patients(self, sides: Sides) -> Iterator[Finding]:
        shared = _on_several(self._patient, sides)
        if not len(shared):
            return
        num = len(np.unique(self._patient[sides.rows]))
        examples = []
        for patient in shared[:SHOWN]:
            seen = self._first_of_each(self._patient == patient, sides).drop_duplicates("place")
            lines = [f"line {line} in {sides.places[place]}"
                     for line, place in zip(seen["line"], seen["place"], strict=True)]  # fmt: skip
            who = repr(self._ids[seen["row"].iloc[0]])
            examples.append(f"{who} ({and_more(lines[:MOST_PLACES], len(lines))})")
        text = f"{len(shared):,} of {counted(num, 'patient')} in {sides.title}: "
        yield Finding("shared_patients", "error", text + and_more(examples, len(shared)))

    def _finding(
        self, rule: str, noun: str, shared: Numbers, keys: Numbers, sides: Sides
    ) -> Finding:
        """Keys whose rows are of different patients on two sides, with a pair of rows of each."""
        examples = []
        for key in shared[:SHOWN]:
            one, other = self._apart(keys == key, sides)
            named = [(self._line[row], sides.places[place], row) for row, place in (one, other)]
            if noun == "picture":
                said = [f"{self._images[row]!r} (line {line}, {at})" for line, at, row in named]
                examples.append(" = ".join(said))
            else:
                said = [f"{self._ids[row]!r} (line {line}) in {at}" for line, at, row in named]
                examples.append(" and ".join(said))
        what = {
            "picture": f"{counted(len(shared), 'picture')} of several patients",
            "group": f"{counted(len(shared), 'group')} of patients that belong together (one "
            "study, family or image)",
        }[noun]
        text = f"{what} in {sides.title}: {and_more(examples, len(shared))}"
        return Finding(rule, "error", text)

    def _of_several_patients(self, keys: Numbers, sides: Sides) -> Numbers:
        """Keys on several sides that are of more than one patient, hence on two sides of two."""
        shared = _on_several(keys, sides)
        if not len(shared):
            return shared
        rows = sides.rows[np.isin(keys[sides.rows], shared)]
        pairs = np.unique(np.stack([keys[rows], self._patient[rows]]), axis=1)
        found, num = np.unique(pairs[0], return_counts=True)
        return found[num > 1]

    def _first_of_each(self, mask: NDArray[np.bool_], sides: Sides) -> pd.DataFrame:
        """The first row of each place and patient among the rows of `mask` (N,), by line."""
        at = np.flatnonzero(mask[sides.rows])
        rows = sides.rows[at]
        seen = pd.DataFrame({"row": rows, "place": sides.place[at], "line": self._line[rows],
                             "patient": self._patient[rows]})  # fmt: skip
        return seen.sort_values(["place", "line"]).drop_duplicates(["place", "patient"])

    def _apart(
        self, mask: NDArray[np.bool_], sides: Sides
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """(row, place) of two patients on two sides."""
        seen = self._first_of_each(mask, sides)
        row, place, patient = (seen[name].to_numpy() for name in ("row", "place", "patient"))
        for i in range(len(seen)):
            others = np.flatnonzero((place != place[i]) & (patient != patient[i]))
            if len(others):
                return (row[i], place[i]), (row[others[0]], place[others[0]])
        raise AssertionError("a key of two patients on two sides")

    def _pictures(self, groups: Numbers) -> Numbers:
        """(N,) number of the picture that a row shares with others, -1 for a picture of its own.

        Copied files are looked for only in groups that lie apart: `read_manifest` has put the
        patients of a file into one group, so no other can be on two sides.
        """
        rows = np.flatnonzero(np.isin(self._group, groups))
        root = self._manifest.image_root
        digest = pd.factorize(identical_files([root / self._images[row] for row in rows]))[0]
        rows, digest = rows[digest >= 0], digest[digest >= 0]
        first = np.zeros(int(digest.max(initial=-1)) + 1, np.int64)
        first[digest] = rows
        one = np.concatenate([self._links[:, 0], rows])
        other = np.concatenate([self._links[:, 1], first[digest]])
        return self._linked(one, other)

    def _linked(self, one: Numbers, other: Numbers) -> Numbers:
        """(N,) the same number for rows that are linked, -1 for a row that is not."""
        num = len(self._manifest)
        picture = components(one, other, num)
        return np.where(np.isin(np.arange(num), np.concatenate([one, other])), picture, -1)


def _sides(split: GivenSplit) -> Iterator[Sides]:
    """Every two parts of a fold; the blocks of a k-fold, of which there may be many, at once."""
    if split.blocks is not None:
        places, parts = zip(*split.everywhere[0].parts.items(), strict=True)
        yield Sides("more than one fold", places, np.concatenate(parts), _place(parts))
        return
    for fold in split.rounds:
        for one, other in combinations(fold.parts, 2):
            parts = (fold.parts[one], fold.parts[other])
            title = f"both {one} and {fold.place(other)}"
            yield Sides(title, (one, other), np.concatenate(parts), _place(parts))


def _place(parts: Sequence[Numbers]) -> Numbers:
    return np.repeat(np.arange(len(parts)), [len(rows) for rows in parts])


def _on_several(keys: Numbers, sides: Sides) -> Numbers:
    """The keys (N,) that occur in several places, ascending; -1 is no key."""
    found = keys[sides.rows]
    home = np.zeros(int(keys.max(initial=-1)) + 2, np.int64)
    home[found] = sides.place
    away = found[sides.place != home[found]]
    return np.unique(away[away >= 0])


def _codes(cells: "pd.Series[str]") -> Numbers:
    """(N,) number of each value in sorted order, so that examples are the first by name."""
    return pd.factorize(cells.to_numpy(object), sort=True)[0].astype(np.int64)
