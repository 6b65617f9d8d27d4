"""The table of image formats. A new one is a line here, and a module with its reader."""

import os
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.arrays import Floats, Floats32


class ImageError(ValueError):
    """Why one image cannot be used; the caller knows whose it is."""


class UnknownFormatError(ImageError):
    """No format knows the content of the file."""


COLOUR = "red, green and blue"


class StoredImage(NamedTuple):
    """What a reader gives."""

    pixels: Floats32
    """(C, H, W) or (C, D, H, W), the values as stored: 0 to 255 for 8 bits."""
    affine: Floats
    """(4, 4) from pixel positions to mm; the identity where the file does not say."""
    bit_depth: int
    """Bits of one stored value: 8, 12, 16, ..."""
    channels: str = ""
    """What the channels are, in words: COLOUR, or the axis of the file that holds them."""
    orientation: str = ""
    """Where the axes of the file point, such as LPS; "" where it does not say."""
    filled: float = 0.0
    """Share of the pixels that were not finite and got images.fill_value."""

    is_repeated: bool = False
    """One grey channel, repeated as colour."""

    has_spacing: bool = False
    """The file says how large its pixels are, though it be 1 mm; an orientation says so too."""

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Distance of neighbouring pixels along each axis in mm; None where nothing says it."""
        says_so = self.has_spacing or self.orientation
        if not says_so and np.array_equal(self.affine, np.eye(4)):
            return None
        sizes = np.linalg.norm(self.affine[:3, : self.pixels.ndim - 1], axis=0)
        return tuple(float(size) for size in sizes)

    def without_axis(self, axis: int) -> "StoredImage":
        """A volume of a single slice along this spatial axis as an image."""
        order = [*(other for other in range(3) if other != axis), axis, 3]
        affine = self.affine[order][:, order]
        return self._replace(pixels=self.pixels.squeeze(axis=1 + axis), affine=affine)


class Claim(NamedTuple):
    """What the header of a file says of its pixels."""

    shape: Sequence[int]
    """All values, channels and frames among them."""
    num_bytes: int = 0
    """What they need in the file; 0 when they are compressed."""


Reader = Callable[[Path, int], StoredImage]


@dataclass(frozen=True)
class Format:
    """One kind of image file."""

    name: str
    suffixes: tuple[str, ...]
    """Lower-case."""
    knows: Callable[[bytes], bool]
    """Is a file that begins with these HEAD bytes of this format?"""
    reader: str
    """module:function of a `Reader`, which takes a path and images.spatial_dims. It is imported
    when the first file is read: a check of a manifest needs no decoder."""
    claim: str
    """module:function that gives the `Claim` of a file's header."""

    has_text_header: bool = False
    """Does it begin with a text that may name another file of pixels?"""

    def read(self, path: Path, spatial_dims: int) -> StoredImage:
        """Decode a file of this format; any exception means that it cannot be decoded."""
        reader: Reader = _named(self.reader)
        return reader(path, spatial_dims)

    def claim_of(self, path: Path) -> Claim:
        """What its header says of its pixels; any exception means that it is damaged."""
        claim: Callable[[Path], Claim] = _named(self.claim)
        return claim(path)


def _named(text: str) -> Any:
    module, function = text.split(":")
    return getattr(import_module(module), function)


HEAD = 2048
"""Bytes at the beginning of a file that tell its format, also when they are compressed."""


def _is_dicom(head: bytes) -> bool:
    """With its mark; or without preamble, when a UID of DICOM follows on the first elements."""
    is_bare = head[:2] in (b"\x02\0", b"\x08\0") and head[3:4] == b"\0"
    return head[128:132] == b"DICM" or (is_bare and b"1.2.840.10008." in head)


def _is_metaimage(head: bytes) -> bool:
    """Lines `key = value` from the first on, one of them the number of axes."""
    return re.match(rb"\s*\w+[ \t]*[=:](.*\n)?[ \t]*NDims[ \t]*[=:]", head, re.DOTALL) is not None


def _is_nrrd(head: bytes) -> bool:
    return re.match(rb"NRRD000\d\r?\n", head) is not None


def unpacked(head: bytes) -> bytes:
    """What a head that may be compressed by gzip begins with; b"" for a damaged one."""
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head)
    except zlib.error:
        return b""


def _is_nifti(head: bytes) -> bool:
    head = unpacked(head)
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


def _begins(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(marks)


_PILLOW = "pipeline.formats.pillow:read_pillow"
_PICTURE = "pipeline.formats.claims:of_picture"
_TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

DICOM = Format(
    "DICOM",
    (".dcm", ".dicom"),
    _is_dicom,
    "pipeline.formats.dicom:read_dicom",
    "pipeline.formats.dicom:claim_of_dicom",
)
FORMATS = (
    Format("PNG", (".png",), _begins(b"\x89PNG\r\n\x1a\n"), _PILLOW, _PICTURE),
    Format("JPEG", (".jpg", ".jpeg"), _begins(b"\xff\xd8\xff"), _PILLOW, _PICTURE),
    Format(
        "TIFF",
        (".tif", ".tiff"),
        _begins(*_TIFF_MARKS),
        "pipeline.formats.tiff:read_tiff",
        "pipeline.formats.claims:of_tiff",
    ),
    Format(
        "NIfTI",
        (".nii", ".nii.gz"),
        _is_nifti,
        "pipeline.formats.nifti:read_nifti",
        "pipeline.formats.claims:of_nifti",
    ),
    DICOM,
    Format(
        "NPY",
        (".npy",),
        _begins(b"\x93NUMPY"),
        "pipeline.formats.npy:read_npy",
        "pipeline.formats.claims:of_npy",
    ),
    Format(
        "MetaImage",
        (".mha", ".mhd"),
        _is_metaimage,
        "pipeline.formats.itk:read_itk",
        "pipeline.formats.itk:claim_of_itk",
        has_text_header=True,
    ),
    Format(
        "NRRD",
        (".nrrd", ".nhdr"),
        _is_nrrd,
        "pipeline.formats.itk:read_itk",
        "pipeline.formats.itk:claim_of_itk",
        has_text_header=True,
    ),
)


def image_suffix(path: Path | str) -> str:
    """The lower-case suffix of a file's name, `.nii.gz` as one."""
    name = os.path.basename(os.fspath(path)).lower()  # noqa: PTH119 (asked of a million names)
    if name.endswith(".nii.gz"):
        return ".nii.gz"
    dot = name.rfind(".")
    return name[dot:] if 0 < dot < len(name) - 1 else ""


def format_of_name(path: Path | str) -> Format | None:
    """The format that a file of this name should have, or None when the name does not say."""
    text = os.fspath(path)
    dot = text.rfind(".")
    if dot > 0 and text[dot - 1] != "/" and (known := _BY_SUFFIX.get(text[dot:])) is not None:
        return known  # of nearly every name, in a fifth of the time
    return _BY_SUFFIX.get(image_suffix(path))


_BY_SUFFIX = {suffix: known for known in FORMATS for suffix in known.suffixes}
