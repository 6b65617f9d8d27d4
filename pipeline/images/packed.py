"""The packed cache, opened: one memory-mapped array of all images, and a table beside it."""

import csv
from array import array
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Floats, Ints

TABLE_COLUMNS = (
    "pixel_digest",
    "original_shape",
    "bit_depth",
    "sum",
    "sum_squares",
    "rounding",
    "variance",
    "spacing",
    "resampled",
    "orientation",
    "filled",
    "fill_value",
)


@dataclass(frozen=True)
class Normalisation:
    """Mean and SD of each channel, fitted on the train part of one fold."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class PackedImages:
    """`array` is (N, C, H, W) or (N, C, D, H, W), read-only, in the manifest's order."""

    path: Path
    key: str

    def __getstate__(self) -> dict[str, object]:
        """For another process: what is opened here, it opens there."""
        return {"path": self.path, "key": self.key}

    @cached_property
    def array(self) -> NDArray[np.generic]:
        return np.lib.format.open_memmap(self.path / "images.npy", mode="r")

    @property
    def dtype(self) -> str:
        """The type that images.dtype stands for."""
        return str(self.array.dtype)

    @cached_property
    def thumbnails(self) -> NDArray[np.uint8]:
        """(N, P, 64, 64) small pictures of the decoded images, see `pipeline.images.decoding`."""
        return np.lib.format.open_memmap(self.path / "thumbnails.npy", mode="r")

    @cached_property
    def facts(self) -> list[dict[str, str]]:
        """(N,) what was noted of each image while it was decoded, by TABLE_COLUMNS, as text."""
        with (self.path / "table.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    @cached_property
    def _sums(self) -> Floats:
        """(N, 2, C) sum and sum of squares of every image and channel."""
        with (self.path / "table.csv").open(newline="") as file:  # not all facts: they take room
            rows = csv.reader(file)
            header = next(rows)
            asked = [header.index(name) for name in ("sum", "sum_squares")]
            numbers = array("d")
            for row in rows:
                for place in asked:
                    numbers.extend(map(float, row[place].split()))
        return np.array(numbers).reshape(-1, len(asked), self.num_channels)

    @property
    def num_channels(self) -> int:
        return int(self.array.shape[1])

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        return self.array.shape[2:]

    def fit_normalisation(self, rows: Ints) -> Normalisation:
        """Exact mean and SD over all pixels of the images at `rows`; no pixel is read."""
        sums, squares = self._sums[rows].sum(axis=0) / (len(rows) * np.prod(self.spatial_shape))
        std = np.sqrt(np.maximum(squares - sums**2, 0))
        std[std <= 1e-6 * np.abs(sums)] = 1.0  # a constant channel; what is left is rounding
        return Normalisation(tuple(sums.tolist()), tuple(std.tolist()))
