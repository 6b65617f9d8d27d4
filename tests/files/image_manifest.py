"""A manifest of image files, one patient each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.manifest import Manifest


def manifest_of_files(folder: Path, names: Sequence[str]) -> Manifest:
    """Two classes in turn; lines count from 2, as in a CSV with a header."""
    table = pd.DataFrame(
        {
            "patient_id": [f"p{i}" for i in range(len(names))],
            "image_path": names,
            "label": [("neg", "pos")[i % 2] for i in range(len(names))],
            "line": np.arange(2, 2 + len(names)),
        }
    )
    return Manifest(folder / "manifest.csv", folder, ("neg", "pos"), table)
