"""The levels at which predictions are judged: patients, images, and one between if asked for."""

from collections.abc import Mapping
from typing import Literal

from pipeline.words import plural

Middle = Literal["study", "slide"]
"""Between patients and images: a patient has some, each has images (`evaluation.middle`)."""
Level = Literal["patient", "study", "slide", "image"]
LEVELS: tuple[Level, ...] = ("patient", "study", "slide", "image")
"""The first that a run has is the one to report."""
MIDDLES: tuple[Middle, ...] = ("study", "slide")
PLURALS: Mapping[Level, str] = {level: plural(level) for level in LEVELS}
COLUMNS: Mapping[Level, str] = {
    "patient": "patient_id",
    "study": "study",
    "slide": "slide",
    "image": "image_path",
}
"""Level -> the column of a table of predictions that says which of them a row is of."""
