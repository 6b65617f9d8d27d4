"""What the headers of pictures, NIfTI volumes and .npy arrays claim; no pixel is decoded."""

import gzip
import math
import struct
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np
from nibabel.spatialimages import SpatialHeader
from PIL import Image

from pipeline.formats.limits import inflated
from pipeline.formats.table import Claim, ImageError

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, which images.most_voxels replaces
MOST_PAGES = 20_000
NIFTI_1, NIFTI_2 = 348, 540
"""Bytes of the headers."""
_SIZES = {256: 0, 257: 1, 277: 2}
"""ImageWidth, ImageLength, SamplesPerPixel -> place in a page's shape."""


def of_picture(path: Path) -> Claim:
    """PNG and JPEG."""
    with Image.open(path) as image:
        return Claim((image.height, image.width, len(image.getbands())))


def of_tiff(path: Path) -> Claim:
    """All pages together: they are counted before the first is decoded."""
    try:
        with path.open("rb") as file:
            pages = _tiff_pages(file)
    except struct.error:
        raise ImageError("the list of its pages is cut short") from None
    if not pages:
        raise ImageError("has no pages")
    if len(set(pages)) == 1:
        return Claim((len(pages), *pages[0]))
    return Claim((sum(map(math.prod, pages)),))


def _tiff_pages(file: BinaryIO) -> list[tuple[int, int, int]]:
    """(width, height, samples) of each page of a classic or a big TIFF."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    is_big = 43 in head[2:4]
    word, entry, start = ("Q", "HHQ8s", 8) if is_big else ("L", "HHL4s", 4)
    count = struct.Struct(order + ("Q" if is_big else "H"))
    (offset,) = struct.unpack_from(order + word, head, start)
    pages: list[tuple[int, int, int]] = []
    seen: set[int] = set()
    while offset:
        if offset in seen or len(pages) == MOST_PAGES:
            raise ImageError(f"its pages run in a circle, or are more than {MOST_PAGES:,}")
        seen.add(offset)
        file.seek(offset)
        (num_entries,) = count.unpack(file.read(count.size))
        page = [0, 0, 1]
        size = struct.calcsize(order + entry)
        data = file.read(min(num_entries, 65_535) * size)
        for tag, kind, _, value in struct.iter_unpack(order + entry, data):
            if tag in _SIZES:
                form = {3: "H", 4: "L", 16: "Q"}.get(kind, "B")
                page[_SIZES[tag]] = struct.unpack_from(order + form, value)[0]
        pages.append((page[0], page[1], page[2]))
        (offset,) = struct.unpack(order + word, file.read(struct.calcsize(order + word)))
    return pages


def of_nifti(path: Path) -> Claim:
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        unpacked = gzip.GzipFile(fileobj=file) if is_packed else file
        header = _nifti_header(unpacked.read(NIFTI_2))
    return Claim(_nifti_shape(header), 0 if is_packed else _nifti_bytes(header))


def nifti_bytes(path: Path) -> bytes:
    """A NIfTI file, unpacked, as far as its header says; a gzip file up to its checksum."""
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not is_packed:
            start = file.read(NIFTI_2)
            return start + file.read(max(0, _nifti_bytes(_nifti_header(start)) - len(start)))
        header = _nifti_header(gzip.GzipFile(fileobj=file).read(NIFTI_2))
        file.seek(0)
        return b"".join(inflated(file, 31, _nifti_bytes(header) + 2**20))


def _nifti_header(start: bytes) -> SpatialHeader:
    kind, size = nibabel.Nifti1Header, NIFTI_1
    if start[4:8] == b"n+2\0":
        kind, size = nibabel.Nifti2Header, NIFTI_2
    if len(start) < size:
        raise EOFError("the header is cut short")
    return kind(start[:size], check=False)


def _nifti_shape(header: SpatialHeader) -> tuple[int, ...]:
    num_axes = int(header["dim"][0])
    if not 1 <= num_axes <= 7:
        raise ImageError(f"its header claims {num_axes} axes")
    return tuple(int(length) for length in header["dim"][1 : 1 + num_axes])


def _nifti_bytes(header: SpatialHeader) -> int:
    shape = _nifti_shape(header)
    if min(shape) < 0:
        raise ImageError(f"its header claims the shape {shape}")
    start = float(header["vox_offset"])
    if not 0 <= start < 2**40:
        raise ImageError(f"its header claims that the pixels begin at byte {start:g}")
    return int(start) + math.prod(shape) * int(header.get_data_dtype().itemsize)


def of_npy(path: Path) -> Claim:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version, np.lib.format.read_array_header_2_0)
        shape, _, dtype = read(file)
        start = file.tell()
    size = 0 if dtype.hasobject else start + math.prod(shape) * dtype.itemsize
    return Claim(shape, size)
