"""What an image file says of itself, without its pixels."""

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image
from pydicom import dcmread

from pipeline.manifest.files import DICOM_SUFFIXES, image_suffix, series_files, series_parts

_BITS_OF_MODE = {"1": 1, "I": 32, "F": 32}


def bit_depth(path: Path) -> int:
    """Bits of a stored value (of one channel): 8, 12, 16, ...; of a series: of its first file.

    The file is one that `read_image` could read.
    """
    if (series := series_parts(path)) is not None:
        path = series_files(*series)[0]
    suffix = image_suffix(path)
    if suffix in (".nii", ".nii.gz"):
        return int(nibabel.load(path).get_data_dtype().itemsize * 8)
    if suffix in DICOM_SUFFIXES or series is not None:
        return int(dcmread(path, stop_before_pixels=True).get("BitsStored", 8))
    if suffix == ".npy":
        return int(np.load(path, mmap_mode="r").dtype.itemsize * 8)
    with Image.open(path) as image:
        if image.mode.startswith("I;16"):
            return 16
        return _BITS_OF_MODE.get(image.mode, 8)
