"""Decode one image, a file or a DICOM series, to an array. Imports neither torch nor monai."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pipeline.arrays import Floats32
from pipeline.formats.files import file_size, format_of
from pipeline.formats.limits import MOST_VOXELS, check_claim
from pipeline.formats.table import ImageError, StoredImage, UnknownFormatError


def read_image(
    path: Path,
    spatial_dims: int,
    num_channels: int,
    own_reader: Callable[[Path], ArrayLike] | None = None,
    most_voxels: int = MOST_VOXELS,
) -> StoredImage:
    """Decode a file to float32 pixels with the channels and dimensions asked for.

    Grey becomes RGB by repetition, RGB becomes grey by luminance (ITU-R 601-2). NIfTI volumes and
    DICOM series are turned to the closest canonical (RAS) axes; see `pipeline.formats.dicom` for
    the values of DICOM, `pipeline.formats.npy` for the axes of .npy arrays. A file in no known
    format goes to `own_reader`, which gives pixels with their channels first.

    Raises:
        ImageError: when the file is broken, does not have the dimensions asked for, or would take
            more memory than an image may.
    """
    try:
        array, affine, bits = _stored(path, spatial_dims, own_reader, most_voxels)
    except Exception as error:  # noqa: BLE001 (decoders raise almost anything, see the fuzz test)
        raise ImageError(f"cannot be decoded: {_reason(error)}") from None
    if array.ndim == spatial_dims + 2 and 1 in array.shape[1:]:
        array = array.squeeze(axis=1 + array.shape[1:].index(1))  # a volume of a single slice
    if array.ndim != spatial_dims + 1:
        preset = "mri48" if array.ndim == 4 else "grey64"
        raise ImageError(
            f"has {array.ndim - 1} spatial dimensions (shape {array.shape[1:]}), "
            f"images.spatial_dims is {spatial_dims}; set images={preset}, or your own with "
            f"images.spatial_dims={array.ndim - 1}"
        )
    if not np.isfinite(array).all():
        raise ImageError("holds values that are not finite (nan or inf)")
    return StoredImage(_with_channels(array, num_channels), affine, bits)


def _stored(
    path: Path,
    spatial_dims: int,
    own_reader: Callable[[Path], ArrayLike] | None,
    most_voxels: int,
) -> StoredImage:
    try:
        known = format_of(path)
        check_claim(known.claim_of(path), file_size(path), most_voxels)
        return known.read(path, spatial_dims)
    except UnknownFormatError:
        if own_reader is None:
            raise
    pixels = np.asarray(own_reader(path))
    return StoredImage(pixels.astype(np.float32), np.eye(4), 8 * pixels.itemsize)


def _reason(error: Exception) -> str:
    line = next(iter(str(error).splitlines()), "")
    plain = isinstance(error, OSError | ValueError | EOFError) and line
    return line if plain else f"{type(error).__name__} {line}".strip()


def _with_channels(array: Floats32, num_channels: int) -> Floats32:
    if array.shape[0] == num_channels:
        return array
    if array.shape[0] == 1:
        return np.repeat(array, num_channels, axis=0)
    if array.shape[0] == 3 and num_channels == 1:
        if np.array_equal(array[0], array[1]) and np.array_equal(array[0], array[2]):
            return array[:1]  # grey that was stored as colour, to the last bit
        luminance = np.array([0.299, 0.587, 0.114], dtype=np.float32)
        return np.tensordot(luminance, array, axes=1)[None]
    raise ImageError(f"has {array.shape[0]} channels, images.num_channels is {num_channels}")
