"""The settings of `patientfold make-manifest`."""

import re
from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from pipeline.config.sections import SEPARATORS, SETTINGS, named
from pipeline.errors import ConfigError

FIELD = re.compile(r"\{([^{}]+)\}")
"""A column that a template names."""
OWN_COLUMNS = {"patient_id": "patient", "image_path": "image", "label": "label.column"}
"""Columns that every manifest has, and the setting that fills each."""
NEEDED: dict[str | None, dict[str, str]] = {
    None: {
        "source": "say what the images' facts come from: tree (a pattern of paths), dicom, classes "
        "(a folder per class) or table (a CSV); or recipe=<name> for a known data set",
        "root": "say which folder holds the images",
    },
    "tree": {
        "pattern": "source=tree needs one, e.g. pattern='{label}/{patient}/{image}.png'",
    },
    "table": {
        "table": "source=table needs it, e.g. table=labels.csv",
        "image": "source=table needs it, e.g. image='images/{file}.png'",
        "patient": "say which column holds the patient, e.g. patient='{patient_id}'; nothing is "
        "guessed, and an id of an image, a lesion or a slide is no patient",
    },
    "classes": {
        "patient": "a file name alone does not say who the patient is, and nothing is guessed; say "
        "which part does, e.g. patient='{patient}_{image}.png' or a regular expression with one "
        "group, patient='^([^_]+)_'. If no file names its patient, use source=table with a table "
        "of ids",
    },
}
"""Source (None: whatever it is) -> each setting that it needs, and what to say without it."""
NO_PATIENT = (
    "a patient id is never guessed; name the part that holds it, e.g. "
    "'{label}/{patient}_{image}.png', or give patient='{site}-{number}' from other parts, or "
    "labels=ids.csv with labels_key='{image}' and patient='{patient_id}'"
)
SAME = {
    "patient": "everybody would be one patient",
    "image": "every row would be the same image",
    "labels_key": "every image would have the same key",
}
"""Template -> what it would mean if it named no column."""


def _as_text(value: Any) -> Any:
    """YAML and Hydra read 0 or -1.0 as numbers; cells are text."""
    if isinstance(value, dict):
        return {_as_text(cell): _as_text(label) for cell, label in value.items()}
    return str(value) if type(value) in (int, float) else value


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class LabelRule:
    """How a row's label follows from its columns; at most one of `one_hot` and `contains`."""

    column: str = "label"
    """Column that holds the label, of the images or of `labels`; or, with `contains`, several
    findings."""
    contains: str | None = None
    """Finding to look for in the column; the labels are its name and no_<name>."""
    separator: Annotated[str, Field(min_length=1)] = "|"
    """Between several findings in one cell, for `contains`."""
    one_hot: tuple[str, ...] = ()
    """Columns of which exactly one is 1; its name is the label."""
    values: Annotated[dict[str, str | None], BeforeValidator(_as_text)] = field(
        default_factory=dict
    )
    """Cell -> label, null leaves the row out; a cell that is not named is then an error."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class MakeManifestConfig:
    """Where the facts about the images come from, and how they become a manifest."""

    recipe: str | None = None
    """A file of data_manifests/recipes whose values stand below those of the command line."""
    source: Literal["tree", "dicom", "classes", "table"] | None = None
    """A pattern of paths | headers of DICOM files | one folder per class | a CSV."""
    root: str | None = None
    """Folder that holds the images; image paths are relative to it."""
    out: str | None = None
    """The CSV to write; default: <root>/manifest.csv."""
    name: str | None = None
    """Also write conf/manifest/<name>.yaml, so that `check manifest=<name>` reads the manifest."""
    overwrite: bool = False
    """Replace a file `out`, or conf/manifest/<name>.yaml, that says something else."""
    pattern: str | None = None
    """tree: path below root with named parts, or a regular expression with (?P<name>...)."""
    skip_unmatched: bool = False
    """tree: leave out files that do not fit the pattern; documents (.csv, .txt, ...) always are."""
    skip_damaged: bool = False
    """dicom: leave out damaged files, each with its whole series, listed and counted."""
    patient: str | None = None
    """Patient id: "{part}" of columns; classes: a pattern (or regular expression) of file names."""
    table: str | None = None
    """table: CSV (or JSON list of records) with one row per image, in root or in this folder."""
    image: str | None = None
    """table: path below root such as "images/{name}.png"; begins with **/ to search all folders. A
    name without a suffix is that of the one file that has it."""
    skip_absent: bool = False
    """table: leave out rows whose image is not there; they are listed and counted."""
    labels: str | None = None
    """A further CSV or JSON (in root or in this folder), whose columns join those of the images."""
    encoding: str = "utf-8"
    """Of `table` and `labels`; a byte order mark is allowed."""
    separator: Annotated[str, Field(min_length=1, max_length=1), named(SEPARATORS)] = ","
    """Between the columns of `table` and `labels`: a character, or comma, semicolon, tab, pipe."""
    labels_key: str | None = None
    """What a row of `labels` belongs to: "{column}" of the images, such as "{PatientID}"."""
    labels_column: str | None = None
    """Column of `labels` that holds the key; default: the column that labels_key names."""
    label: LabelRule = field(default_factory=LabelRule)
    parts: dict[str, str] = field(default_factory=dict)
    """Column -> pattern; the pattern's named parts become columns."""
    where: dict[str, str] = field(default_factory=dict)
    """Column -> regular expression that the whole cell must match; other rows are left out, and
    counted."""
    columns: dict[str, str] = field(default_factory=dict)
    """Further columns to write, name -> "{column}", or a text that is the same for all."""
    needs: dict[str, str] = field(default_factory=dict)
    """Setting -> why this data set cannot do without it; the answer when it is null."""
    note: str = ""
    """What everybody who uses this data set should know; shown with the result."""

    def __post_init__(self) -> None:
        if problems := list(_problems(self)):
            raise ConfigError(problems)


def brace_problem(text: str) -> str | None:
    """What is wrong with the braces of a pattern or template, or None."""
    wrong = re.search(r"\{\}|\{[^{}/]*|\}", FIELD.sub("/", text))
    if wrong is None:
        return None
    known = {"{}": "{} names nothing", "}": "} closes no {"}
    return known.get(wrong[0], f"the brace of {wrong[0]!r} is not closed")


def _problems(config: MakeManifestConfig) -> Iterator[str]:
    missing = [name for name in config.needs if getattr(config, name, None) is None]
    yield from (f"{name}: {config.needs[name]}" for name in missing)
    for name, text in (NEEDED[None] | NEEDED.get(config.source, {})).items():
        if getattr(config, name) is None and name not in missing:
            yield f"{name}: {text}"
    if config.labels is not None and config.labels_key is None:
        yield (
            "labels_key: say what a row of labels belongs to, e.g. labels_key='{PatientID}', "
            "'{StudyInstanceUID}' or '{patient}'; and label.column=dx, if the label's column is "
            "called dx"
        )
    if config.name is not None and not re.fullmatch(r"\w[\w-]*", config.name):
        yield f"name: must be a word of letters, digits, - and _, got {config.name!r}"
    if config.label.contains and config.label.one_hot:
        yield "label.contains and label.one_hot: name one of them"
    for name in config.columns.keys() & OWN_COLUMNS.keys():
        yield (
            f"columns.{name}: every manifest has this column already (see {OWN_COLUMNS[name]}=); "
            "call the further column otherwise"
        )
    yield from _template_problems(config)
    if config.source == "tree" and config.pattern and config.patient is None:
        is_broken = brace_problem(config.pattern) is not None  # reported as such
        if not (is_broken or re.search(r"\{patient\}|\(\?P<patient>", config.pattern)):
            yield f"pattern: {config.pattern!r} has no {{patient}}, and {NO_PATIENT}"


def _template_problems(config: MakeManifestConfig) -> Iterator[str]:
    """A brace is missing, or all of them, so that the text would be the same for every row."""
    texts = {name: getattr(config, name) for name in ("pattern", *SAME)}
    texts |= {f"columns.{name}": text for name, text in config.columns.items()}
    for name, text in texts.items():
        is_rule = name == "patient" and config.source in ("classes", None)  # pattern or regex
        if text is None or (is_rule and "(" in text) or (name == "pattern" and "(?P<" in text):
            continue
        if problem := brace_problem(text):
            yield f"{name}: {text!r}: {problem}"
        elif name in SAME and not is_rule and not FIELD.search(text):
            example = text if re.fullmatch(r"\w[\w ]*", text) else "column"
            yield (
                f"{name}: {text!r} names no column, so that {SAME[name]}; a column stands in "
                f"braces, e.g. {name}='{{{example}}}'"
            )
