"""Read a split made elsewhere: a column of the manifest, a CSV, or nnU-Net's splits_final.json."""

import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.config import UserError
from pipeline.manifest import Manifest

Rows = frozenset[int]
"""Row numbers of `Manifest.table`."""

SHOWN = 5
_WORDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "tr", "fit", "development"),
    "val": ("val", "valid", "validation", "validate", "tune", "tuning", "dev"),
    "test": ("test", "testing", "tst", "te", "ts", "holdout", "heldout", "eval", "evaluation"),
}
_PART_OF_WORD = {word: part for part, words in _WORDS.items() for word in words}
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


@dataclass(frozen=True)
class Round:
    """Parts that must share nobody: train, val and test of a fold, or all blocks of a k-fold."""

    name: str
    parts: Mapping[str, Rows]


@dataclass(frozen=True)
class ForeignSplit:
    """A split made elsewhere; unlike a `Plan` it may leak, lose patients or repeat them."""

    source: str
    """Which column or file, and how its names were matched."""
    folds: tuple[Round, ...]
    """What is trained, validated and tested in each fold."""
    apart: tuple[Round, ...]
    """What must share nobody; differs from `folds` for a k-fold, whose blocks are meant."""
    unknown: tuple[str, ...] = ()
    """Names in the file that the manifest does not have."""


def read_part_column(manifest: Manifest, column: str) -> ForeignSplit:
    """The split that a column of the manifest names, row by row.

    Raises:
        UserError: for an unknown column or unknown values.
    """
    where = "audit.part_column"
    if column not in manifest.table:
        known = [name for name in manifest.table if name not in ("line", "group")]
        raise UserError(
            f"{where}: {manifest.path} has no column {column!r}; its columns are "
            f"{_listed(known, len(known))}."
        )
    rows: dict[str, set[int]] = defaultdict(set)
    for row, value in enumerate(manifest.table[column]):
        rows[value].add(row)
    return _split_by_value(f"column {column!r}", where, {v: Rows(r) for v, r in rows.items()})


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
        return _read_nnunet(manifest, path, text)
    return _read_csv(manifest, path, text)


def part_of(value: str) -> str | int | None:
    """train, val or test, a fold number, or None for a blank; KeyError for anything else."""
    word = re.sub(r"[\W_]+", "", value.casefold())
    if not word:
        return None
    for ending in ("", "set", "split", "part", "data", "images", "cohort"):
        part = _PART_OF_WORD.get(word.removesuffix(ending))
        if part:
            return part
    number = re.fullmatch(r"(?:fold|block|split|cv|part|f)?[\s_-]*(\d+)(?:\.0+)?",
                          value.strip().casefold())  # fmt: skip
    if number is None:
        raise KeyError(value)
    return int(number[1])


def _split_by_value(
    source: str, where: str, rows: Mapping[str, Rows], unknown: Sequence[str] = ()
) -> ForeignSplit:
    """One split with parts, or a k-fold, as the values say."""
    meaning = _meanings(where, rows)
    merged: dict[str | int, Rows] = {}
    for value, part in meaning.items():
        if part is not None:
            merged[part] = merged.get(part, Rows()) | rows[value]
    numbers = sorted(part for part in merged if isinstance(part, int))
    words = [part for part in merged if isinstance(part, str)]
    if numbers and words:
        raise UserError(
            f"{where}: holds both fold numbers ({_listed(numbers)}) and words ({_listed(words)}); "
            "use one kind."
        )
    if not numbers:
        parts = {name: merged[name] for name in _WORDS if name in merged}
        only = (Round("", parts),)
        return ForeignSplit(source, only, only, tuple(unknown))
    blocks = {f"fold {number}": merged[number] for number in numbers}
    folds = tuple(
        Round(
            str(number),
            {
                "train": Rows().union(*(merged[n] for n in numbers if n != number)),
                "test": merged[number],
            },
        )
        for number in numbers
    )
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
        raise UserError(f"{where}: unknown part {_listed(sorted(odd))}; {_ALLOWED}.")
    if not any(part is not None for part in meanings.values()):
        raise UserError(f"{where}: every row is blank; {_ALLOWED}.")
    return meanings


def _read_nnunet(manifest: Manifest, path: Path, text: str) -> ForeignSplit:
    where = f"audit.part_file {path}"
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise UserError(f"{where}: is not JSON ({error}).") from None
    good = isinstance(entries, list) and all(
        isinstance(entry, dict)
        and {"train", "val"} <= entry.keys() <= set(_WORDS)
        and all(isinstance(names, list) for names in entry.values())
        for entry in entries
    )
    if not entries or not good:
        raise UserError(
            f'{where}: needs nnU-Net\'s form, a list of {{"train": [...], "val": [...]}} with the '
            "names of cases."
        )
    names = [{part: [str(n) for n in fold[part]] for part in fold} for fold in entries]
    matcher = _Matcher(manifest, where, [n for f in names for part in f.values() for n in part])
    folds = tuple(
        Round(str(i), {part: matcher.rows(fold[part]) for part in _WORDS if part in fold})
        for i, fold in enumerate(names)
    )
    return ForeignSplit(f"{path.name} ({matcher.kind})", folds, folds, matcher.unknown)


def _read_csv(manifest: Manifest, path: Path, text: str) -> ForeignSplit:
    where = f"audit.part_file {path}"
    header_line = text.split("\n", 1)[0]
    separator = max(",;\t|", key=header_line.count)
    header, *records = list(csv.reader(io.StringIO(text), delimiter=separator)) or [[]]
    records = [record for record in records if record]
    column = _find_columns(where, header)
    bad = next((i for i, record in enumerate(records, 2) if len(record) != len(header)), None)
    if bad is not None or not records:
        found = f"record {bad} has not {len(header)} cells" if bad else "has no rows"
        raise UserError(f"{where}: {found}.")
    cells = {what: [record[i].strip() for record in records] for what, i in column.items()}
    keys = [what for what in ("image", "patient") if what in cells]
    matchers = [_Matcher(manifest, where, cells[key], allow_none=True) for key in keys]
    best = max(range(len(keys)), key=lambda i: matchers[i].num_matched)
    matcher, names = matchers[best], cells[keys[best]]
    if not matcher.num_matched:
        _raise_no_match(where, names, manifest)
    source = f"{path.name} ({matcher.kind})"
    if "val_fold" in cells and "fold" in cells:
        return _our_plan(source, matcher, names, cells)
    if "fold" in cells and "part" in cells:
        return _long_form(where, source, matcher, names, cells)
    grouped: dict[str, list[str]] = defaultdict(list)
    for name, value in zip(names, cells.get("part") or cells["fold"], strict=True):
        grouped[value].append(name)
    rows = {value: matcher.rows(members) for value, members in grouped.items()}
    return _split_by_value(source, where, rows, matcher.unknown)


def _our_plan(
    source: str, matcher: "_Matcher", names: list[str], cells: Mapping[str, list[str]]
) -> ForeignSplit:
    """A plan.csv: in the fold it names a patient is tested, in val_fold it validates."""
    everyone = matcher.rows(names)
    by_fold: dict[str, dict[str, Rows]] = {}
    for fold in sorted({*cells["fold"], *cells["val_fold"]} - {""}, key=lambda f: (len(f), f)):
        test, val = (
            matcher.rows([n for n, f in zip(names, cells[c], strict=True) if f == fold])
            for c in ("fold", "val_fold")
        )
        by_fold[fold] = {"train": everyone - test - val, "val": val, "test": test}
    folds = tuple(Round(fold, parts) for fold, parts in by_fold.items())
    return ForeignSplit(source, folds, folds, matcher.unknown)


def _long_form(
    where: str, source: str, matcher: "_Matcher", names: list[str], cells: Mapping[str, list[str]]
) -> ForeignSplit:
    """One line for each fold and patient, with the part it has there."""
    meaning = _meanings(where, cells["part"])
    grouped: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, fold, value in zip(names, cells["fold"], cells["part"], strict=True):
        part = meaning[value]
        if isinstance(part, int):
            raise UserError(f"{where}: unknown part {value!r}; beside a fold column {_ALLOWED}.")
        if part:
            grouped[fold][part].append(name)
    folds = tuple(
        Round(fold, {part: matcher.rows(grouped[fold][part]) for part in _WORDS
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
            f"split); its columns are {_listed(header, len(header)) or 'none'}."
        )
    return found


class _Matcher:
    """Which rows of the manifest a name in the file means; the way that explains most names."""

    def __init__(
        self, manifest: Manifest, where: str, names: Sequence[str], allow_none: bool = False
    ) -> None:
        wanted = set(names)
        ways = _ways(manifest)
        self.kind = max(ways, key=lambda kind: len(wanted & ways[kind].keys()))
        self._rows = ways[self.kind]
        self.num_matched = len(wanted & self._rows.keys())
        self.unknown = tuple(sorted(wanted - self._rows.keys()))
        if not self.num_matched and not allow_none:
            _raise_no_match(where, names, manifest)

    def rows(self, names: Iterable[str]) -> Rows:
        return Rows().union(*(self._rows.get(name, ()) for name in names))


def _raise_no_match(where: str, names: Sequence[str], manifest: Manifest) -> None:
    first = manifest.table.iloc[0]
    raise UserError(
        f"{where}: none of its names is a patient id or an image of the manifest: it has "
        f"{_listed(names, 3)}, the manifest e.g. patient {first['patient_id']!r} and image "
        f"{first['image_path']!r}."
    )


def _ways(manifest: Manifest) -> dict[str, dict[str, list[int]]]:
    """For each way to name a patient or an image, what rows a name means; ambiguous ones not."""
    patients: dict[str, list[int]] = defaultdict(list)
    for row, patient in enumerate(manifest.table["patient_id"]):
        patients[patient].append(row)
    paths = [PurePosixPath(path.strip()) for path in manifest.table["image_path"]]
    stems = [re.sub(r"\.(nii\.gz|[^.]+)$", "", path.name) for path in paths]
    named = {
        "matched by image path": [str(path) for path in paths],
        "matched by image file name": [path.name for path in paths],
        "matched by image name": stems,
        "matched by case name": [re.sub(r"_\d{4}$", "", stem) for stem in stems],
    }
    ways = {"matched by patient id": dict(patients)}
    for kind, names in named.items():
        count = Counter(names)
        ways[kind] = {name: [row] for row, name in enumerate(names) if count[name] == 1}
    return ways


def _listed(values: Sequence[object], most: int = SHOWN) -> str:
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(repr(value) for value in values[:most]) + more
