"""to=folder: weights and settings, for patientfold itself."""

from pathlib import Path

from pipeline.export.handover import Handover
from pipeline.export.sums import seal


def write(handover: Handover, folder: Path) -> list[str]:
    """Fill the folder."""
    handover.lay(folder)
    seal(folder)
    return ["in Python: from pipeline.export import load_bundle; bundle = load_bundle(FOLDER)"]
