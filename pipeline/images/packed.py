"""The packed cache, opened: one memory-mapped array of all images, and a table beside it."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TABLE_COLUMNS = ("original_shape", "sum", "sum_squares")


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

    @cached_property
    def array(self) -> NDArray[np.generic]:
        array: NDArray[np.generic] = np.load(self.path / "images.npy", mmap_mode="r")
        return array

    @cached_property
    def _sums(self) -> NDArray[np.float64]:
        """(N, 2, C) sum and sum of squares of every image and channel."""
        with (self.path / "table.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        return np.array(
            [[[float(v) for v in row[c].split()] for c in TABLE_COLUMNS[1:]] for row in rows]
        )

    @property
    def num_channels(self) -> int:
        return int(self.array.shape[1])

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        return self.array.shape[2:]

    def fit_normalisation(self, rows: NDArray[np.int64]) -> Normalisation:
        """Exact mean and SD over all pixels of the images at `rows`; no pixel is read."""
        sums, squares = self._sums[rows].sum(axis=0) / (len(rows) * np.prod(self.spatial_shape))
        std = np.sqrt(np.maximum(squares - sums**2, 0))
        std[std <= 1e-6 * np.abs(sums)] = 1.0  # a constant channel; what is left is rounding
        return Normalisation(tuple(sums.tolist()), tuple(std.tolist()))
