"""The series of a folder of DICOM files: one row each."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.config import UserError
from pipeline.manifest.files import DICOM_SUFFIXES, is_dicom

Row = dict[str, str]
TAGS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "Modality")


@dataclass(frozen=True)
class _Header:
    path: str
    tags: tuple[str, ...]
    """In the order of TAGS."""
    has_pixels: bool


def rows_of_dicom(root: Path, paths: list[str]) -> tuple[list[Row], list[str]]:
    """A row for every series that has pixels, and the files that are none (or no DICOM at all).

    `image_path` is the file of a series of one file, the folder of a series that has it for
    itself, and else `folder#SeriesInstanceUID`. StudyDate becomes YYYY-MM-DD.

    Raises:
        UserError: when ids are missing, or a series has two patients, studies or folders.
    """
    with ThreadPoolExecutor() as pool:
        headers = list(pool.map(lambda path: _header(root / path, path), paths))
    used = [header for header in headers if header and header.has_pixels]
    others = [
        path
        for path, header in zip(paths, headers, strict=True)
        if not (header and header.has_pixels)
    ]
    if not used:
        raise UserError(f"root: {root} holds no DICOM file with pixels among {len(paths)} file(s)")
    _check_ids(used)
    series: dict[str, list[_Header]] = defaultdict(list)
    for header in used:
        series[header.tags[2]].append(header)
    _check_series(series)
    num_series: dict[str, set[str]] = defaultdict(set)
    for header in used:
        num_series[_folder(header.path)].add(header.tags[2])
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
    return rows, others


def _header(path: Path, name: str) -> _Header | None:
    if not is_dicom(path):
        return None
    from pydicom import dcmread

    try:
        data = dcmread(path, stop_before_pixels=True, specific_tags=[*TAGS, "Rows"])
    except Exception as error:  # noqa: BLE001 (pydicom raises almost anything)
        raise UserError(f"{path}: cannot be read as DICOM: {error}") from None
    return _Header(
        name, tuple(str(data.get(tag, "") or "").strip() for tag in TAGS), "Rows" in data
    )


def _check_ids(headers: list[_Header]) -> None:
    problems = []
    for number, tag in ((0, "PatientID"), (2, "SeriesInstanceUID")):
        blank = [header.path for header in headers if not header.tags[number]]
        if blank:
            shown = "\n".join(f"    {path}" for path in blank[:10])
            more = f"\n    and {len(blank) - 10} more" if len(blank) > 10 else ""
            problems.append(f"  {tag} is blank in {len(blank)} file(s):\n{shown}{more}")
    if problems:
        raise UserError(
            "source=dicom: without these ids nobody knows whose images they are; restore them from "
            "the archive, or use source=table with a table of ids\n" + "\n".join(problems)
        )


def _check_series(series: dict[str, list[_Header]]) -> None:
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
