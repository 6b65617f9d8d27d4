"""Which rows of the manifest the names in somebody's split file mean."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from pipeline.audit.foreign_split import Rows, listed
from pipeline.config import UserError
from pipeline.manifest import Manifest


class NameMatcher:
    """Names as patient ids, image paths, file names, ...: the way that explains most of them."""

    def __init__(self, manifest: Manifest, names: Sequence[str]) -> None:
        self._manifest = manifest
        wanted = set(names)
        ways = _ways(manifest)
        known = {kind: wanted & set(column) for kind, column in ways.items()}
        self.kind = max(known, key=lambda kind: len(known[kind]))
        self._column = ways[self.kind]
        self.num_known = len(known[self.kind])
        self.unknown = tuple(sorted(wanted - known[self.kind]))

    def rows(self, names: Iterable[str]) -> Rows:
        """The rows that these names mean."""
        mask: Rows = self._column.isin(list(names)).to_numpy()
        return mask

    def check(self, where: str, names: Sequence[str]) -> None:
        """Raise UserError when no name is known."""
        if not self.num_known:
            first = self._manifest.table.iloc[0]
            raise UserError(
                f"{where}: none of its names is a patient id or an image of the manifest: it has "
                f"{listed(list(names), 3)}, the manifest e.g. patient {first['patient_id']!r} and "
                f"image {first['image_path']!r}."
            )


def _ways(manifest: Manifest) -> "dict[str, pd.Series[str]]":
    """For each way to name an image or a patient, the (N,) names; missing where it is ambiguous."""
    table = manifest.table
    paths = [PurePosixPath(path.strip()) for path in table["image_path"]]
    stems = [re.sub(r"\.(nii\.gz|[^.]+)$", "", path.name) for path in paths]
    named = {
        "matched by image path": [str(path) for path in paths],
        "matched by image file name": [path.name for path in paths],
        "matched by image name": stems,
        "matched by case name": [re.sub(r"_\d{4}$", "", stem) for stem in stems],
    }
    ways = {"matched by patient id": table["patient_id"]}
    for kind, names in named.items():
        column = pd.Series(names, index=table.index, dtype=object)
        ways[kind] = column.where(~column.duplicated(keep=False), np.nan)
    return ways
