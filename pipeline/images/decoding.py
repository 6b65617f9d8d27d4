"""Decode images into the packed array. Runs in worker processes, where torch and monai are loaded;
importing this module loads neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.config import ImagesConfig
from pipeline.images.facts import pixel_digest, thumbnails
from pipeline.images.headers import bit_depth
from pipeline.images.readers import ImageError, read_image
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
    """Bits a stored value."""
    pixel_digest: str = ""
    problem: str | None = None


def decode_chunk(chunk: Chunk) -> list[Row]:
    """Decode the chunk's files into the array; one row a file, in order."""
    import torch

    torch.set_num_threads(1)
    config = chunk.config
    transforms = _transforms(config)
    array = np.lib.format.open_memmap(chunk.packed_dir / "images.npy", mode="r+")
    small = np.lib.format.open_memmap(chunk.packed_dir / "thumbnails.npy", mode="r+")
    rows = []
    for position, path in enumerate(chunk.files):
        row = chunk.start + position
        try:
            original, affine = read_image(
                path, chunk.config.spatial_dims, chunk.config.num_channels
            )
            array[row] = _transformed(original, affine, chunk.config, transforms, array.shape[1:])
        except ImageError as error:
            rows.append(Row(problem=str(error)))
            continue
        small[row] = thumbnails(original)
        stored = array[row].astype(np.float64).reshape(len(array[row]), -1)
        rows.append(
            Row(
                sum=tuple(stored.sum(axis=1).tolist()),
                sum_squares=tuple((stored**2).sum(axis=1).tolist()),
                original_shape="x".join(map(str, original.shape[1:])),
                bit_depth=bit_depth(path),
                pixel_digest=pixel_digest(original),
            )
        )
    array.flush()
    small.flush()
    return rows


def _transformed(
    array: NDArray[np.float32],
    affine: NDArray[np.float64],
    config: ImagesConfig,
    transforms: Compose,
    shape: tuple[int, ...] | None,
) -> NDArray[np.float32]:
    """(C, ...) pixels after the transforms; `shape` is what they must have."""
    import torch
    from monai.data import MetaTensor

    try:
        image = transforms(
            MetaTensor(torch.from_numpy(array.copy()), affine=torch.from_numpy(affine))
        )
    except (RuntimeError, ValueError) as error:
        cause = error.__cause__ or error  # MONAI's own words only say which transform it was
        raise ImageError(f"a transform failed: {cause!r}") from None
    pixels: NDArray[np.float32] = np.asarray(image, dtype=np.float32)
    if shape is not None and pixels.shape != shape:
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
        pixels = pixels.round().clip(0, 255)
    elif np.abs(pixels).max() > np.finfo(config.dtype).max:
        raise ImageError(
            f"has values up to {np.abs(pixels).max():g} after the transforms, which "
            f"images.dtype={config.dtype} cannot hold; use float32"
        )
    return pixels


def _transforms(config: ImagesConfig) -> Compose:
    from monai.transforms import Compose

    steps = [build(f"images.transforms.{i}", leaf) for i, leaf in enumerate(config.transforms)]
    return Compose(steps)


def first_shape(files: list[Path], config: ImagesConfig) -> tuple[int, ...] | list[Row]:
    """The shape that every image must have: that of the first one that can be used.

    When none can be used: why, one row a file.
    """
    transforms = _transforms(config)
    problems = []
    for path in files:
        try:
            array, affine = read_image(path, config.spatial_dims, config.num_channels)
            return _transformed(array, affine, config, transforms, None).shape
        except ImageError as error:
            problems.append(Row(problem=str(error)))
    return problems
