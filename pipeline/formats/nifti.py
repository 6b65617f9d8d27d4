"""NIfTI volumes, plain or compressed by gzip."""

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

from pipeline.arrays import Floats, Floats32
from pipeline.formats.claims import nifti_bytes
from pipeline.formats.table import COLOUR, ImageError, StoredImage
from pipeline.formats.values import to_float32

AXES = ("x", "y", "z", "time", "vector", "6th", "7th")
MEANINGS = {3: "its 4th axis: time points or sequences", 4: "its 5th axis: a vector per voxel"}


def read_nifti(path: Path, _: int) -> StoredImage:
    """(C, X, Y, Z), or (C, X, Y) for a flat file, in the closest canonical (RAS) axes.

    The channels are those of an RGB voxel (alpha is left out), or the one axis after the third
    that is longer than 1.
    """
    data = nifti_bytes(path)
    kind = nibabel.Nifti2Image if data[4:8] == b"n+2\0" else nibabel.Nifti1Image
    stored = kind.from_bytes(data)
    dtype, channels = stored.get_data_dtype(), _meaning(stored.shape)
    orientation = "".join(code or "?" for code in nibabel.aff2axcodes(stored.affine))
    if dtype.names is not None:
        if channels:
            raise ImageError(f"holds several colour images ({channels}); store one per file")
        channels = COLOUR
    bits = 8 if channels == COLOUR else dtype.itemsize * 8
    is_plain = dtype.kind == "f" or (dtype.kind in "iu" and bits <= 16)
    is_plain &= len(stored.shape) in (3, 4)
    array, affine = canonical(stored if is_plain else _plain(stored))
    image = StoredImage(array, affine, bits, channels, orientation)
    if len(stored.shape) > 2:
        return image
    return image.without_axis(int(nibabel.io_orientation(stored.affine)[2, 0]))


def _meaning(shape: Sequence[int]) -> str:
    """What the axis after the third that is longer than 1 holds; "" where there is none."""
    beyond = [axis for axis in range(3, len(shape)) if shape[axis] > 1]
    if len(beyond) > 1:
        sizes = ", ".join(f"{name} {size}" for name, size in zip(AXES, shape, strict=False))
        raise ImageError(f"has the axes {sizes}; only one beyond z may be longer than 1")
    return MEANINGS.get(beyond[0], f"its axis {beyond[0] + 1}") if beyond else ""


def _plain(stored: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    """The same with (X, Y, Z) or (X, Y, Z, C) plain numbers, whatever its axes and voxels were."""
    values = np.asanyarray(stored.dataobj)
    if values.dtype.names is not None:
        values = np.stack([values[name] for name in values.dtype.names[:3]], axis=-1)
        values = values.reshape(*(*stored.shape, 1)[:3], 3)
    elif values.ndim == 2:
        values = values[..., None]
    elif values.ndim > 4:
        values = values.reshape(*values.shape[:3], -1)
    return nibabel.Nifti1Image(to_float32(values), stored.affine)


def canonical(image: nibabel.Nifti1Image) -> tuple[Floats32, Floats]:
    """(X, Y), (X, Y, Z) or (X, Y, Z, C) turned to the closest RAS axes, channels first; affine."""
    turned = nibabel.as_closest_canonical(image)
    array = np.asarray(turned.dataobj, dtype=np.float32)
    array = np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]
    return array, np.asarray(turned.affine, dtype=np.float64)
