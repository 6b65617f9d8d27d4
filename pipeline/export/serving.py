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
from pipeline.evaluation.aggregation import aggregate
from pipeline.evaluation.patients import Rules
from pipeline.evaluation.predictions import prob_columns
from pipeline.export.contents import Contents
from pipeline.formats import ImageError
from pipeline.label_names import LabelNames

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
    numbers = [*prob_columns(contents.classes), *(f"spread_{name}" for name in contents.classes)]
    of_patient = [f"patient_{name}" for name in prob_columns(contents.classes)]
    return {
        PATIENT: "string",
        "predicted": "string",
        **dict.fromkeys(numbers, "double"),
        "patient_predicted": "string",
        **dict.fromkeys(of_patient, "double"),
        "error": "string",
    }


class Answering:
    """A bundle behind MLflow's `predict`."""

    def __init__(self, bundle: "Bundle") -> None:
        self.bundle = bundle
        self.columns = columns_of(bundle.contents)
        self.nothing: Answer = dict.fromkeys(outputs_of(bundle.contents))

    def predict(self, data: pd.DataFrame, params: object = None) -> list[Answer]:  # noqa: ARG002
        """A row for each row; what is wrong with an image is its `error`, and it has no number.

        Rows that name the same patient are put together by the rules of the training: what is said
        of the patient stands in each of them.
        """
        rows = data.to_dict("records")
        answers: list[Answer] = [{**self.nothing, PATIENT: _patient(row)} for row in rows]
        images: list[NDArray[Any]] = []
        places: list[int] = []
        for place, row in enumerate(rows):
            try:
                images.append(self._image(row))
                places.append(place)
            except (ImageError, UserError) as error:
                answers[place]["error"] = str(error)
        if not images:
            return answers
        members = self.bundle.member_probabilities(images)  # (M, N, K)
        names = self.bundle.contents.classes
        for place, of_image, said in zip(
            places, members.swapaxes(0, 1), self.bundle.said(members, "image"), strict=True
        ):
            spreads = np.ptp(of_image, axis=0).tolist()
            answers[place] |= said | dict(
                zip([f"spread_{name}" for name in names], spreads, strict=True)
            )
        self._add_patients(answers, places, members)
        return answers

    def _add_patients(self, answers: list[Answer], places: Sequence[int], members: Floats) -> None:
        """Put the images of a patient together, where the run has patients and is asked for them."""
        rules = Rules.of(self.bundle.contents.rules)
        if "patient" not in self.bundle.contents.thresholds or rules.middle is not None:
            return
        named = [answers[place][PATIENT] for place in places]
        broken = {of[PATIENT] for of in answers if of["error"] is not None}
        for patient in dict.fromkeys(named):
            if patient is None or patient in broken:  # a part of a patient is no patient
                continue
            rows = [row for row, of in enumerate(named) if of == patient]
            exclusive = not isinstance(self.bundle.contents.names, LabelNames)
            mean = members[:, rows].mean(axis=0)  # (N, K) of the ensemble
            found = aggregate(mean, np.array([0]), rules.aggregate, exclusive)
            (said,) = self.bundle.said(found[None], "patient")
            for row in rows:
                answers[places[row]] |= {f"patient_{name}": of for name, of in said.items()}

    def _image(self, row: Mapping[str, Any]) -> NDArray[Any]:
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


def _patient(row: Mapping[str, Any]) -> str | None:
    found = row.get(PATIENT)
    return found if isinstance(found, str) and found else None


def _load_pyfunc(data_path: str) -> Answering:
    """Called by MLflow. Whoever serves a model runs its code: its own packages are taken along."""
    from pipeline.export.bundle import Bundle

    return Answering(Bundle.read(Path(data_path), trusts_all=True))
