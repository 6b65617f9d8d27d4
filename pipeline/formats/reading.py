"""Decode one image, a file or a DICOM series, to an array. Imports neither torch nor monai."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pipeline.arrays import Floats32
from pipeline.formats.files import file_size, format_of
from pipeline.formats.limits import MOST_VOXELS, check_claim
from pipeline.formats.table import COLOUR, ImageError, StoredImage, UnknownFormatError

COLOUR_CHANNELS = 3


def read_image(
    path: Path,
    spatial_dims: int,
    num_channels: int,
    own_reader: Callable[[Path], ArrayLike] | None = None,
    most_voxels: int = MOST_VOXELS,
    fill: float | None = None,
) -> StoredImage:
    """Decode a file to float32 pixels with the channels and dimensions asked for.

    Grey becomes RGB by repetition; a colour image, and nothing else with three channels, becomes
    grey by luminance (ITU-R 601-2). NIfTI volumes and DICOM series are turned to the closest
    canonical (RAS) axes; see `pipeline.formats.dicom` for the values of DICOM,
    `pipeline.formats.npy` for the axes of .npy arrays. A file in no known format goes to
    `own_reader`, which gives pixels with their channels first. `fill` stands where a value is nan
    or infinite; without it such an image is refused.

    Raises:
        ImageError: when the file is broken, does not have the dimensions asked for, or would take
            more memory than an image may.
    """
    try:
        image = _stored(path, spatial_dims, own_reader, most_voxels)
    except Exception as error:  # noqa: BLE001 (decoders raise almost anything, see the fuzz test)
        raise ImageError(f"cannot be decoded: {_reason(error, path)}") from None
    shape = image.pixels.shape[1:]
    if len(shape) == spatial_dims + 1 and 1 in shape:
        image = image.without_axis(shape.index(1))  # a volume of a single slice
    elif len(shape) != spatial_dims:
        preset = "mri48" if len(shape) == 3 else "grey64"
        raise ImageError(
            f"has {len(shape)} spatial dimensions (shape {shape}), images.spatial_dims is "
            f"{spatial_dims}; set images={preset}, or your own with "
            f"images.spatial_dims={len(shape)}"
        )
    return _with_channels(_finite(image, fill), num_channels)


def read_as_stored(path: Path, most_voxels: int = MOST_VOXELS) -> StoredImage:
    """The same with the dimensions and channels that the file has, whatever its values.

    An array of NumPy is taken for a picture where it can be one.

    Raises:
        ImageError: when the file is broken, or would take more memory than an image may.
    """
    reason = ""
    for spatial_dims in (2, 3):
        try:
            image = _stored(path, spatial_dims, None, most_voxels)
        except Exception as error:  # noqa: BLE001 (as above)
            reason = reason or _reason(error, path)
            continue
        shape = image.pixels.shape[1:]
        return image.without_axis(shape.index(1)) if len(shape) == 3 and 1 in shape else image
    raise ImageError(f"cannot be decoded: {reason}")


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


def _reason(error: Exception, path: Path) -> str:
    """Without the path, in whose place the caller may know a pseudonym."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "the file is damaged: its header cannot be read"
    line = next(iter(str(error).splitlines()), "")
    if isinstance(error, OSError) and error.strerror:
        line = error.strerror
    for name in (repr(path), repr(str(path)), *[str(path)] * (len(path.parts) > 1)):
        line = line.replace(name, "the file")
    plain = isinstance(error, OSError | ValueError | EOFError) and line
    return line if plain else f"{type(error).__name__} {line}".strip()


def _finite(image: StoredImage, fill: float | None) -> StoredImage:
    finite = np.isfinite(image.pixels)
    if finite.all():
        return image
    share = 1 - float(finite.mean())
    found = f"holds values that are not finite (nan or inf) in {100 * share:.3g} % of its pixels"
    if share == 1:
        raise ImageError(f"{found}: nothing is left")
    if fill is None:
        raise ImageError(
            f"{found}; images.nonfinite=fill sets them to images.fill_value, as a background"
        )
    pixels = np.where(finite, image.pixels, np.float32(fill))
    return image._replace(pixels=pixels, filled=share)


def _with_channels(image: StoredImage, num_channels: int) -> StoredImage:
    array, found = image.pixels, len(image.pixels)
    if found == num_channels:
        return image
    if found == 1 and num_channels == COLOUR_CHANNELS:
        repeated = np.repeat(array, num_channels, axis=0)
        return image._replace(pixels=repeated, is_repeated=True)
    if image.channels == COLOUR and num_channels == 1:
        return image._replace(pixels=_luminance(array))
    wanted = f"images.num_channels is {num_channels}"
    if found == 1:
        raise ImageError(f"has 1 channel, {wanted}; only grey as colour, 3, is repeated")
    meaning = f" ({image.channels})" if image.channels else ""
    allowed = f"set images.num_channels={found}"
    if image.channels == COLOUR:
        allowed += ", or 1 for its luminance"
    else:
        allowed += " to use them all as channels, or store one of them per file"
    raise ImageError(f"has {found} channels{meaning}, {wanted}; {allowed}")


def _luminance(colour: Floats32) -> Floats32:
    if np.array_equal(colour[0], colour[1]) and np.array_equal(colour[0], colour[2]):
        return colour[:1]  # grey that was stored as colour, to the last bit
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    grey: Floats32 = np.tensordot(weights, colour, axes=1)[None]
    return grey
