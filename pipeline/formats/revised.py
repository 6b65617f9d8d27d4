"""Files that were read otherwise before: their old caches must not be opened."""

import struct
from pathlib import Path

from pipeline.formats.table import HEAD, unpacked


def is_revised(path: Path) -> bool:
    """Would the reader of READER_VERSION 3 have given other pixels than today's?

    It cut 16 bits of colour, mixed up unusual TIFFs, and took three volumes or the three channels
    of an array for a colour. A file that it refused has no old cache.
    """
    if path.is_dir():  # a DICOM series
        return False
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:  # folder#UID
        return False
    if head.startswith(b"\x89PNG"):
        return head[24:26] in (b"\x10\x02", b"\x10\x04", b"\x10\x06")  # 16 bits, several channels
    if head.startswith((b"II", b"MM")):
        return _is_unusual_tiff(path)
    if head.startswith(b"\x93NUMPY"):
        return b", 3)" in head[:256]
    return _has_more_than_three_axes(unpacked(head))


def _is_unusual_tiff(path: Path) -> bool:
    from PIL import Image

    from pipeline.formats.tiff import is_kept_whole

    try:
        with Image.open(path) as image:
            return not is_kept_whole(image)
    except Exception:  # noqa: BLE001 (Pillow raises almost anything; such a file was refused)
        return False


def _has_more_than_three_axes(head: bytes) -> bool:
    """Of a NIfTI volume, in either byte order."""
    if head[344:348] == b"n+1\0":
        return head[40] > 3 if head[41] == 0 else head[41] > 3
    if head[4:8] == b"n+2\0":
        number, *_ = struct.unpack(
            "<q" if head[:4] == struct.pack("<i", 540) else ">q", head[16:24]
        )
        return int(number) > 3
    return False
