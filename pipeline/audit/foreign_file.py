"""Read a split made elsewhere: a column of the manifest, a CSV, or nnU-Net's splits_final.json."""

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.audit.foreign_names import NameMatcher
from pipeline.audit.foreign_split import PARTS, ForeignSplit, Round, Rows, listed, part_of
from pipeline.config import UserError
from pipeline.manifest import Manifest

_COLUMNS: dict[str, tuple[str, ...]] = {
    "image": ("imagepath", "image", "path", "filepath", "filename", "file", "imageid", "img"),
    "patient": ("patientid", "patient", "pid", "subjectid", "subject", "participantid", "caseid",
                "case", "id"),
    "fold": ("fold", "foldid", "foldnumber", "cvfold", "kfold", "testfold", "block"),
    "part": ("part", "split", "subset", "set", "partition", "phase"),
    "val_fold": ("valfold",),
}  # fmt: skip
_ALLOWED = (
    "allowed are words for train, val and test (also training, validation, dev, holdout, ...) or "
    "fold numbers (0, 1, ... or fold_1, ...), and blank for a row in no part"
)


def read_part_column(manifest: Manifest, column: str, known_as: str) -> ForeignSplit:
    """The split that `column` of the manifest's table names; the user knows it as `known_as`.

    Raises:
        UserError: for an unknown column or unknown values.
    """
    where = f"audit.part_column={known_as}"
    if column not in manifest.table:
        known = [str(name) for name in manifest.table if name not in ("line", "group")]
        raise UserError(
            f"{where}: {manifest.path} has no such column; its columns are "
            f"{listed(known, len(known))}."
        )
    values = manifest.table[column]
    rows = {str(value): (values == value).to_numpy() for value in values.unique()}
    return _split_by_value(f"column {known_as!r}", where, rows)


def read_part_file(manifest: Manifest, path: Path) -> ForeignSplit:
    """The split in a CSV of fold assignments, or in nnU-Net's splits_final.json.

    Raises:
        UserError: when the file cannot be read or none of its names is in the manifest.
    """
    where = f"audit.part_file {path}"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{where}: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{where}: is not UTF-8; save the file as UTF-8.") from None
    if path.suffix.lower() == ".json":
        return _read_nnunet(manifest, path.name, where, text)
    return _read_csv(manifest, path.name, where, text)


def _split_by_value(
    source: str, where: str, rows: Mapping[str, Rows], unknown: Sequence[str] = ()
) -> ForeignSplit:
    """One split with parts, or a k-fold, as the values say."""
    merged: dict[str | int, Rows] = {}
    for value, part in _meanings(where, rows).items():
        if part is not None:
            merged[part] = merged[part] | rows[value] if part in merged else rows[value]
    numbers = sorted(part for part in merged if isinstance(part, int))
    words = [part for part in merged if isinstance(part, str)]
    if numbers and words:
        raise UserError(
            f"{where}: holds both fold numbers ({listed(list(map(str, numbers)))}) and words "
            f"({listed(words)}); use one kind."
        )
    if words:
        only = (Round("", {name: merged[name] for name in PARTS if name in merged}),)
        return ForeignSplit(source, only, only, tuple(unknown))
    blocks = {f"fold {number}": merged[number] for number in numbers}
    everything = np.logical_or.reduce(list(blocks.values()))
    # A patient in two blocks would be on both sides, so train is not merely what is not tested.
    others = {
        n: np.logical_or.reduce([merged[m] for m in numbers if m != n] or [~everything & False])
        for n in numbers
    }
    folds = tuple(Round(str(n), {"train": others[n], "test": merged[n]}) for n in numbers)
    return ForeignSplit(source, folds, (Round("", blocks),), tuple(unknown))


def _meanings(where: str, values: Iterable[str]) -> dict[str, str | int | None]:
    meanings: dict[str, str | int | None] = {}
    odd = []
    for value in values:
        try:
            meanings[value] = part_of(value)
        except KeyError:
            odd.append(value)
    if odd:
        raise UserError(f"{where}: unknown part {listed(sorted(odd))}; {_ALLOWED}.")
    if not any(part is not None for part in meanings.values()):
        raise UserError(f"{where}: every row is blank; {_ALLOWED}.")
    return meanings


def _read_nnunet(manifest: Manifest, name: str, where: str, text: str) -> ForeignSplit:
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise UserError(f"{where}: is not JSON ({error}).") from None
    good = isinstance(entries, list) and all(
        isinstance(entry, dict)
        and {"train", "val"} <= entry.keys() <= set(PARTS)
        and all(isinstance(names, list) for names in entry.values())
        for entry in entries
    )
    if not entries or not good:
        raise UserError(
            f'{where}: needs nnU-Net\'s form, a list of {{"train": [...], "val": [...]}} with the '
            "names of cases."
        )
    folds = [{part: [str(n) for n in entry[part]] for part in entry} for entry in entries]
    every = [n for fold in folds for part in fold.values() for n in part]
    matcher = NameMatcher(manifest, every)
    matcher.check(where, every)
    rounds = tuple(
        Round(str(i), {part: matcher.rows(fold[part]) for part in PARTS if part in fold})
        for i, fold in enumerate(folds)
    )
    return ForeignSplit(f"{name} ({matcher.kind})", rounds, rounds, matcher.unknown)


def _read_csv(manifest: Manifest, name: str, where: str, text: str) -> ForeignSplit:
    separator = max(",;\t|", key=text.split("\n", 1)[0].count)
    header, *records = list(csv.reader(io.StringIO(text), delimiter=separator)) or [[]]
    column = _find_columns(where, header)
    for number, record in enumerate(records, 2):
        if record and len(record) != len(header):
            raise UserError(
                f"{where}: record {number} has {len(record)} cells, the header {len(header)}."
            )
    records = [record for record in records if record]
    if not records:
        raise UserError(f"{where}: has no rows below its header.")
    cells = {what: [record[i].strip() for record in records] for what, i in column.items()}
    keys = [what for what in ("image", "patient") if what in cells]
    matchers = {key: NameMatcher(manifest, cells[key]) for key in keys}
    key = max(keys, key=lambda key: matchers[key].num_known)
    matcher, names = matchers[key], cells[key]
    matcher.check(where, names)
    source = f"{name} ({matcher.kind})"
    if "val_fold" in cells and "fold" in cells:
        return _our_plan(source, matcher, names, cells)
    if "fold" in cells and "part" in cells:
        return _long_form(where, source, matcher, names, cells)
    grouped: dict[str, list[str]] = defaultdict(list)
    for who, value in zip(names, cells.get("part") or cells["fold"], strict=True):
        grouped[value].append(who)
    rows = {value: matcher.rows(members) for value, members in grouped.items()}
    return _split_by_value(source, where, rows, matcher.unknown)


def _our_plan(
    source: str, matcher: NameMatcher, names: list[str], cells: Mapping[str, list[str]]
) -> ForeignSplit:
    """A plan.csv: in the folds it names a patient is tested, in val_fold it validates."""
    everyone = matcher.rows(n for n, f in zip(names, cells["fold"], strict=True)
                            if f not in ("locked", "purged"))  # fmt: skip
    of_fold: dict[str, dict[str, list[str]]] = {}
    for column, part in (("fold", "test"), ("val_fold", "val")):
        for who, cell in zip(names, cells[column], strict=True):
            for fold in cell.split():
                if fold.isdecimal():
                    of_fold.setdefault(fold, {"test": [], "val": []})[part].append(who)
    folds = []
    for fold in sorted(of_fold, key=int):
        test, val = matcher.rows(of_fold[fold]["test"]), matcher.rows(of_fold[fold]["val"])
        folds.append(Round(fold, {"train": everyone & ~test & ~val, "val": val, "test": test}))
    return ForeignSplit(source, tuple(folds), tuple(folds), matcher.unknown)


def _long_form(
    where: str, source: str, matcher: NameMatcher, names: list[str], cells: Mapping[str, list[str]]
) -> ForeignSplit:
    """One line for each fold and patient, with the part it has there."""
    meaning = _meanings(where, cells["part"])
    grouped: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for who, fold, value in zip(names, cells["fold"], cells["part"], strict=True):
        part = meaning[value]
        if isinstance(part, int):
            raise UserError(f"{where}: unknown part {value!r}; beside a fold column {_ALLOWED}.")
        if part:
            grouped[fold][part].append(who)
    folds = tuple(
        Round(fold, {part: matcher.rows(grouped[fold][part]) for part in PARTS
                     if part in grouped[fold]})
        for fold in sorted(grouped, key=lambda f: (len(f), f))
    )  # fmt: skip
    return ForeignSplit(source, folds, folds, matcher.unknown)


def _find_columns(where: str, header: Sequence[str]) -> dict[str, int]:
    """Where the file names patients or images, and folds or parts."""
    plain = [re.sub(r"[\W_]+", "", name.casefold()) for name in header]
    found = {
        what: plain.index(name)
        for what, names in _COLUMNS.items()
        for name in [next((n for n in names if n in plain), "")]
        if name
    }
    if not found.keys() & {"image", "patient"} or not found.keys() & {"fold", "part"}:
        raise UserError(
            f"{where}: needs a column patient_id or image_path, and a column fold or part (or "
            f"split); its columns are {listed(list(header), len(header)) or 'none'}."
        )
    return found
