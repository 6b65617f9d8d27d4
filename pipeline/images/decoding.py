"""Decode images into the packed array. Runs in worker processes, where torch and monai are loaded;
importing this module loads neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Floats32
from pipeline.config import ImagesConfig
from pipeline.formats import ImageError, StoredImage, read_image
from pipeline.images.facts import pixel_digest, thumbnails
from pipeline.targets import build

if TYPE_CHECKING:
    from monai.transforms import Compose


@dataclass(frozen=True)
class Chunk:
    """A worker's piece of work: decode `files` into rows `start...` of the folder's arrays."""

    files: list[Path]
    start: int
    packed_dir: Path
    config: ImagesConfig


@dataclass(frozen=True)
class Row:
    """What one decoded image adds to the table, or why it cannot be used."""

    sum: tuple[float, ...] = ()
    sum_squares: tuple[float, ...] = ()
    original_shape: str = ""
    """Axes of the file's pixels, e.g. "512x512"."""
    bit_depth: int = 0
    """Bits of a stored value."""
    pixel_digest: str = ""
    problem: str | None = None


def decode_chunk(chunk: Chunk) -> list[Row]:
    """Decode the chunk's files into the array; one row per file, in order."""
    import torch

    torch.set_num_threads(1)
    config = chunk.config
    transforms = _transforms(config)
    array = np.lib.format.open_memmap(chunk.packed_dir / "images.npy", mode="r+")
    small = np.lib.format.open_memmap(chunk.packed_dir / "thumbnails.npy", mode="r+")
    rows = []
    for row, path in enumerate(chunk.files, start=chunk.start):
        try:
            original = read_image(path, config.spatial_dims, config.num_channels)
            array[row] = _storable(_transformed(original, transforms), config, array.shape[1:])
        except ImageError as error:
            rows.append(Row(problem=str(error)))
            continue
        small[row] = thumbnails(original.pixels)
        rows.append(_row(original, array[row]))
    array.flush()
    small.flush()
    return rows


def _row(original: StoredImage, packed: NDArray[np.generic]) -> Row:
    values = packed.astype(np.float64).reshape(len(packed), -1)
    return Row(
        sum=tuple(values.sum(axis=1).tolist()),
        sum_squares=tuple((values**2).sum(axis=1).tolist()),
        original_shape="x".join(map(str, original.pixels.shape[1:])),
        bit_depth=original.bit_depth,
        pixel_digest=pixel_digest(original.pixels),
    )


def first_shape(files: list[Path], config: ImagesConfig) -> tuple[int, ...] | list[Row]:
    """The shape that every image must have: that of the first one that can be used.

    When none can be used: why, one row per file.
    """
    transforms = _transforms(config)
    problems = []
    for path in files:
        try:
            original = read_image(path, config.spatial_dims, config.num_channels)
            pixels = _transformed(original, transforms)
            return _storable(pixels, config, pixels.shape).shape
        except ImageError as error:
            problems.append(Row(problem=str(error)))
    return problems


def _transforms(config: ImagesConfig) -> Compose:
    from monai.transforms import Compose

    steps = [build(f"images.transforms.{i}", leaf) for i, leaf in enumerate(config.transforms)]
    return Compose(steps)


def _transformed(image: StoredImage, transforms: Compose) -> Floats32:
    import torch
    from monai.data import MetaTensor

    pixels, affine = torch.from_numpy(image.pixels.copy()), torch.from_numpy(image.affine)
    try:
        return np.asarray(transforms(MetaTensor(pixels, affine=affine)), dtype=np.float32)
    except (RuntimeError, ValueError) as error:
        cause = error.__cause__ or error  # MONAI's own words only say which transform it was
        raise ImageError(f"a transform failed: {cause!r}") from None


def _storable(pixels: Floats32, config: ImagesConfig, shape: tuple[int, ...]) -> Floats32:
    """The transformed pixels, if they have this shape and `images.dtype` can hold them."""
    if pixels.shape != shape:
        raise ImageError(
            f"has shape {pixels.shape} after the transforms, the others {shape}; add a resize, or "
            "pad and crop, to images.transforms"
        )
    if not np.isfinite(pixels).all():
        raise ImageError("has values that are not finite after the transforms")
    if config.dtype == "uint8":
        if pixels.min() < -0.5 or pixels.max() > 255.5:
            raise ImageError(
                f"has values from {pixels.min():g} to {pixels.max():g} after the transforms, which "
                "images.dtype=uint8 cannot hold; use float16 or float32"
            )
        return pixels.round().clip(0, 255)
    if np.abs(pixels).max() > np.finfo(config.dtype).max:
        raise ImageError(
            f"has values up to {np.abs(pixels).max():g} after the transforms, which "
            f"images.dtype={config.dtype} cannot hold; use float32"
        )
    return pixels
