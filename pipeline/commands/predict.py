"""Predict new images: patientfold predict run_dir=runs/demo/KEY manifest.path=new.csv

The mean of the calibrated probabilities of the folds' networks, each with the normalisation that
its fold has fitted; decisions at the median of the folds' thresholds. manifest=new takes
conf/manifest/new.yaml, manifest.path=new.csv a CSV with the columns that the run's had (a label is
not needed), images='folder/*.nii.gz' files of which nobody knows the patients, and images=folder
one DICOM series.

Writes predictions.csv (images) and patients.csv, with the spread between the folds' networks, and
predict.json into predictions/<name>-<hash>, never into the run folder. A command that was stopped
goes on where it was. Nothing is uploaded.

With labels it is an external test: metrics.json and report.html beside them. Patients of the run's
plan are refused, by id and by pixels: they trained these networks. The column known says so where
nothing is evaluated, and unlike what is unlike all images of training.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.commands.door import composed
from pipeline.commands.evaluating import evaluated, refuse_patients
from pipeline.commands.settings import PredictSettings
from pipeline.config import Config, ManifestConfig, UserError, to_settings
from pipeline.console import say, screen, warn
from pipeline.engine.finished import Finished
from pipeline.ensemble.flags import Flagger
from pipeline.ensemble.kept import Kept
from pipeline.ensemble.known import open_key
from pipeline.ensemble.predicting import How, NewImages, Predicted, in_words, predict
from pipeline.manifest.unseen import has_labels, read_unseen, unseen_files
from pipeline.words import counted, one_line


def main(settings: PredictSettings) -> Predicted:
    """Read, predict, write and tell, in this order."""
    console = screen()
    run = Finished.read(Path(settings.run_dir))
    kept = Kept.of(run, settings.network, settings.plugins)
    key_file = Path(kept.config.privacy.key_file)
    key = open_key(key_file)  # before a manifest is read, which makes one where there is none
    new = new_images(settings, kept)
    warn(new.manifest.warnings, console)
    say(_about(new), console)
    flagger = Flagger.of(run, key, key_file, new.manifest.patients)
    is_test = has_labels(new.manifest)
    if is_test:
        refuse_patients(flagger, new)
    new = replace(new, known=flagger.of_patients)
    out = None if settings.out is None else Path(settings.out)
    how = How(settings.device, settings.processes, settings.decoders, settings.unusable)
    found = predict(kept, new, console, out, how, flagger.watch, flagger.name)
    say(in_words(found), console)
    warn(filter(None, [kept.doubt]), console)
    if is_test:
        evaluated(found, flagger, settings.plugins, console)
    else:
        warn(flagger.warnings(found.tables["image"]), console)
    return found


def new_images(settings: PredictSettings, kept: Kept) -> NewImages:
    """What is to be predicted.

    Raises:
        UserError: nothing is named, or too much, or it cannot be read.
    """
    run, config = kept.run, kept.config
    if (settings.manifest is None) == (settings.images is None):
        raise UserError(
            "name what is to be predicted: manifest.path=new.csv, manifest=new for "
            "conf/manifest/new.yaml, or images='folder/*.png'; one of them"
        )
    if settings.images is not None:
        if (several := len(config.manifest.columns.images)) > 1:
            raise UserError(
                f"images={settings.images}: {run.dir} was trained on samples of {several} images "
                f"({', '.join(config.manifest.columns.images)}); a manifest says which belong "
                "together: manifest.path=new.csv"
            )
        accept = config.manifest.accept
        files = unseen_files(settings.images, run.classes, config.privacy, accept)
        return NewImages("images", files, ("image",))
    assert settings.manifest is not None, "one of the two is given"
    asked = manifest_config(settings.manifest, config)
    asked = replace(asked, task=config.manifest.task, ordered=config.manifest.ordered)
    theirs, ours = asked.columns.images, config.manifest.columns.images
    if len(theirs) != len(ours):
        raise UserError(
            f"manifest.columns.image: {run.dir} was trained on samples of {len(ours)} "
            f"({', '.join(ours)}), got {len(theirs)} ({', '.join(theirs)})"
        )
    middle = config.evaluation.middle
    manifest = read_unseen(asked, run.classes, middle, config.privacy, settings.use_labels)
    return NewImages(asked.name, manifest, run.levels)


def manifest_config(asked: str | Mapping[str, Any], config: Config) -> ManifestConfig:
    """Settings of a new manifest: those of conf/manifest/<name>.yaml, or the run's own, changed.

    Raises:
        UserError: there is no such file, a setting is unknown, or no CSV is named.
    """
    if isinstance(asked, str):
        if asked.endswith(".csv"):
            raise UserError(f"manifest={asked}: for a CSV write manifest.path={asked}")
        cfg = composed([f"manifest={asked}"]).manifest
        return to_settings(cfg, ManifestConfig)
    path = asked.get("path")
    if not isinstance(path, str):
        raise UserError("manifest.path: name the CSV of the new images")
    values = asdict(config.manifest) | {"image_root": None, "hint": "", "name": _name(path)}
    given = _values(asked)
    columns = values["columns"] | given.pop("columns", {})
    return to_settings(OmegaConf.create(values | given | {"columns": columns}), ManifestConfig)


def _values(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the command line says: `null` and lists are no texts."""
    found: dict[str, Any] = {}
    for name, value in asked.items():
        if isinstance(value, Mapping):
            found[name] = _values(value)
        elif isinstance(value, str) and value.startswith("[") and value.endswith("]"):
            found[name] = [part.strip() for part in value[1:-1].split(",") if part.strip()]
        else:
            found[name] = None if value == "null" else value
    return found


def _name(path: str) -> str:
    """Of a folder, after a CSV."""
    return re.sub(r"[^\w.-]+", "_", Path(path).stem)[:60].strip("._-") or "manifest"


def _about(new: NewImages) -> list[str]:
    manifest = new.manifest
    images = counted(len(manifest), "image")
    if "patient" not in new.levels and new.levels == ("image",):
        return [one_line(f"{images} ({manifest.path}); nobody knows of which patients")]
    labels = "with" if has_labels(manifest) else "without"
    patients = counted(len(manifest.patients), "patient")
    return [one_line(f"manifest {manifest.path}: {images} of {patients}, {labels} labels")]
