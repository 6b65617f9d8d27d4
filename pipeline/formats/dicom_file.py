"""DICOM files opened: without preamble or meta header too, and unpacked within limits."""

import itertools
import logging
import zlib
from collections import deque
from collections.abc import Sequence
from typing import BinaryIO

from pydicom import FileDataset, config
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pipeline.formats.limits import inflated
from pipeline.formats.table import HEAD, ImageError

# What is wrong with a file is said once, by us.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
config.settings.reading_validation_mode = config.IGNORE
MOST_ELEMENTS = 20_000
"""Of a data set; real ones have some hundreds."""
DEFLATED_BYTES, DEFLATED_RATIO = 2**24, 20
"""What a deflated data set may unpack to: so much, or so many times its size."""
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)


def open_dicom(
    file: BinaryIO, stop_before_pixels: bool = False, specific_tags: Sequence[str] = ()
) -> FileDataset:
    """The data set of a file that `DICOM.knows`; the file stands where the reader left it.

    Where the file does not say its transfer syntax, it is the one that it was read with.

    Raises:
        ImageError: when it holds more than its size allows.
    """
    _check_deflated(file)
    file.seek(0)
    count = itertools.count()

    def stop(tag: BaseTag, *_: object) -> bool:
        if next(count) > MOST_ELEMENTS:
            raise ImageError(f"holds more than {MOST_ELEMENTS:,} elements")
        return stop_before_pixels and tag in PIXELS

    tags: list[BaseTag | int] = [Tag(name) for name in specific_tags]
    data = read_partial(file, stop, force=True, specific_tags=tags or None)
    if not data.file_meta.get("TransferSyntaxUID"):
        is_implicit, is_little = data.original_encoding
        explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    return data


def _check_deflated(file: BinaryIO) -> None:
    """A file whose data set is deflated is unpacked as a whole before anything of it is known."""
    head = file.read(HEAD)
    if DeflatedExplicitVRLittleEndian.encode() not in head:
        return
    if head[132:136] != b"\2\0\0\0":
        raise ImageError("its meta header does not say how long it is")
    start = 144 + int.from_bytes(head[140:144], "little")
    size = file.seek(0, 2)
    file.seek(start)
    most = max(DEFLATED_BYTES, DEFLATED_RATIO * size)
    deque(inflated(file, -zlib.MAX_WBITS, most), maxlen=0)
