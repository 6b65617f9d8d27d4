"""The series of a folder of DICOM files: one row each."""

from __future__ import annotations

import os
import struct
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from pipeline.config import UserError
from pipeline.manifest.files import DICOM_SUFFIXES

if TYPE_CHECKING:
    from pydicom import FileDataset

Row = dict[str, str]
TAGS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "Modality")
PIXEL_TAGS = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated")
"""Without these nobody can read pixels."""
PIXEL_MARKS = tuple(
    struct.pack(f"{order}HH", 0x7FE0, element) for order in "<>" for element in (8, 9, 16)
)
"""How (Double) (Float) Pixel Data begins."""
UNKNOWN_LENGTH = 0xFFFFFFFF
PROBLEMS_SHOWN = 10


@dataclass(frozen=True)
class _File:
    path: str
    tags: tuple[str, ...] = ()
    """In the order of TAGS; none when it is no DICOM file."""
    kind: str = ""
    """What it is instead of an image."""
    problem: str = ""


def rows_of_dicom(root: Path, paths: list[str]) -> tuple[list[Row], dict[str, str]]:
    """A row for every series of images, and what kind of file each of the others is.

    `image_path` is the file of a series of one file, the folder of a series that has it for
    itself, and else `folder#SeriesInstanceUID`. StudyDate becomes YYYY-MM-DD.

    Raises:
        UserError: when files are damaged, ids are missing, or a series has two patients, studies
            or folders.
    """
    with ThreadPoolExecutor() as pool:
        files = list(pool.map(lambda path: _read(root / path, path), paths))
    _check_whole([file for file in files if file.problem], root)
    images = [file for file in files if not file.kind]
    if not images:
        raise UserError(f"root: {root} holds no DICOM file with pixels among {len(paths)} file(s)")
    _check_ids(images)
    series: dict[str, list[_File]] = defaultdict(list)
    for file in images:
        series[file.tags[2]].append(file)
    _check_series(series)
    num_series: dict[str, set[str]] = defaultdict(set)
    for file in files:
        if file.tags:
            num_series[_folder(file.path)].add(file.tags[2])
    rows = []
    for uid, members in series.items():
        first, folder = members[0], _folder(members[0].path)
        row = dict(zip(TAGS, first.tags, strict=True)) | {"num_files": str(len(members))}
        row["StudyDate"] = _iso(row["StudyDate"])
        shared = len(num_series[folder]) > 1 or folder == "."
        row["image_path"] = f"{folder}#{uid}" if shared else folder
        if len(members) == 1 and Path(first.path).suffix.lower() in DICOM_SUFFIXES:
            row["image_path"] = first.path
        rows.append(row)
    return rows, {file.path: file.kind for file in files if file.kind}


def _read(path: Path, name: str) -> _File:
    try:
        with path.open("rb") as file:
            head = file.read(1024)
            file.seek(0)
            if path.name.upper() == "DICOMDIR":
                return _File(name, kind="DICOMDIR")
            has_mark = head[128:132] == b"DICM"
            is_bare = head[:2] in (b"\x02\0", b"\x08\0") and b"1.2.840.10008." in head
            if has_mark or is_bare:
                found = _read_dicom(file, name)
                if has_mark or found.kind:
                    return found
    except Exception as error:  # noqa: BLE001 (pydicom raises almost anything)
        return _File(name, problem=f"cannot be read as DICOM: {error}")
    if is_bare or path.suffix.lower() in DICOM_SUFFIXES:
        start = f"begins with {head[:8]!r}" if head else "is empty"
        return _File(name, problem=f"has no DICOM mark (DICM at byte 128); it {start}")
    return _File(name, kind="no DICOM")


def _read_dicom(file: BinaryIO, name: str) -> _File:
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
    return _File(name, tags, problem=problem) if has_pixels else _without_pixels(name, tags, data)


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


def _without_pixels(name: str, tags: tuple[str, ...], data: FileDataset) -> _File:
    """A report, a plan, ... by its class; else an image that has lost its pixels."""
    from pydicom.uid import UID

    uid = UID(data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID") or "")
    is_known = uid.name != str(uid)
    kind = uid.name.removesuffix(" Storage")
    if "Image Storage" in uid.name or ("Rows" in data and "Spectroscopy" not in uid.name):
        return _File(name, tags, problem=f"is a {kind} without pixels")
    if is_known or (uid.is_private and tags[2]):
        return _File(name, tags, kind if is_known else f"of private class {uid}")
    return _File(name, tags, problem="has no pixels, and does not say what else it is")


def _check_whole(damaged: list[_File], root: Path) -> None:
    if damaged:
        more = len(damaged) - PROBLEMS_SHOWN
        shown = [f"  {file.path}: {file.problem}" for file in damaged[:PROBLEMS_SHOWN]]
        raise UserError(
            f"source=dicom: {len(damaged)} file(s) are damaged; restore them from the archive, or "
            f"take them out of {root}\n" + "\n".join(shown)
            + (f"\n  and {more} more" if more > 0 else "")
        )  # fmt: skip


def _check_ids(files: list[_File]) -> None:
    problems = []
    for number, tag in ((0, "PatientID"), (2, "SeriesInstanceUID")):
        blank = [file.path for file in files if not file.tags[number]]
        if blank:
            shown = "\n".join(f"    {path}" for path in blank[:10])
            more = f"\n    and {len(blank) - 10} more" if len(blank) > 10 else ""
            problems.append(f"  {tag} is blank in {len(blank)} file(s):\n{shown}{more}")
    if problems:
        raise UserError(
            "source=dicom: without these ids nobody knows whose images they are; restore them from "
            "the archive, or use source=table with a table of ids\n" + "\n".join(problems)
        )


def _check_series(series: dict[str, list[_File]]) -> None:
    problems = []
    for uid, members in series.items():
        for number, tag in ((0, "PatientID"), (1, "StudyInstanceUID")):
            found = sorted({member.tags[number] for member in members})
            if len(found) > 1:
                problems.append(f"  series {uid} has {len(found)} {tag}s: {', '.join(found)}")
        folders = sorted({_folder(member.path) for member in members})
        if len(folders) > 1:
            problems.append(f"  series {uid} lies in {len(folders)} folders: {', '.join(folders)}")
    if problems:
        more = [f"  and {len(problems) - 10} more"] if len(problems) > 10 else []
        raise UserError("\n".join(["source=dicom: series are mixed up", *problems[:10], *more]))


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _iso(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdigit() else date
