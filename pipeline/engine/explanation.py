"""explain.json of a run folder: which images were explained, and what the check found."""

from pathlib import Path
from typing import TypedDict

from pipeline.config import UserError
from pipeline.tracking.result import read_sealed

FOLDER, FILE_NAME = "explain", "explain.json"
AGAIN = "patientfold explain writes it again."


class ExplainedImage(TypedDict):
    """One image, by the network of the fold that tested it."""

    fold: int
    patient_id: str
    image_path: str
    label: str
    predicted: str
    about: str
    """The class or label whose evidence is shown."""
    probability: float
    """Of it."""
    picture: str
    """A file beside explain.json."""
    alikeness: float | None
    """Rank correlation with maps of networks with random weights; None: nothing spoke for it."""


class Explanation(TypedDict):
    """The content of explain/explain.json."""

    method: str
    layer: str
    cases: list[ExplainedImage]
    alikeness: float | None
    """Median over images."""
    shows_learning: bool
    """False where the maps hardly change when the weights are random."""
    check: str
    """The same in a sentence."""


def read_explanation(run_dir: Path) -> Explanation | None:
    """None where `patientfold explain` was not run.

    Raises:
        UserError: it is damaged, was changed, or names a picture elsewhere.
    """
    path = run_dir / FOLDER / FILE_NAME
    if (content := read_sealed(path, AGAIN)) is None:
        return None
    pictures = [case.get("picture", "") for case in content.get("cases", [])]
    if not pictures or any(Path(name).name != name for name in pictures):
        raise UserError(f"{path}: expected cases, with pictures beside it. {AGAIN}")
    return content  # type: ignore[return-value]
