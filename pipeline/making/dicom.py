"""A folder of DICOM files: the ids in each header, whether each is whole, a row per series."""

from __future__ import annotations

import os
import struct
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from pipeline.errors import UserError
from pipeline.formats import DICOM, ImageError
from pipeline.formats.limits import check_kind
from pipeline.formats.table import HEAD
from pipeline.making.label_table import Row
from pipeline.words import counted, lines_and_more, listed

if TYPE_CHECKING:
    from pydicom import FileDataset

PROBLEMS_SHOWN = 10
TAGS = (
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyDate",
    "Modality",
    "SeriesDescription",
)
PIXEL_TAGS = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated")
"""Without these nobody can read pixels."""
PIXEL_MARKS = [struct.pack(f"{order}HH", 0x7FE0, number) for order in "<>" for number in (8, 9, 16)]
"""How (Double) (Float) Pixel Data begins."""
UNKNOWN_LENGTH = 0xFFFFFFFF


@dataclass(frozen=True)
class DicomHeader:
    """What the series of a folder are made of."""

    path: str
    tags: Row = field(default_factory=dict)
    """Empty when it is not a DICOM file."""
    kind: str = ""
    """What it is instead of an image."""
    problem: str = ""

    @property
    def folder(self) -> str:
        return str(PurePosixPath(self.path).parent)


def rows_of_dicom(
    root: Path, paths: list[str], skip_damaged: bool
) -> tuple[list[Row], dict[str, str], list[str]]:
    """A row for every series of images; what kind of file each of the others is; what is skipped.

    A damaged file is an error, or is skipped together with its series: a volume without one of
    its slices is another volume.

    `image_path` is the file of a series of one file, the folder of a series that has it for
    itself, and else `folder#SeriesInstanceUID`. StudyDate becomes YYYY-MM-DD.
    """
    with ThreadPoolExecutor() as pool:
        files = list(pool.map(lambda path: _read_header(root / path, path), paths))
    damaged = [file for file in files if file.problem]
    if not skip_damaged:
        number = counted(len(damaged), "damaged file")
        advice = f"restore from the archive, or remove from {root}"
        _refuse(f"{number}; {advice}", [f"{file.path}: {file.problem}" for file in damaged])
    images = [file for file in files if not file.kind and not file.problem]
    if not images:
        number = counted(len(paths), "file")
        raise UserError(f"root: {root} holds no DICOM file with pixels among {number}")
    _refuse(
        "without these ids nobody knows whose images they are; restore them from the archive, or "
        "use source=table with a table of ids",
        list(_blank_ids(images)),
    )
    series: dict[str, list[DicomHeader]] = defaultdict(list)
    for file in images:
        series[file.tags["SeriesInstanceUID"]].append(file)
    _refuse("series are mixed up", list(_mixed_up(series)))
    series_in: dict[str, set[str]] = defaultdict(set)
    for file in files:
        if file.tags:
            series_in[file.folder].add(file.tags["SeriesInstanceUID"])
    rows, skipped = [], [f"{file.path}: {file.problem}" for file in damaged]
    for uid, members in series.items():
        first, date = members[0], members[0].tags["StudyDate"]
        row = first.tags | {"num_files": str(len(members))}
        if len(date) == 8 and date.isdigit():
            row["StudyDate"] = f"{date[:4]}-{date[4:6]}-{date[6:]}"
        shared = len(series_in[first.folder]) > 1 or first.folder == "."
        row["image_path"] = f"{first.folder}#{uid}" if shared else first.folder
        if len(members) == 1 and Path(first.path).suffix.lower() in DICOM.suffixes:
            row["image_path"] = first.path
        if _lost_a_file(row["image_path"] == first.path, members, damaged):
            skipped.append(f"series {uid} ({row['image_path']}), which such a file belongs to")
        else:
            rows.append(row)
    if not rows:
        raise UserError("\n".join(["source=dicom: every series is damaged", *skipped[:10]]))
    return rows, {file.path: file.kind for file in files if file.kind}, skipped


def _lost_a_file(is_one_file: bool, members: list[DicomHeader], damaged: list[DicomHeader]) -> bool:
    """Does a damaged file belong to this series? One that does not say so may, in its folder."""
    uid, folder = members[0].tags["SeriesInstanceUID"], members[0].folder
    for file in damaged:
        known = file.tags.get("SeriesInstanceUID")
        if known == uid or (not known and file.folder == folder and not is_one_file):
            return True
    return False


def _refuse(heading: str, problems: list[str]) -> None:
    if problems:
        lines = lines_and_more(problems, PROBLEMS_SHOWN)
        raise UserError("\n".join([f"source=dicom: {heading}", *lines]))


def _blank_ids(files: list[DicomHeader]) -> Iterator[str]:
    for tag in ("PatientID", "SeriesInstanceUID"):
        if blank := [file.path for file in files if not file.tags[tag]]:
            yield f"{tag} is blank in {counted(len(blank), 'file')}: {listed(blank)}"


def _mixed_up(series: dict[str, list[DicomHeader]]) -> Iterator[str]:
    for uid, members in series.items():
        for tag in ("PatientID", "StudyInstanceUID"):
            if len(found := sorted({member.tags[tag] for member in members})) > 1:
                yield f"series {uid} has {len(found)} {tag}s: {listed(found)}"
        if len(folders := sorted({member.folder for member in members})) > 1:
            yield f"series {uid} lies in {len(folders)} folders: {listed(folders)}"


def _read_header(path: Path, name: str) -> DicomHeader:
    """The ids of a file, called `name`; what else it is; or why it is damaged."""
    try:
        check_kind(path)
    except ImageError as error:
        return DicomHeader(name, problem=str(error))
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
            file.seek(0)
            if path.name.upper() == "DICOMDIR":
                return DicomHeader(name, kind="DICOMDIR")
            if DICOM.knows(head):
                return _read_dicom(file, name)
    except Exception as error:  # noqa: BLE001 (pydicom raises almost anything)
        return DicomHeader(name, problem=f"cannot be read as DICOM: {error}")
    if path.suffix.lower() in DICOM.suffixes:
        start = f"begins with {head[:8]!r}" if head else "is empty"
        return DicomHeader(name, problem=f"has no DICOM mark (DICM at byte 128); it {start}")
    return DicomHeader(name, kind="not DICOM")


def _read_dicom(file: BinaryIO, name: str) -> DicomHeader:
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    from pipeline.formats.dicom_file import open_dicom

    wanted = ["SOPClassUID", "NumberOfFrames", *PIXEL_TAGS, *TAGS]
    data = open_dicom(file, stop_before_pixels=True, specific_tags=wanted)
    tags = {tag: str(data.get(tag, "") or "").strip() for tag in TAGS}
    if data.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        has_pixels, problem = "Rows" in data, ""  # a file cut short could not be unpacked
    else:
        start = file.read(12)  # the reader stopped before the pixels, or at the end
        has_pixels = start[:4] in PIXEL_MARKS
        problem = _lost_pixels(file, data, start) if has_pixels else ""
    return DicomHeader(name, tags, *(("", problem) if has_pixels else _without_pixels(tags, data)))


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


def _without_pixels(tags: Row, data: FileDataset) -> tuple[str, str]:
    """Its kind (a report, a plan, ...) by its class; or the problem of an image without pixels."""
    from pydicom.uid import UID

    uid = UID(data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID") or "")
    is_known = uid.name != str(uid)
    kind = uid.name.removesuffix(" Storage")
    if "Image Storage" in uid.name or ("Rows" in data and "Spectroscopy" not in uid.name):
        return "", f"is a {kind} without pixels"
    if is_known or (uid.is_private and tags["SeriesInstanceUID"]):
        return kind if is_known else f"of private class {uid}", ""
    return "", "has no pixels, and does not say what else it is"
