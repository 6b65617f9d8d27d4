"""A manifest from what lies on disk: patientfold make-manifest source=tree root=data pattern=...

It never guesses whose image a file is: no rule for the patient, no manifest.
"""

import dataclasses
import difflib
import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from pipeline.commands.shipped import RECIPES
from pipeline.config import UserError, to_settings
from pipeline.config.making import LabelRule, MakeManifestConfig
from pipeline.console import tell
from pipeline.making import MadeManifest, make_manifest, out_path, write_manifest

OPEN = ("columns.", "parts.", "where.", "label.values.")
"""Settings whose names the user chooses."""
COLUMN = {"site": "site", "study": "study", "StudyInstanceUID": "study", "StudyDate": "date"}
"""Column that may have been made -> the setting that names it."""


def main(cfg: DictConfig) -> None:
    """The command: gather, check, write, and say what to do next."""
    merged = with_recipe(cfg, list(HydraConfig.get().overrides.task))
    config = to_settings(merged, MakeManifestConfig)
    made = make_manifest(config)
    write_manifest(made.rows, made.columns, out_path(config), config.overwrite)
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
    if len(classes) < 2:
        lines.append("  only one class: no training can use this yet")
    if most == 1 and len(per_patient) > 1:
        lines.append(
            "  look twice: every patient has one image; does the rule name images, not patients?"
        )
    if config.note:
        lines.append("note: " + " ".join(config.note.split()))
    return "\n".join([*lines, f"next: {next_step(made, config)}"])


def next_step(made: MadeManifest, config: MakeManifestConfig) -> str:
    """The command line that checks the new manifest."""
    path, root = out_path(config), Path(config.root or ".")
    classes = classes_in_order(made, config.label)
    overrides = [
        f"manifest.name={_hydra_text(root.resolve().name)}",
        f"manifest.path={_hydra_text(str(path))}",
        f"manifest.task={'binary' if len(classes) == 2 else 'multiclass'}",
        f"manifest.classes=[{','.join(map(_hydra_text, classes))}]",
    ]
    if path.parent != root:
        overrides.append(f"manifest.image_root={_hydra_text(str(root))}")
    overrides += [f"manifest.columns.{COLUMN[c]}={c}" for c in COLUMN if c in made.columns]
    names = [row["image_path"].lower() for row in made.rows]
    is_series = any(int(row.get("num_files", "1")) > 1 for row in made.rows)
    if is_series or any(name.endswith((".nii", ".nii.gz")) for name in names):
        overrides.append("images=mri48")
    elif config.source == "dicom":  # more than 8 bits
        overrides.append("images.dtype=float16")
    return "patientfold check " + " ".join(shlex.quote(text) for text in overrides)


def classes_in_order(made: MadeManifest, rule: LabelRule) -> list[str]:
    """The labels that occur: as the rule names them, the finding that is looked for last."""
    if rule.contains is not None:
        named = [f"no_{rule.contains}", rule.contains]
    else:
        named = [*dict.fromkeys(label for label in rule.values.values() if label is not None)]
    found = {row["label"] for row in made.rows}
    return [name for name in named if name in found] + sorted(found - set(named))


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
