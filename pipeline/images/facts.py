"""What is kept of a decoded image for audits: a digest of its pixels and small pictures of it."""

import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.arrays import Floats32

THUMBNAIL_SIZE = 64


def pixel_digest(array: Floats32) -> str:
    """SHA-256 of decoded pixels and their shape: equal for lossless copies in other formats."""
    header = "x".join(map(str, array.shape)).encode()
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()


def num_thumbnails(spatial_dims: int) -> int:
    """One of a picture, three of a volume."""
    return 1 if spatial_dims == 2 else 3


def thumbnails(array: Floats32) -> NDArray[np.uint8]:
    """(P, 64, 64) grey pictures of an image (C, H, W), P = 1, or a volume (C, D, H, W), P = 3.

    A volume's are its mean projections along D, H and W. Each is stretched to a square and to the
    values 0 to 255; one without any contrast is all 0.
    """
    grey = array.mean(axis=0)
    planes = [grey] if grey.ndim == 2 else [grey.mean(axis=axis) for axis in range(3)]
    return np.stack([_thumbnail(plane) for plane in planes])


def _thumbnail(plane: Floats32) -> NDArray[np.uint8]:
    low, high = float(plane.min()), float(plane.max())
    # What is left of a mean's rounding is no contrast.
    blank = np.zeros((THUMBNAIL_SIZE, THUMBNAIL_SIZE), dtype=np.uint8)
    if high - low <= 1e-5 * max(abs(low), abs(high)):
        return blank
    scaled = Image.fromarray(np.ascontiguousarray((plane - low) / (high - low), dtype=np.float32))
    small = np.asarray(scaled.resize((THUMBNAIL_SIZE,) * 2, Image.Resampling.BILINEAR))
    low, high = float(small.min()), float(small.max())
    return np.round((small - low) / (high - low) * 255).astype(np.uint8) if high > low else blank
