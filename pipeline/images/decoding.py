"""Decode images into the packed array, in worker processes; importing it loads no torch."""

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from pipeline.arrays import Floats32
from pipeline.config import ImagesConfig
from pipeline.formats import ImageError, StoredImage, read_image
from pipeline.images.stacking import stacked
from pipeline.images.storage import TooNarrowError, destroyed, loss, moments
from pipeline.images.transforms import per_axis, transformed, transforms_of
from pipeline.targets import build

DIGEST = 2
"""Of how `pixel_digest` hashes: a build of another version is not gone on with, or copies on both
sides of its interruption would not be found."""
THUMBNAIL_SIZE = 64
BLANK = np.zeros((THUMBNAIL_SIZE, THUMBNAIL_SIZE), dtype=np.uint8)
Facts = dict[str, str]
"""What one decoded image adds to the table, by TABLE_COLUMNS."""


ARRAYS = ("images.npy", "thumbnails.npy")


class TooNarrow(str):
    """A fault that is one of images.dtype, not of the image."""


class Decoded(NamedTuple):
    """What came of some samples."""

    rows: list[Facts | str]
    """The facts of each, or its fault."""
    checksum: int
    """Of what is stored of them."""


class Sample(NamedTuple):
    """What the files of one sample hold."""

    images: list[StoredImage]
    """Of each file."""
    original: StoredImage
    """Of all, as channels."""
    pixels: Floats32
    """(C, ...) after the transforms."""


def decode_chunk(
    packed_dir: Path, config: ImagesConfig, start: int, files: list[tuple[Path, ...]]
) -> Decoded:
    """Decode samples into rows `start...` of the folder's arrays.

    `files` are the images of each sample.
    """
    import torch

    torch.set_num_threads(1)
    decoder = Decoder(config)
    array, small = (np.lib.format.open_memmap(packed_dir / name, mode="r+") for name in ARRAYS)
    rows: list[Facts | str] = []
    for row, paths in enumerate(files, start=start):
        try:
            image = decoder.decoded(paths, array.shape[1:], array.dtype)
        except TooNarrowError as error:
            rows.append(TooNarrow(error))
            continue
        except ImageError as error:
            rows.append(str(error))
            continue
        array[row], small[row] = image.stored, image.thumbnails
        rows.append(image.facts)
    return Decoded(rows, checksum((array, small), start, len(rows)))


class DecodedImage(NamedTuple):
    """One sample, as the packed cache holds it."""

    stored: NDArray[np.generic]
    """(C, ...) after the transforms, rounded to the type of the cache."""
    thumbnails: NDArray[np.uint8]
    """(P, 64, 64), see `thumbnails`."""
    facts: Facts


class Decoder:
    """Makes of a sample's files what the packed cache holds of them."""

    def __init__(self, config: ImagesConfig) -> None:
        self.config = config
        self.transforms = transforms_of(config)
        self.reader = _reader(config)

    def sample(self, files: tuple[Path, ...]) -> Sample:
        """What the files hold; ImageError when they cannot be decoded."""
        images = _read(files, self.config, self.reader)
        original = stacked(images)
        return Sample(images, original, transformed(original, self.config, self.transforms))

    def decoded(
        self, files: tuple[Path, ...], shape: Sequence[int], dtype: DTypeLike
    ) -> DecodedImage:
        """A sample whose image must come to have this shape (C, ...).

        Raises:
            ImageError: it cannot be decoded, or stored so.
        """
        images, original, pixels = self.sample(files)
        array = _storable(pixels, self.config, tuple(shape)).astype(dtype)
        small = np.concatenate([thumbnails(image.pixels) for image in images])
        facts = _facts(original, array, self.config) | loss(pixels, array)
        return DecodedImage(array, small, facts | {"pixel_digest": _digest(images)})

    def alone(
        self, files: tuple[Path, ...], shape: Sequence[int], dtype: DTypeLike
    ) -> NDArray[np.generic]:
        """(C, ...) of a sample that nothing else is packed with.

        Raises:
            ImageError: as of `decoded`, or its contrast would be rounded away; of images of 8 bits
                only many together show that.
        """
        found = self.decoded(files, shape, dtype)
        if int(found.facts["bit_depth"]) > 8 and destroyed([found.facts]):
            raise ImageError(f"would lose its contrast in images.dtype={np.dtype(dtype)}")
        return found.stored


def checksum(arrays: Sequence[NDArray[np.generic]], start: int, num: int) -> int:
    """Of what is stored in some rows of the arrays."""
    found = 0
    for array in arrays:
        found = zlib.crc32(np.ascontiguousarray(array[start : start + num]).data, found)
    return found


def _facts(original: StoredImage, packed: NDArray[np.generic], config: ImagesConfig) -> Facts:
    sums, squares = moments(packed)
    return {
        "original_shape": "x".join(map(str, original.pixels.shape[1:])),
        "bit_depth": str(original.bit_depth),
        "sum": " ".join(map(repr, sums)),
        "sum_squares": " ".join(map(repr, squares)),
        "spacing": " ".join(f"{size:.4g}" for size in original.spacing or ()),
        "resampled": " ".join(
            f"{size:g}" for size in per_axis(config.spacing or (), config.spatial_dims)
        ),
        "orientation": original.orientation,
        "filled": f"{original.filled:.6g}",
        "fill_value": f"{config.fill_value:g}",
    }


def _digest(images: list[StoredImage]) -> str:
    """Of the pixels; one for each of several images, - for one without contrast, which shows no
    patient.
    """
    if len(images) == 1:
        return pixel_digest(images[0].pixels)
    return " ".join(pixel_digest(image.pixels) if np.ptp(image.pixels) else "-" for image in images)


def first_shape(files: list[tuple[Path, ...]], config: ImagesConfig) -> tuple[int, ...] | list[str]:
    """The shape of the first image that can be used; when none can, the fault of each."""
    decoder = Decoder(config)
    problems = []
    for paths in files:
        try:
            pixels = decoder.sample(paths).pixels
            _check_finite(pixels)
            return pixels.shape
        except ImageError as error:
            problems.append(str(error))
    return problems


def _read(paths: tuple[Path, ...], config: ImagesConfig, reader: Any) -> list[StoredImage]:
    """The images of one sample."""
    dims, channels = config.spatial_dims, config.num_channels
    fill = config.fill_value if config.nonfinite == "fill" else None
    images = []
    for number, path in enumerate(paths, start=1):
        try:
            image = read_image(path, dims, channels, reader, config.most_voxels, fill)
            if len(paths) > 1 and image.is_repeated:
                raise ImageError(
                    f"has 1 channel, images.num_channels is {channels}; it counts the channels of "
                    f"each of the {len(paths)} images of manifest.columns.image: set "
                    f"images.num_channels=1, and the network gets {len(paths)} channels"
                )
        except ImageError as error:
            if len(paths) == 1:
                raise
            raise ImageError(f"image {number} of {len(paths)} {error}") from None
        images.append(image)
    return images


def _reader(config: ImagesConfig) -> Any:
    """The user's own reader of files in no known format, if there is one."""
    return None if config.reader is None else build("images.reader", config.reader)


def _check_finite(pixels: Floats32) -> None:
    if not np.isfinite(pixels).all():
        raise ImageError("has values that are not finite after the transforms")


def _storable(pixels: Floats32, config: ImagesConfig, shape: tuple[int, ...]) -> Floats32:
    """The transformed pixels, if they have this shape and `images.dtype` can hold them."""
    if pixels.shape != shape:
        raise ImageError(
            f"has shape {pixels.shape} after the transforms, the others {shape}; add a resize, or "
            "pad and crop, to images.transforms"
        )
    _check_finite(pixels)
    low, high, wider = -0.5, 255.5, "auto, float16 or float32"
    if config.dtype != "uint8":
        high = float(np.finfo(config.dtype).max)
        low, wider = -high, "float32"
    if pixels.min() < low or pixels.max() > high:
        raise TooNarrowError(
            f"has values from {pixels.min():g} to {pixels.max():g} after the transforms, which "
            f"images.dtype={config.dtype} cannot hold; use {wider}"
        )
    return pixels.round().clip(0, 255) if config.dtype == "uint8" else pixels


def pixel_digest(array: Floats32) -> str:
    """SHA-256 of decoded pixels and their shape: equal for lossless copies in other formats.

    Where bytes hold the values, whatever the file, a quarter is hashed; "8:" says so, for caches of
    earlier versions are hashed otherwise.
    """
    with np.errstate(invalid="ignore"):  # of values that no byte holds
        as_bytes = array.astype(np.uint8)
    small = np.array_equal(as_bytes, array)
    found = hashlib.sha256("x".join(map(str, array.shape)).encode())
    found.update(np.ascontiguousarray(as_bytes if small else array).data)
    return "8:" * small + found.hexdigest()


def thumbnails(array: Floats32) -> NDArray[np.uint8]:
    """(P, 64, 64) grey pictures of an image (C, H, W), P = 1, or a volume (C, D, H, W), P = 3.

    A volume's are its mean projections along D, H and W. Each is stretched to a square and to the
    values 0 to 255; one without any contrast is all 0.
    """
    grey = array[0] if len(array) == 1 else array.mean(axis=0)
    planes = [grey] if grey.ndim == 2 else [grey.mean(axis=axis) for axis in range(3)]
    return np.stack([_thumbnail(plane) for plane in planes])


def _thumbnail(plane: Floats32) -> NDArray[np.uint8]:
    low, high = float(plane.min()), float(plane.max())
    if high - low <= 1e-5 * max(abs(low), abs(high)):  # what is left of a mean's rounding
        return BLANK
    whole = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    small = np.asarray(whole.resize((THUMBNAIL_SIZE,) * 2, Image.Resampling.BILINEAR))
    low, high = float(small.min()), float(small.max())
    return np.round((small - low) / (high - low) * 255).astype(np.uint8) if high > low else BLANK
