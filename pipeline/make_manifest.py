"""`python -m pipeline.make_manifest source=... root=...`: a manifest from what lies on disk.

It never guesses whose image a file is: no rule for the patient, no manifest.
"""

import dataclasses
import difflib
import shlex
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from pipeline.command import run_command
from pipeline.config import UserError, to_settings
from pipeline.config.making import MakeManifestConfig
from pipeline.manifest.making import MadeManifest, make_manifest, out_path, write_manifest

RECIPES = Path(__file__).resolve().parent.parent / "data_manifests" / "recipes"


def make(cfg: DictConfig) -> None:
    """The command: gather, check, write, and say what to do next."""
    merged = with_recipe(cfg, list(HydraConfig.get().overrides.task))
    config = to_settings(merged, MakeManifestConfig)
    made = make_manifest(config)
    write_manifest(made, out_path(config), config.overwrite)
    print(summary(made, config))


def with_recipe(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The recipe's values between the defaults and the command line's.

    Raises:
        UserError: when there is no such recipe.
    """
    if cfg.recipe is None:
        return cfg
    path = RECIPES / f"{cfg.recipe}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in RECIPES.glob("*.yaml"))
        close = difflib.get_close_matches(cfg.recipe, known, n=1)
        advice = f"did you mean {close[0]!r}? " if close else ""
        raise UserError(f"recipe: no recipe {cfg.recipe!r}; {advice}there are {', '.join(known)}")
    merged = OmegaConf.merge(OmegaConf.create(OmegaConf.to_container(cfg)), OmegaConf.load(path))
    for override in OverridesParser.create().parse_overrides(overrides):
        value: Any = override.value()
        OmegaConf.update(merged, override.key_or_group, value, merge=not override.is_delete())
    assert isinstance(merged, DictConfig)
    return merged


def summary(made: MadeManifest, config: MakeManifestConfig) -> str:
    """What was written, and the command that looks at it."""
    patients = Counter(row["patient_id"] for row in made.rows)
    classes = Counter(row["label"] for row in made.rows)
    of_class = {
        name: len({row["patient_id"] for row in made.rows if row["label"] == name})
        for name in sorted(classes)
    }
    counts = sorted(patients.values())
    lines = [
        f"{out_path(config)}: {len(made.rows)} images of {len(patients)} patients",
        *(f"  {step}" for step in made.flow),
        *(f"  {name}: {classes[name]} images of {of_class[name]} patients" for name in of_class),
        f"  images a patient: {counts[0]} to {counts[-1]}, median {statistics.median(counts):g}",
        f"  columns: {', '.join(made.columns)}",
        "  for example:",
        *(f"    {', '.join(row[c] for c in made.columns)}" for row in made.rows[:3]),
    ]
    if len(classes) < 2:
        lines.append("  only one class: no training can use this yet")
    if config.note:
        lines.append("note: " + " ".join(config.note.split()))
    return "\n".join([*lines, f"next: {next_step(made, config)}"])


def next_step(made: MadeManifest, config: MakeManifestConfig) -> str:
    """The command line that checks the new manifest."""
    path, classes = out_path(config), sorted({row["label"] for row in made.rows})
    root = Path(config.root or ".")
    overrides = [
        f"manifest.name={root.resolve().name}",
        f"manifest.path={path}",
        f"manifest.image_root={'null' if path.parent == root else root}",
        f"manifest.task={'binary' if len(classes) == 2 else 'multiclass'}",
        f"manifest.classes=[{','.join(classes)}]",
    ]
    named = {"site": "site", "study": "study", "StudyInstanceUID": "study", "date": "date",
             "StudyDate": "date", "part": "part", "fold": "fold"}  # fmt: skip
    ours = {ours: theirs for theirs, ours in named.items() if theirs in made.columns}
    overrides += [f"manifest.columns.{name}={ours.get(name, 'null')}" for name in ("site",)]
    overrides += [
        f"manifest.columns.{name}={ours[name]}" for name in ("study", "date") if name in ours
    ]
    return "python -m pipeline.check " + " ".join(shlex.quote(text) for text in overrides)


def quoted(arguments: list[str]) -> list[str]:
    """Texts such as pattern='{patient}_{x}.png' as Hydra wants them: in quotes of its own."""
    settings = dataclasses.fields(MakeManifestConfig)
    texts = {f.name for f in settings if f.type in (str, str | None)}
    done = []
    for argument in arguments:
        key, mark, value = argument.partition("=")
        first = key.lstrip("+").split(".")[0]
        is_text = first in texts | {"columns", "parts", "where"} and value[:1] not in ("'", '"', "")
        if mark and is_text and value != "null" and ("." in key or first in texts):
            value = "'" + value.replace("'", r"\'") + "'"
        done.append(key + mark + value)
    return done


if __name__ == "__main__":
    sys.argv[1:] = quoted(sys.argv[1:])
    run_command(make, config_name="make_manifest", schema=MakeManifestConfig)
