"""One DICOM file without its pixels: whose it is, and whether it is whole."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pipeline.formats import DICOM

if TYPE_CHECKING:
    from pydicom import FileDataset

TAGS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "Modality")
PIXEL_TAGS = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated")
"""Without these nobody can read pixels."""
PIXEL_MARKS = tuple(
    struct.pack(f"{order}HH", 0x7FE0, element) for order in "<>" for element in (8, 9, 16)
)
"""How (Double) (Float) Pixel Data begins."""
UNKNOWN_LENGTH = 0xFFFFFFFF


@dataclass(frozen=True)
class DicomHeader:
    """What the series of a folder are made of."""

    path: str
    tags: tuple[str, ...] = ()
    """In the order of TAGS; empty when it is not a DICOM file."""
    kind: str = ""
    """What it is instead of an image."""
    problem: str = ""


def read_header(path: Path, name: str) -> DicomHeader:
    """The ids of a file, called `name`; what else it is; or why it is damaged."""
    try:
        with path.open("rb") as file:
            head = file.read(1024)
            file.seek(0)
            if path.name.upper() == "DICOMDIR":
                return DicomHeader(name, kind="DICOMDIR")
            has_mark = DICOM.knows(head)
            is_bare = head[:2] in (b"\x02\0", b"\x08\0") and b"1.2.840.10008." in head
            if has_mark or is_bare:
                found = _read_dicom(file, name)
                if has_mark or found.kind:
                    return found
    except Exception as error:  # noqa: BLE001 (pydicom raises almost anything)
        return DicomHeader(name, problem=f"cannot be read as DICOM: {error}")
    if is_bare or path.suffix.lower() in DICOM.suffixes:
        start = f"begins with {head[:8]!r}" if head else "is empty"
        return DicomHeader(name, problem=f"has no DICOM mark (DICM at byte 128); it {start}")
    return DicomHeader(name, kind="not DICOM")


def _read_dicom(file: BinaryIO, name: str) -> DicomHeader:
    from pydicom import dcmread
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    wanted = ["SOPClassUID", "NumberOfFrames", *PIXEL_TAGS, *TAGS]
    data = dcmread(file, stop_before_pixels=True, force=True, specific_tags=wanted)
    tags = tuple(str(data.get(tag, "") or "").strip() for tag in TAGS)
    if data.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        has_pixels, problem = "Rows" in data, ""  # a file cut short could not be unpacked
    else:
        start = file.read(12)  # the reader stopped before the pixels, or at the end
        has_pixels = start[:4] in PIXEL_MARKS
        problem = _lost_pixels(file, data, start) if has_pixels else ""
    return (
        DicomHeader(name, tags, problem=problem)
        if has_pixels
        else _without_pixels(name, tags, data)
    )


def _lost_pixels(file: BinaryIO, data: FileDataset, start: bytes) -> str:
    """Why the pixels that begin with these 12 bytes are not all there, or nothing."""
    from pydicom.pixels.utils import get_expected_length
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if missing := [tag for tag in PIXEL_TAGS if data.get(tag) is None]:
        return f"its header lacks {', '.join(missing)}"
    is_explicit = start[4:6] in (b"OB", b"OW", b"OF", b"OD", b"UN")  # no even length reads so
    order = "<" if start[0] == 0xE0 else ">"
    (length,) = struct.unpack(f"{order}L", start[8:12] if is_explicit else start[4:8])
    file.seek((12 if is_explicit else 8) - len(start), os.SEEK_CUR)
    if length == UNKNOWN_LENGTH:
        return "" if _ends(file) else "its compressed pixels are cut short"
    found = min(length, os.fstat(file.fileno()).st_size - file.tell())
    plain = (ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    is_plain = data.file_meta.get("TransferSyntaxUID") in plain
    expected = get_expected_length(data) if is_plain else length
    return "" if found >= expected else f"has {found} of {expected} bytes of its pixels"


def _ends(file: BinaryIO) -> bool:
    """Whether the fragments of compressed pixels, each with its length, reach their end mark."""
    while len(header := file.read(8)) == 8:
        group, element, length = struct.unpack("<HHL", header)
        if (group, element) != (0xFFFE, 0xE000):
            return (group, element) == (0xFFFE, 0xE0DD)
        file.seek(length, os.SEEK_CUR)
    return False


def _without_pixels(name: str, tags: tuple[str, ...], data: FileDataset) -> DicomHeader:
    """A report, a plan, ... by its class; else an image that has lost its pixels."""
    from pydicom.uid import UID

    uid = UID(data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID") or "")
    is_known = uid.name != str(uid)
    kind = uid.name.removesuffix(" Storage")
    if "Image Storage" in uid.name or ("Rows" in data and "Spectroscopy" not in uid.name):
        return DicomHeader(name, tags, problem=f"is a {kind} without pixels")
    if is_known or (uid.is_private and tags[2]):
        return DicomHeader(name, tags, kind if is_known else f"of private class {uid}")
    return DicomHeader(name, tags, problem="has no pixels, and does not say what else it is")
