"""to=mlflow: a model of MLflow that reads image files itself, so that it can be served."""

import base64
import io
import shutil
from importlib.metadata import requires, version
from pathlib import Path
from re import split
from tempfile import TemporaryDirectory

import nibabel
import numpy as np
from PIL import Image

import pipeline
from pipeline.export.contents import Contents
from pipeline.export.handover import CODE, Handover
from pipeline.export.serving import columns_of, outputs_of
from pipeline.export.sums import INNER, seal
from pipeline.tracking.registry import Served, save_model

LEFT_OUT = ("__pycache__", "data_manifests", "conf")
"""Of this package: the model needs its code alone."""


def write(handover: Handover, folder: Path) -> list[str]:
    """Fill the folder with a model that brings its code along, this package among it."""
    with TemporaryDirectory() as name:
        data, code = Path(name) / INNER.name, Path(name) / CODE
        data.mkdir()
        handover.lay(data)
        seal(data)
        shutil.copytree(
            Path(pipeline.__file__).parent,
            code / "pipeline",
            ignore=shutil.ignore_patterns(*LEFT_OUT),
        )
        own = [data / CODE / entry.name for entry in sorted((data / CODE).glob("*"))]
        save_model(folder, data, [code / "pipeline", *own], _served(handover.contents), _needed())
    shutil.copyfile(folder / INNER / "card.md", folder / "card.md")
    seal(folder)
    return ["to serve it: mlflow models serve --env-manager local -m FOLDER"]


def _served(contents: Contents) -> Served:
    example = dict.fromkeys(columns_of(contents), _example(contents)) | {"patient_id": "example"}
    inputs = dict.fromkeys(columns_of(contents), True) | {"patient_id": False}
    return Served("pipeline.export.serving", inputs, outputs_of(contents), example)


def _example(contents: Contents) -> str:
    """A made-up file of the kind that the model takes, in base64."""
    sides = contents.input.shape[1:]
    values = np.random.default_rng(0).integers(0, 255, sides).astype(np.uint8)
    if len(sides) == 3:
        data = nibabel.Nifti1Image(values, np.eye(4)).to_bytes()
    else:
        file = io.BytesIO()
        Image.fromarray(values).save(file, "PNG")
        data = file.getvalue()
    return base64.b64encode(data).decode()


def _needed() -> list[str]:
    """Every package that this one needs, of the version that is here."""
    plain = [text for text in requires("patientfold") or () if "extra ==" not in text]
    names = [split(r"[^\w.-]", text)[0] for text in plain]
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]
