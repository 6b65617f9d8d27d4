"""What is asked about images that a fold has tested, and the answer. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.arrays import Floats32
from pipeline.config import Config
from pipeline.images.packed import PackedImages


@dataclass(frozen=True)
class FoldImages:
    """Images that one fold tested, to be explained by its network."""

    config: Config
    classes: Sequence[str]
    images: PackedImages
    key: str
    """Of the run."""
    fold: int
    checkpoint: Path
    rows: tuple[int, ...]
    """Of the packed array."""
    codes: tuple[int, ...]
    """The class of each that is explained."""
    layer: str | None
    """Its name; None: it is found."""


@dataclass(frozen=True)
class Explained:
    """In the order of the rows."""

    layer: str
    maps: tuple[Floats32, ...]
    """(...) of each image, from 0."""
    alikeness: tuple[float | None, ...]
    """Of each map, with those of networks with random weights."""
