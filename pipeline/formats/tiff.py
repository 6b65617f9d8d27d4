"""TIFF: by Pillow what that keeps whole, by tifffile every other depth, sign and layout."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError

from pipeline.arrays import Floats32
from pipeline.formats.pillow import as_stored, bits_of, page_of
from pipeline.formats.table import ImageError, StoredImage
from pipeline.formats.values import to_float32, turned_around

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what matters is raised

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
_BITS, _PHOTOMETRIC, _SAMPLES, _SAMPLE_FORMAT, _EXTRA = 258, 262, 277, 339, 338
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_UNSPECIFIED = 0
"""What an extra sample is when it is not said to be alpha."""
_ORIENTATION = 274
DEEP = ((_UNSIGNED, 12), (_UNSIGNED, 16), (_SIGNED, 16), (_SIGNED, 32), (_FLOAT, 32))
"""Kinds and bits of grey that Pillow has a mode for."""
MOST_SAMPLES = {RGB: 4, PALETTE: 2, CMYK: 5, YCBCR: 3}
"""With one extra sample, which is taken for alpha; more are channels that must not be lost."""


def read_tiff(path: Path, _: int) -> StoredImage:
    """(C, H, W), or (C, D, H, W) for several pages; the values as stored.

    Depths below 8 bits are spread over 0 to 255, palettes become colours, alpha is left out, and
    where white is zero the values are turned around the range of their depth.
    """
    try:
        with Image.open(path) as image:
            pages, bits = [], _bits_of(image)
            for page in ImageSequence.Iterator(image):
                if not is_kept_whole(page):
                    break
                pages.append(page_of(page))
            else:
                return as_stored(pages, bits)
    except (UnidentifiedImageError, SyntaxError):  # a mode that Pillow does not know
        pass
    return _by_tifffile(path)


def _bits_of(page: Image.Image) -> int:
    stored = page.tag_v2.get(_BITS, (1,))[0]  # type: ignore[attr-defined]
    return int(stored) if stored > 8 else bits_of(page)


def is_kept_whole(page: Image.Image) -> bool:
    """Does Pillow give this page of a TIFF without a loss?"""
    tags: Any = page.tag_v2  # type: ignore[attr-defined]
    photometric, samples = int(tags.get(_PHOTOMETRIC, WHITE_IS_ZERO)), int(tags.get(_SAMPLES, 1))
    kinds = set(zip(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,)), tags.get(_BITS, (1,)), strict=False))
    if len(kinds) > 1 or tags.get(_ORIENTATION, 1) > 4:  # lying on its side: rows get mixed up
        return False
    kind, bits = map(int, kinds.pop())
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO):
        return kind == _UNSIGNED and bits <= 8 and samples <= MOST_SAMPLES.get(photometric, 4)
    if samples == 2:
        return kind == _UNSIGNED and bits == 8 and tags.get(_EXTRA) not in (None, (_UNSPECIFIED,))
    if photometric == BLACK_IS_ZERO and (kind, bits) in DEEP:
        # Of signed and 32-bit values libtiff swaps the bytes once too often.
        return samples == 1 and (kind == _UNSIGNED or bool(tags.prefix == b"II"))
    return kind == _UNSIGNED and bits <= 8 and samples == 1


def _by_tifffile(path: Path) -> StoredImage:
    with tifffile.TiffFile(path) as file:
        try:
            pages = [_page(page.aspage(), path) for page in file.pages]
            bits = file.pages.first.bitspersample
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            raise ImageError(
                f"{error} for this kind of TIFF: pip install 'patientfold[tiff]'"
            ) from None
    channels = "the samples of its pixels" if len(pages[0]) > 1 else ""
    is_colour = file.pages.first.photometric in (RGB, CMYK) and len(pages[0]) == 3
    return as_stored(pages, int(bits), "" if is_colour else channels)


def _page(page: tifffile.TiffPage, path: Path) -> Floats32:
    """(C, H, W)"""
    end = path.stat().st_size
    for start, size in zip(page.dataoffsets, page.databytecounts, strict=True):
        if size == 0 or start + size > end:  # tifffile gives zeros for what is not there
            raise ImageError("is cut short: a part of its pixels lies beyond its end")
    if not isinstance(page.bitspersample, int) or page.axes not in ("YX", "YXS", "SYX"):
        raise ImageError(f"has pixels of {page.bitspersample} bits with the axes {page.axes}")
    array = page.asarray()
    if page.axes != "SYX":
        array = array[None] if page.axes == "YX" else np.moveaxis(array, -1, 0)
    tag = page.tags.get(_ORIENTATION)
    return _upright(to_float32(_grey_or_colour(array, page)), 1 if tag is None else int(tag.value))


def _grey_or_colour(array: NDArray[Any], page: tifffile.TiffPage) -> NDArray[Any]:
    """(S, H, W) samples as channels: white is most, CMYK becomes RGB, alpha is left out."""
    photometric = int(page.photometric)
    if page.extrasamples and (page.extrasamples[0] != _UNSPECIFIED or photometric == RGB):
        # What is one sample more than a colour has is alpha, as Pillow takes it.
        array = array[: len(array) - 1] if len(page.extrasamples) == 1 else array
    if photometric in (BLACK_IS_ZERO, RGB):
        return array
    if photometric == WHITE_IS_ZERO:
        return turned_around(array, page.bitspersample)
    if photometric == CMYK and array.dtype.kind == "u" and len(array) == 4:
        most = 2.0**page.bitspersample - 1
        return (most - array[:3]) * (most - array[3:]) / most
    name = getattr(page.photometric, "name", photometric)
    raise ImageError(f"holds {page.bitspersample}-bit pixels of the kind {name}, which is not read")


def _upright(array: Floats32, orientation: int) -> Floats32:
    """(C, H, W) turned and mirrored as the file's orientation tag says."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(1, 2)
    if orientation in (3, 4, 7, 8):
        array = array[:, ::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, :, ::-1]
    return np.ascontiguousarray(array)
