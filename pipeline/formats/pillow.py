"""PNG, JPEG, and the pages of a TIFF that Pillow keeps whole."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pipeline.arrays import Floats32
from pipeline.formats.table import COLOUR, ImageError, StoredImage
from pipeline.formats.values import to_float32

_BITS_OF_MODE = {"1": 1, "I": 32, "F": 32}
_HIGH = ";16B"
"""Ends what Pillow calls the pixels of a PNG with several channels of 16 bits."""


def read_pillow(path: Path, _: int) -> StoredImage:
    """(C, H, W). 1, 2 and 4 bits are spread over 0 to 255, as for the screen."""
    with Image.open(path) as image:
        raw_mode = str(image.tile[0].args) if image.format == "PNG" else ""
        if image.mode in ("RGB", "RGBA") and raw_mode.endswith(_HIGH):
            return as_stored([_sixteen_bits(path, raw_mode)], 16)
        # The further frames of a camera's JPEG or an animated PNG are not a volume.
        return as_stored([page_of(image)], bits_of(image))


def bits_of(image: Image.Image) -> int:
    """Bits of one stored value."""
    return 16 if image.mode.startswith("I;16") else _BITS_OF_MODE.get(image.mode, 8)


def as_stored(pages: Sequence[Floats32], bits: int, channels: str = "") -> StoredImage:
    """(C, H, W) pages as an image, or, when there are several, as a volume (C, D, H, W)."""
    if len({page.shape for page in pages}) > 1:
        raise ImageError("has pages of different shapes")
    array = pages[0] if len(pages) == 1 else np.stack(pages, axis=1)
    return StoredImage(array, np.eye(4), bits, channels or COLOUR * (len(array) == 3))


def page_of(image: Image.Image) -> Floats32:
    """(C, H, W) as it stands upright, with 1 channel or 3; alpha is left out."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("L", "1", "LA"):
        upright = upright.convert("L")
    elif upright.mode in ("RGB", "P", "RGBA", "CMYK", "YCbCr", "PA"):
        upright = upright.convert("RGB")
    elif not upright.mode.startswith(("I", "F")):
        raise ImageError(f"has the colour model {upright.mode}, which is neither grey nor RGB")
    array = to_float32(np.asarray(upright))
    return array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)


def _sixteen_bits(path: Path, raw_mode: str) -> Floats32:
    """(C, H, W) of a PNG with 16 bits in each of several channels, of which Pillow keeps 8.

    Its decoder is told that the pixels are something else of the same size, so that it gives the
    other bytes as well: of grey with alpha all four as if they were RGBA; of colour once the high
    bytes, and once, as if they were stored the other way round, the low ones.
    """
    if raw_mode == "LA" + _HIGH:
        both = _page_as(path, "RGBA")
        high, low = both[:1], both[1:2]
    else:
        high, low = (_page_as(path, raw_mode.replace("16B", end))[:3] for end in ("16B", "16L"))
    whole: Floats32 = high * 256 + low
    return whole


def _page_as(path: Path, raw_mode: str) -> Floats32:
    """(C, H, W) with alpha, decoded as if the file's pixels were of this raw mode."""
    with Image.open(path) as image:
        image.tile = [image.tile[0]._replace(args=raw_mode)]
        pixels = np.asarray(ImageOps.exif_transpose(image), dtype=np.float32)
    channels_first: Floats32 = np.moveaxis(pixels, -1, 0)
    return channels_first
