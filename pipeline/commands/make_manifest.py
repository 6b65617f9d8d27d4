"""A manifest from what lies on disk: patientfold make-manifest source=tree root=data pattern=...

It never guesses whose image a file is: no rule for the patient, no manifest.

Labels in a table of their own, for example DICOM files in dicom/, and in clinical.csv a row for
each patient, with the columns PatientID, age and dx:

  patientfold make-manifest source=dicom root=dicom name=lung
    labels=clinical.csv labels_key='{PatientID}' label.column=dx

labels_key: what a row of the table belongs to, columns of the images in braces. If the table calls
that column otherwise, say so: labels_column=ID. label.column: the column that holds the label. The
table's other columns come along. name=lung also writes conf/manifest/lung.yaml. The last lines
printed are the commands that check the manifest and train on it.
"""

import dataclasses
import difflib
import re
import shlex
from typing import Any

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from pipeline.commands.shipped import RECIPES
from pipeline.config import UserError, to_settings
from pipeline.config.making import LabelRule, MakeManifestConfig
from pipeline.console import tell
from pipeline.making import MadeManifest, make_manifest, out_path
from pipeline.making.writing import (
    image_settings,
    manifest_settings,
    settings_path,
    unlinked,
    write_texts,
    written,
)
from pipeline.words import one_line

OPEN = ("columns.", "parts.", "where.", "label.values.")
"""Settings whose names the user chooses."""


def main(cfg: DictConfig) -> None:
    """The command: gather, check, write, and say what to do next."""
    merged = with_recipe(cfg, list(HydraConfig.get().overrides.task))
    config = to_settings(merged, MakeManifestConfig)
    made = make_manifest(config)
    write_texts(written(made, config), config.overwrite)
    tell(summary(made, config))


def with_recipe(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The recipe's values between the defaults and the command line's."""
    if cfg.recipe is None:
        return cfg
    path = RECIPES / f"{cfg.recipe}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in RECIPES.glob("*.yaml"))
        close = [name for name in known if str(cfg.recipe) in name]
        close = close or difflib.get_close_matches(str(cfg.recipe), known, n=1)
        advice = f"did you mean {close[0]!r}? " if close else ""
        raise UserError(f"recipe: no recipe {cfg.recipe!r}; {advice}there are {', '.join(known)}")
    merged = OmegaConf.merge(_text_keys(OmegaConf.to_container(cfg)), OmegaConf.load(path))
    for override in OverridesParser.create().parse_overrides(overrides):
        value = _text_keys(override.value())
        OmegaConf.update(merged, override.key_or_group, value, merge=not override.is_delete())
    assert isinstance(merged, DictConfig)
    return merged


def _text_keys(value: Any) -> Any:
    """Names are text, so that Hydra's -1.0 replaces the recipe's "-1.0"."""
    if isinstance(value, dict):
        return {str(name): _text_keys(inner) for name, inner in value.items()}
    return value


def summary(made: MadeManifest, config: MakeManifestConfig) -> str:
    """What was written, and the command that looks at it."""
    table = pd.DataFrame(made.rows)
    per_patient = table["patient_id"].value_counts()
    least, middle, most = per_patient.min(), per_patient.median(), per_patient.max()
    classes = table.groupby("label")["patient_id"].agg(["size", "nunique"])
    lines = [
        f"{out_path(config)}: {len(table)} images of {len(per_patient)} patients",
        *(f"  {step}" for step in made.flow),
        *(f"  {c.Index}: {c.size} images of {c.nunique} patients" for c in classes.itertuples()),
        f"  images per patient: {least} to {most}, median {middle:g}",
        f"  columns: {', '.join(made.columns)}",
        "  for example:",
        *(f"    {', '.join(row[c] for c in made.columns)}" for row in made.rows[:3]),
    ]
    lines += [f"  {problem}" for problem in unlinked(made)]
    if len(classes) < 2:
        lines.append("  only one class: no training can use this yet")
    if most == 1 and len(per_patient) > 1:
        lines.append(
            "  look twice: every patient has one image; does the rule name images, not patients?"
        )
    if config.note:
        lines.append("note: " + " ".join(config.note.split()))
    if config.name:
        lines.append(f"settings: {settings_path(config.name)}")
    return "\n".join(map(one_line, [*lines, *next_steps(made, config)]))


def next_steps(made: MadeManifest, config: MakeManifestConfig) -> tuple[str, str]:
    """The command lines that check the new manifest and train on it."""
    settings = manifest_settings(made, config)
    overrides = [f"manifest.{key}={_hydra_value(value)}" for key, value in settings.items()]
    if config.name:
        overrides = [f"manifest={config.name}"]
    images, network = image_settings(made, config)
    check = ["patientfold", "check", *overrides, *images]
    train = ["patientfold", "cv", *overrides, *images, *network]
    return f"next: {shlex.join(check)}", f"then: {shlex.join(train)}"


def _hydra_value(value: str | list[str]) -> str:
    if isinstance(value, str):
        return _hydra_text(value)
    return f"[{','.join(map(_hydra_text, value))}]"


def _hydra_text(text: str) -> str:
    plain = re.fullmatch(r"[\w./-]*[A-Za-z_/][\w./-]*", text)
    if plain and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    return "'" + text.replace("'", r"\'") + "'"


def as_hydra_reads(arguments: list[str]) -> list[str]:
    """Arguments as a person writes them, pattern='{patient}_{x}.png', columns.sex='{Sex}'.

    Hydra would take braces and brackets for its own, and wants ++ for names that no default has.
    """
    settings = (*dataclasses.fields(MakeManifestConfig), *dataclasses.fields(LabelRule))
    texts = {setting.name for setting in settings if setting.type in (str, str | None)}
    done = []
    for argument in arguments:
        key, mark, value = argument.partition("=")
        is_open = key.startswith(OPEN)
        is_text = is_open or key.removeprefix("label.") in texts | {"separator"}
        if mark and is_text and value not in ("", "null") and value[0] not in "'\"":
            value = "'" + value.replace("'", r"\'") + "'"
        is_open = is_open or f"{key}." in OPEN
        done.append(("++" if mark and is_open else "") + key + mark + value)
    return done
