"""Decode one image, a file or a DICOM series, to an array. Imports neither torch nor monai."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageSequence

from pipeline.images.dicom import read_dicom, read_series
from pipeline.manifest.files import DICOM_SUFFIXES, image_suffix, series_parts

EIGHT_BIT_MODES = {"L": "L", "1": "L", "RGB": "RGB", "P": "RGB", "RGBA": "RGB", "CMYK": "RGB",
                   "LA": "L", "YCbCr": "RGB", "PA": "RGB"}  # fmt: skip
HIGH_BIT_MODES = ("I", "F")
MOST_NPY_CHANNELS = 4


class ImageError(ValueError):
    """Why one image cannot be used; the caller knows whose it is."""


def read_image(
    path: Path, spatial_dims: int, num_channels: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Decode a file to `(C, H, W)` or `(C, D, H, W)` float32 and its (4, 4) affine in mm.

    Values stay as stored (0 to 255 for 8 bit). Grey becomes RGB by repetition, RGB becomes grey by
    luminance (ITU-R 601-2). NIfTI volumes and DICOM series are turned to the closest canonical
    (RAS) axes; see `pipeline.images.dicom` for the values of DICOM. A .npy array is (H, W),
    (H, W, C <= 4) or (D, H, W), and 4D (D, H, W, C <= 4); see `_read_npy`.

    Raises:
        ImageError: when the file is broken or does not have the dimensions asked for.
    """
    try:
        array, affine = _read_any(path, spatial_dims)
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
    return _with_channels(array, num_channels), affine


def _read_any(path: Path, spatial_dims: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    suffix = image_suffix(path)
    if suffix in (".nii", ".nii.gz"):
        return _read_nifti(path)
    if suffix in DICOM_SUFFIXES:
        return read_dicom(path)
    if suffix == ".npy":
        return _read_npy(path, spatial_dims), np.eye(4)
    if (series := series_parts(path)) is not None:
        return read_series(*series)
    return _read_pillow(path), np.eye(4)


def _read_npy(path: Path, spatial_dims: int) -> NDArray[np.float32]:
    """(H, W), (H, W, C) or (D, H, W), (D, H, W, C) with C <= 4 last; never channel-first.

    images.spatial_dims says what the last axis of three is: channels for 2, columns for 3.
    """
    stored = np.load(path, allow_pickle=False)
    if not isinstance(stored, np.ndarray) or stored.dtype.kind not in "biuf":
        raise ValueError(f"holds {getattr(stored, 'dtype', 'no array')}, which is no grey value")
    if 0 in stored.shape:
        raise ValueError(f"holds an empty array of shape {stored.shape}")
    array = stored.astype(np.float32)
    if array.ndim == spatial_dims:
        return array[None]
    if array.ndim == spatial_dims + 1 and array.shape[-1] <= MOST_NPY_CHANNELS:
        return np.moveaxis(array, -1, 0)
    allowed = "(H, W) or (H, W, C)" if spatial_dims == 2 else "(D, H, W) or (D, H, W, C)"
    raise ValueError(
        f"holds an array of shape {stored.shape}; with images.spatial_dims={spatial_dims} it must "
        f"be {allowed} with C <= {MOST_NPY_CHANNELS}"
    )


def _reason(error: Exception) -> str:
    line = next(iter(str(error).splitlines()), "")
    plain = isinstance(error, OSError | ValueError | EOFError) and line
    return line if plain else f"{type(error).__name__} {line}".strip()


def _read_pillow(path: Path) -> NDArray[np.float32]:
    """(C, H, W), or (C, D, H, W) for a file of several pages."""
    with Image.open(path) as image:
        # The further frames of a camera's JPEG or an animated PNG are no volume.
        frames = ImageSequence.Iterator(image) if image.format == "TIFF" else [image]
        pages = [_page(frame) for frame in frames]
    if len({page.shape for page in pages}) > 1:
        raise ImageError("has pages of different shapes")
    return pages[0] if len(pages) == 1 else np.stack(pages, axis=1)


def _page(image: Image.Image) -> NDArray[np.float32]:
    """(C, H, W)"""
    upright = ImageOps.exif_transpose(image)
    mode = EIGHT_BIT_MODES.get(upright.mode)
    if mode is None and not upright.mode.startswith(HIGH_BIT_MODES):
        raise ImageError(f"has the colour model {upright.mode}, which is neither grey nor RGB")
    array = np.asarray(upright.convert(mode) if mode else upright, dtype=np.float32)
    return array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)


def _read_nifti(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """(C, X, Y, Z), or (C, X, Y) for a flat file."""
    image = nibabel.as_closest_canonical(_open_nifti(path))
    array = np.asarray(image.dataobj, dtype=np.float32)
    array = np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]
    return array, np.asarray(image.affine, dtype=np.float64)


def _open_nifti(path: Path) -> nibabel.Nifti1Pair:
    """nibabel alone stops before a gzip file's checksum, so that flipped bits become pixels."""
    if image_suffix(path) == ".nii":
        return nibabel.load(path)
    data = gzip.decompress(path.read_bytes())
    kind = nibabel.Nifti2Image if data[4:8] == b"n+2\0" else nibabel.Nifti1Image
    return kind.from_bytes(data)


def _with_channels(array: NDArray[np.float32], num_channels: int) -> NDArray[np.float32]:
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
