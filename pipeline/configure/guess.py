"""What the settings of a manifest must be, by what its CSV shows."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.config import ManifestConfig
from pipeline.config.sections import ColumnsConfig
from pipeline.configure.columns import (
    MOST_CLASSES,
    SEPARATORS,
    Columns,
    candidates,
    flags,
    in_order,
    look,
    names_several,
)
from pipeline.errors import UserError
from pipeline.label_names import BETWEEN
from pipeline.words import counted, listed

NEEDED = {
    "patient": "which column says whose image a row is",
    "image": "which column names the image files",
    "label": "which column holds the label",
}
HELPFUL = {
    "site": "called like a site: results within sites and of each site are shown",
    "study": "called like a study: rows of one study stay together",
}
"""Columns that are used where exactly one is called so."""
ROOTS_TRIED = 20
"""Image paths that are looked up to find the folder they are relative to."""


@dataclass
class Guess:
    """Settings below `manifest`, each with its reason, and what a person should look at."""

    settings: dict[str, Any] = field(default_factory=dict)
    """`columns.patient` -> its value; only what is not given already, and is not the default."""
    reasons: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)

    def put(self, name: str, value: Any, reason: str) -> None:
        self.settings[name], self.reasons[name] = value, reason

    def applied(self, given: ManifestConfig) -> ManifestConfig:
        """The settings that were given, and the guessed ones."""
        columns = {
            name.removeprefix("columns."): value
            for name, value in self.settings.items()
            if name.startswith("columns.")
        }
        others = {name: value for name, value in self.settings.items() if "." not in name}
        return replace(given, **others, columns=replace(given.columns, **columns))


def guess(given: ManifestConfig) -> Guess:
    """What the CSV shows; a setting that differs from its default was given, and stays.

    Raises:
        UserError: when a column that is needed cannot be told by its name and content; all
            questions at once, each with the setting that answers it.
    """
    default, found = ManifestConfig(name=given.name, path=given.path), Guess()
    is_default = given.separator == default.separator
    known = None if is_default else given.separator
    separator, table = look(Path(given.path), known, given.encoding)
    if separator != given.separator:
        found.put("separator", SEPARATORS[separator], "what stands between the columns")
    columns = _columns(given.columns, table, given.path, found)
    _labels(given, columns["label"], table, found)
    _image_root(given, columns["image"], table, found)
    return found


def _columns(given: ColumnsConfig, table: Columns, path: str, found: Guess) -> dict[str, Any]:
    """The columns of patient, image and label; those that were found are put into `found`."""
    default, columns, questions = ColumnsConfig(), {}, []
    for meaning, question in NEEDED.items():
        columns[meaning] = usual = getattr(given, meaning)
        if usual != getattr(default, meaning) or usual in table:
            continue
        fitting = candidates(table, meaning)
        if len(fitting) == 1:
            columns[meaning] = fitting[0]
            reason = f"the only column that may say {question}"
            found.put(f"columns.{meaning}", fitting[0], reason.replace("which column", "this"))
        else:
            questions.append(_question(meaning, question, fitting, table))
    if questions:
        raise UserError("\n  ".join([f"manifest.path {path}: a person must say", *questions]))
    for meaning, reason in HELPFUL.items():
        fitting = candidates(table, meaning)
        if getattr(given, meaning) is None and len(fitting) == 1 and _varies(table[fitting[0]]):
            found.put(f"columns.{meaning}", fitting[0], reason)
    return columns


def _question(meaning: str, question: str, fitting: list[str], table: Columns) -> str:
    words = f"{question}: manifest.columns.{meaning}=..."
    if fitting:
        return f"{words} (these may be meant: {listed(fitting)})"
    if meaning == "label" and (several := flags(table)):
        names = ",".join(several)
        return (
            f"{words}; if {listed(several)}, which hold 0 and 1, are labels of which a row may "
            f"have several: 'manifest.columns.label=[{names}]' manifest.task=multilabel"
        )
    return f"{words} (the columns are {listed(list(table))})"


def _varies(cells: list[str]) -> bool:
    return len(set(cells) - {""}) > 1


def _labels(given: ManifestConfig, column: Any, table: Columns, found: Guess) -> None:
    """Task, classes, and what becomes of rows without a label."""
    if given.task == "multilabel" or column not in table:
        return  # a column that is not there is an error that the reading of the CSV words better
    cells = table[column]
    if given.task == "binary" and given.classes is None and names_several(cells):
        found.put("task", "multilabel", f"cells name several labels, with {BETWEEN} between them")
        return
    classes = sorted({cell for cell in cells if cell.strip()})
    num_blank = sum(not cell.strip() for cell in cells)
    if num_blank and given.blank_label == "error":
        found.put("blank_label", "leave_out", f"{counted(num_blank, 'row')} without a label")
    if given.classes is not None:
        return
    if len(classes) > MOST_CLASSES and given.task != "multiclass":
        raise UserError(
            f"manifest.path {given.path}: column {column!r} has {len(classes):,} different values, "
            f"e.g. {listed(classes, 3)}; are they classes? Then add manifest.task=multiclass, else "
            "name another column: manifest.columns.label=..."
        )
    if len(classes) > 2 and given.task == "binary":
        found.put("task", "multiclass", f"{len(classes)} labels occur")
    if len(classes) == 2:
        _positive(classes, found)


def _positive(classes: list[str], found: Guess) -> None:
    """Which of two classes is the negative one."""
    if (known := in_order(classes)) is not None:
        found.put("classes", known, "negative, then positive, by their names")
        return
    question = f"is {classes[1]!r} the positive class, which is to be found? Else turn them around"
    found.put("classes", classes, f"in alphabetical order: {question}")
    found.doubts.append(f"manifest.classes={listed(classes)}: {question}")


def _image_root(given: ManifestConfig, column: Any, table: Columns, found: Guess) -> None:
    """Where the images lie, if not beside the CSV."""
    name = column if isinstance(column, str) else next(iter(column), "")
    if given.image_root is not None or name not in table:
        return
    cells, beside = table[name][:ROOTS_TRIED], Path(given.path).parent
    for folder in (beside, Path(), *sorted(p for p in beside.glob("*") if p.is_dir())):
        if any((folder / cell.partition("#")[0]).exists() for cell in cells if cell.strip()):
            if folder != beside:
                reason = "the images lie here, not beside the CSV"
                found.put("image_root", str(folder), reason)
            return
