"""What a served model answers: image files as base64 in, a row of probabilities out.

MLflow calls `_load_pyfunc`, and nothing in a model that it serves is pickled.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import Floats
from pipeline.config import UserError
from pipeline.ensemble.tables import SPREAD
from pipeline.evaluation.predictions import prob_columns
from pipeline.export.contents import Contents
from pipeline.formats import ImageError

if TYPE_CHECKING:
    from pipeline.export.bundle import Bundle

PATIENT = "patient_id"
MOST_BYTES = 2**30
"""Of one file, decoded."""
Answer = dict[str, str | float | None]


def columns_of(contents: Contents) -> tuple[str, ...]:
    """One column of files, or one for each file of an image."""
    number = contents.images_per_sample
    return ("image",) if number == 1 else tuple(f"image_{i}" for i in range(1, number + 1))


def outputs_of(contents: Contents) -> Mapping[str, str]:
    """What a row of the answer has, and of which kind."""
    of_image = ["predicted", *_numbers(contents.classes)]
    names = [*of_image, *(f"patient_{name}" for name in of_image)]
    kinds = {name: "string" if name.endswith("predicted") else "double" for name in names}
    return {PATIENT: "string", **kinds, "error": "string"}


def _numbers(classes: Sequence[str]) -> list[str]:
    """Columns of a table of predictions: of each class the mean, and its spread over the folds."""
    return [*prob_columns(classes), *(f"{name}_{of}" for name in SPREAD for of in classes)]


class Answering:
    """A bundle behind MLflow's `predict`."""

    def __init__(self, bundle: "Bundle") -> None:
        self.bundle = bundle
        self.columns = columns_of(bundle.contents)
        self.nothing: Answer = dict.fromkeys(outputs_of(bundle.contents))

    def predict(self, data: pd.DataFrame, params: object = None) -> list[Answer]:  # noqa: ARG002
        """A row for each row; what is wrong with an image is its `error`, and it has no number.

        Rows that name the same patient are put together by the rules of the training: what is said
        of the patient stands in each of them. Where one of them has an error, nothing is: a part of
        a patient is not the patient.
        """
        rows = data.to_dict("records")
        answers: list[Answer] = [{**self.nothing, PATIENT: _patient(row)} for row in rows]
        images: dict[int, NDArray[Any]] = {}
        for place, row in enumerate(rows):
            try:
                images[place] = self._image(row)
            except (ImageError, UserError) as error:
                answers[place]["error"] = str(error)
        if not images:
            return answers
        members, places = self.bundle.raw_probabilities([*images.values()]), np.array([*images])
        is_finite = np.isfinite(members).all(axis=(0, 2))
        for place in places[~is_finite].tolist():
            answers[place]["error"] = "the networks' output is nan or infinite for this image"
        if is_finite.any():
            self._tell(answers, places[is_finite].tolist(), members[:, is_finite])
        return answers

    def _tell(self, answers: list[Answer], places: Sequence[int], members: Floats) -> None:
        """Fill in what is said of the images at these places, (M, N, K), and of their patients."""
        patients = [answers[place][PATIENT] for place in places]
        samples = pd.DataFrame(
            {
                PATIENT: [f"named {of}" if of else f"{i:09}" for i, of in enumerate(patients)],
                "image_path": [f"{place:09}" for place in places],
                "label": "",
            }
        )
        tables = self.bundle.tables(samples, members)
        names = ["predicted", *_numbers(self.bundle.classes)]
        for place, row in zip(places, tables["image"][names].to_dict("records"), strict=True):
            answers[place] |= _without_nan(row)
        if (table := tables.get("patient")) is None:
            return
        broken = {of[PATIENT] for of in answers if of["error"] is not None}
        by_patient = dict(zip(table[PATIENT], table[names].to_dict("records"), strict=True))
        for place, patient in zip(places, patients, strict=True):
            if patient is not None and patient not in broken:
                said = _without_nan(by_patient[f"named {patient}"])
                answers[place] |= {f"patient_{name}": value for name, value in said.items()}

    def _image(self, row: Mapping[Any, Any]) -> NDArray[Any]:
        """(C, ...) of the files in a row, prepared; they are on the disk for this moment only."""
        with TemporaryDirectory(prefix="patientfold-") as folder:
            paths = tuple(Path(folder) / str(i) for i in range(len(self.columns)))
            for path, name in zip(paths, self.columns, strict=True):
                path.write_bytes(decoded(row.get(name), name))
            try:
                return self.bundle.image(paths)
            except ImageError as error:
                raise ImageError(f"the image {error}".replace(f"{folder}/", "")) from None


def decoded(text: object, name: str) -> bytes:
    """The bytes of a file in base64, with or without line breaks.

    Raises:
        UserError: it is none, or too long.
    """
    if not isinstance(text, str) or not text.strip():
        kind = type(text).__name__ if text else "nothing"
        raise UserError(f"{name}: expected a file in base64, got {kind}")
    begin = text.find(";base64,") + len(";base64,") if text.startswith("data:") else 0
    plain = "".join(text[begin:].split())
    if len(plain) * 3 // 4 > MOST_BYTES:
        raise UserError(f"{name}: a file of more than {MOST_BYTES:,} bytes")
    try:
        return base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"{name}: not base64: {error}") from None


def _without_nan(row: Mapping[Any, Any]) -> Answer:
    """Of one network there is no spread."""
    return {str(name): None if value != value else value for name, value in row.items()}


def _patient(row: Mapping[Any, Any]) -> str | None:
    found = row.get(PATIENT)
    return found if isinstance(found, str) and found else None


def _load_pyfunc(data_path: str) -> Answering:
    """Called by MLflow. Whoever serves a model runs its code: its own packages are taken along."""
    from pipeline.export.bundle import Bundle

    return Answering(Bundle.read(Path(data_path), trusts_all=True))
