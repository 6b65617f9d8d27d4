"""The series of a folder of DICOM files: one row each."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from pipeline.errors import UserError
from pipeline.formats import DICOM
from pipeline.making.dicom_header import TAGS, DicomHeader, read_header
from pipeline.making.label_table import Row
from pipeline.words import counted, lines_and_more, listed

PROBLEMS_SHOWN = 10


def rows_of_dicom(root: Path, paths: list[str]) -> tuple[list[Row], dict[str, str]]:
    """A row for every series of images, and what kind of file each of the others is.

    `image_path` is the file of a series of one file, the folder of a series that has it for
    itself, and else `folder#SeriesInstanceUID`. StudyDate becomes YYYY-MM-DD.

    Raises:
        UserError: when files are damaged, ids are missing, or a series has two patients, studies
            or folders.
    """
    with ThreadPoolExecutor() as pool:
        files = list(pool.map(lambda path: read_header(root / path, path), paths))
    _check_whole([file for file in files if file.problem], root)
    images = [file for file in files if not file.kind]
    if not images:
        number = counted(len(paths), "file")
        raise UserError(f"root: {root} holds no DICOM file with pixels among {number}")
    _check_ids(images)
    series: dict[str, list[DicomHeader]] = defaultdict(list)
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
        if len(members) == 1 and Path(first.path).suffix.lower() in DICOM.suffixes:
            row["image_path"] = first.path
        rows.append(row)
    return rows, {file.path: file.kind for file in files if file.kind}


def _check_whole(damaged: list[DicomHeader], root: Path) -> None:
    if damaged:
        lines = [f"{file.path}: {file.problem}" for file in damaged]
        heading = (
            f"source=dicom: {counted(len(damaged), 'damaged file')}; restore from the archive, or "
            f"remove from {root}"
        )
        raise UserError("\n".join([heading, *lines_and_more(lines, PROBLEMS_SHOWN)]))


def _check_ids(files: list[DicomHeader]) -> None:
    problems = []
    for number, tag in ((0, "PatientID"), (2, "SeriesInstanceUID")):
        if blank := [file.path for file in files if not file.tags[number]]:
            problems.append(f"  {tag} is blank in {counted(len(blank), 'file')}: {listed(blank)}")
    if problems:
        raise UserError(
            "source=dicom: without these ids nobody knows whose images they are; restore them from "
            "the archive, or use source=table with a table of ids\n" + "\n".join(problems)
        )


def _check_series(series: dict[str, list[DicomHeader]]) -> None:
    problems = []
    for uid, members in series.items():
        for number, tag in ((0, "PatientID"), (1, "StudyInstanceUID")):
            found = sorted({member.tags[number] for member in members})
            if len(found) > 1:
                problems.append(f"series {uid} has {len(found)} {tag}s: {listed(found)}")
        folders = sorted({_folder(member.path) for member in members})
        if len(folders) > 1:
            problems.append(f"series {uid} lies in {len(folders)} folders: {listed(folders)}")
    if problems:
        lines = lines_and_more(problems, PROBLEMS_SHOWN)
        raise UserError("\n".join(["source=dicom: series are mixed up", *lines]))


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _iso(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdigit() else date
