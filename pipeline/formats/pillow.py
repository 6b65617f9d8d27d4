"""The formats that Pillow decodes: PNG, JPEG and TIFF."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from pipeline.arrays import Floats32
from pipeline.formats.table import ImageError, StoredImage

_BITS_OF_MODE = {"1": 1, "I": 32, "F": 32}


def read_pillow(path: Path, _: int) -> StoredImage:
    """(C, H, W), or (C, D, H, W) for a TIFF of several pages."""
    with Image.open(path) as image:
        bits = 16 if image.mode.startswith("I;16") else _BITS_OF_MODE.get(image.mode, 8)
        # The further frames of a camera's JPEG or an animated PNG are not a volume.
        frames = ImageSequence.Iterator(image) if image.format == "TIFF" else [image]
        pages = [_page(frame) for frame in frames]
    if len({page.shape for page in pages}) > 1:
        raise ImageError("has pages of different shapes")
    array = pages[0] if len(pages) == 1 else np.stack(pages, axis=1)
    return StoredImage(array, np.eye(4), bits)


def _page(image: Image.Image) -> Floats32:
    """(C, H, W)"""
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("L", "1", "LA"):
        upright = upright.convert("L")
    elif upright.mode in ("RGB", "P", "RGBA", "CMYK", "YCbCr", "PA"):
        upright = upright.convert("RGB")
    elif not upright.mode.startswith(("I", "F")):
        raise ImageError(f"has the colour model {upright.mode}, which is neither grey nor RGB")
    array = np.asarray(upright, dtype=np.float32)
    return array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
