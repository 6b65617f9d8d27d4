"""What the loops beside ours are given: folds, files, pixels, network. Imports no torch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class FoldRows:
    """Rows of one fold's parts, and what its images are normalised by."""

    train: list[int]
    val: list[int]
    test: list[int]
    mean: list[float]
    std: list[float]


@dataclass(frozen=True)
class Task:
    """One cross-validation."""

    pixels: str
    """The packed array (N, C, ...), a file of NumPy."""
    files: list[str]
    labels: list[int]
    num_classes: int
    folds: list[FoldRows]
    network: dict[str, Any]
    """`_target_` and its arguments."""
    transforms: list[tuple[str, dict[str, Any]]]
    num_channels: int
    epochs: int
    batch_size: int
    lr: float
    flip_axes: list[int]
    rotate_degrees: float
    zoom: float
    device: str
    precision: str
    channels_last: bool
    num_processes: int
    loader_workers: int

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Task":
        record = json.loads(path.read_text())
        record["folds"] = [FoldRows(**fold) for fold in record["folds"]]
        return cls(**record)
