"""A made manifest as files: the CSV, the settings that read it, and the images' own settings."""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.config import is_day
from pipeline.config.making import LabelRule, MakeManifestConfig
from pipeline.errors import UserError
from pipeline.files import write_whole
from pipeline.label_names import BETWEEN
from pipeline.making.manifest import MadeManifest, names_several, out_path
from pipeline.words import counted

COLUMN = {"site": "site", "study": "study", "StudyInstanceUID": "study", "StudyDate": "date"}
"""Column that may have been made -> the setting that names it."""
VOLUMES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")


def written(made: MadeManifest, config: MakeManifestConfig) -> dict[Path, str]:
    """What is written: path -> text."""
    texts = {out_path(config): pd.DataFrame(made.rows, columns=made.columns).to_csv(index=False)}
    if config.name:
        lines = [
            "# By `patientfold make-manifest`; `patientfold check --help` explains each setting."
        ]
        columns: list[str] = []
        for key, value in manifest_settings(made, config).items():
            section, _, name = key.rpartition(".")
            text = json.dumps(value, ensure_ascii=False)
            (columns if section else lines).append(f"{'  ' * bool(section)}{name}: {text}")
        lines += ["columns:"] * bool(columns) + columns
        texts[settings_path(config.name)] = "\n".join(lines) + "\n"
    return texts


def settings_path(name: str) -> Path:
    """Where `manifest=<name>` is looked for."""
    return Path("conf/manifest") / f"{name}.yaml"


def write_texts(texts: Mapping[Path, str], overwrite: bool) -> None:
    """Write every file whole, or none.

    Raises:
        UserError: when a file says something else already, or cannot be written.
    """
    path = Path()
    try:
        for path, text in texts.items():
            if path.exists() and not overwrite and path.read_bytes() != text.encode():
                raise UserError(
                    f"out: {path} exists and says something else; overwrite=true replaces it, "
                    "another out= or name= keeps it"
                )
        for path, text in texts.items():
            write_whole(path, text.encode())
    except OSError as error:
        raise UserError(f"out: {path} cannot be written ({error.strerror}); set out=") from None


def manifest_settings(made: MadeManifest, config: MakeManifestConfig) -> dict[str, str | list[str]]:
    """The settings below `manifest.` that read what was made."""
    path, root = out_path(config), Path(config.root or ".")
    classes = classes_in_order(made, config.label)
    settings: dict[str, str | list[str]] = {
        "name": config.name or root.resolve().name,
        "path": str(path),
        "task": task_of(made, classes),
        "classes": classes,
    }
    if path.parent != root:
        settings["image_root"] = str(root)
    for column, setting in COLUMN.items():
        if column in made.columns and _means(made, column, setting):
            settings[f"columns.{setting}"] = column
    return settings


def task_of(made: MadeManifest, classes: list[str]) -> str:
    """`manifest.task` of these labels."""
    if names_several(made.rows):
        return "multilabel"
    return "binary" if len(classes) == 2 else "multiclass"


def image_settings(made: MadeManifest, config: MakeManifestConfig) -> tuple[list[str], list[str]]:
    """Overrides for what the images are, and for a network and an augmentation that take them."""
    names = [row["image_path"].lower() for row in made.rows]
    loss = ["loss=binary_cross_entropy"] * names_several(made.rows)
    is_series = any(int(row.get("num_files", "1")) > 1 for row in made.rows)
    if is_series or any(name.endswith(VOLUMES) for name in names):
        return [*loss, "images=mri48"], ["model=resnet10", "augment=volume"]
    return [*loss, *["images.dtype=float16"] * (config.source == "dicom")], []  # more than 8 bits


def unlinked(made: MadeManifest) -> list[str]:
    """Why a column of studies does not link the rows: its values are counted for each patient."""
    found = {c: _patients_of(made, c) for c in COLUMN if c in made.columns}
    return [
        f"{column}: {value!r} is in {counted(number, 'patient')}, so it is no id of a study and "
        "manifest.columns.study is not set"
        for column, several in found.items()
        for value, number in several[:1]
    ]


def _means(made: MadeManifest, column: str, setting: str) -> bool:
    """Would the column be taken for what the setting means?"""
    if setting == "date":
        return all(is_day(row[column]) for row in made.rows)
    return not _patients_of(made, column)


def _patients_of(made: MadeManifest, column: str) -> list[tuple[str, int]]:
    """Values of a `study` column that several patients have, the most frequent first.

    A StudyInstanceUID is unique in the world: patients who share one are the same person.
    """
    if column != "study":
        return []
    table = pd.DataFrame(made.rows, columns=made.columns)
    table = table[table[column].str.strip() != ""]
    counts = (
        table.groupby(column)["patient_id"].nunique().sort_values(ascending=False, kind="stable")
    )
    return [(str(value), int(number)) for value, number in counts[counts > 1].items()]


def classes_in_order(made: MadeManifest, rule: LabelRule) -> list[str]:
    """The labels that occur: as the rule names them, the finding that is looked for last."""
    if rule.contains is not None:
        named = [f"no_{rule.contains}", rule.contains]
    else:
        named = [*dict.fromkeys(label for label in rule.values.values() if label is not None)]
    if names_several(made.rows):
        cells = [row["label"].split(BETWEEN) for row in made.rows]
        return sorted({name.strip() for names in cells for name in names} - {""})
    found = {row["label"] for row in made.rows}
    return [name for name in named if name in found] + sorted(found - set(named))
