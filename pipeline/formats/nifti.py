"""NIfTI volumes, plain or compressed by gzip."""

from pathlib import Path

import nibabel
import numpy as np

from pipeline.arrays import Floats, Floats32
from pipeline.formats.claims import nifti_bytes
from pipeline.formats.table import StoredImage


def read_nifti(path: Path, _: int) -> StoredImage:
    """(C, X, Y, Z), or (C, X, Y) for a flat file, in the closest canonical (RAS) axes."""
    data = nifti_bytes(path)
    kind = nibabel.Nifti2Image if data[4:8] == b"n+2\0" else nibabel.Nifti1Image
    stored = kind.from_bytes(data)
    return StoredImage(*canonical(stored), int(stored.get_data_dtype().itemsize * 8))


def canonical(image: nibabel.Nifti1Image) -> tuple[Floats32, Floats]:
    """(X, Y), (X, Y, Z) or (X, Y, Z, C) turned to the closest RAS axes, channels first; affine."""
    turned = nibabel.as_closest_canonical(image)
    array = np.asarray(turned.dataobj, dtype=np.float32)
    array = np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]
    return array, np.asarray(turned.affine, dtype=np.float64)
