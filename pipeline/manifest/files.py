"""What can be said of an image file, or a folder that holds a DICOM series, without decoding it."""

import hashlib
import os
from pathlib import Path

from pipeline.files import sha256

_MAGIC: dict[str, tuple[tuple[int, bytes], ...]] = {
    # suffix: (offset, bytes) of which one must match
    ".png": ((0, b"\x89PNG\r\n\x1a\n"),),
    ".jpg": ((0, b"\xff\xd8\xff"),),
    ".jpeg": ((0, b"\xff\xd8\xff"),),
    ".tif": ((0, b"II*\x00"), (0, b"MM\x00*"), (0, b"II+\x00"), (0, b"MM\x00+")),
    ".tiff": ((0, b"II*\x00"), (0, b"MM\x00*"), (0, b"II+\x00"), (0, b"MM\x00+")),
    ".nii": ((344, b"n+1\x00"), (4, b"n+2\x00")),
    ".nii.gz": ((0, b"\x1f\x8b"),),
    ".dcm": ((128, b"DICM"),),
    ".dicom": ((128, b"DICM"),),
    ".npy": ((0, b"\x93NUMPY"),),
}
DICOM_SUFFIXES = (".dcm", ".dicom")


def image_suffix(path: Path) -> str:
    """The lower-case suffix that decides how a file is read, `.nii.gz` as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def is_image_name(path: Path) -> bool:
    """Whether a file of this name is one that we read."""
    return image_suffix(path) in _MAGIC


def file_problem(path: Path) -> str | None:
    """Why this cannot be an image file or a DICOM series that we read, or None."""
    if (parts := series_parts(path)) is not None:
        return _series_problem(*parts)
    magic = _MAGIC.get(image_suffix(path))
    if magic is None:
        return f"unknown image type {image_suffix(path)!r}; allowed are {', '.join(_MAGIC)}"
    try:
        with path.open("rb") as file:
            head = file.read(352)
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not head:
        return "the file is empty"
    if not any(head[offset : offset + len(mark)] == mark for offset, mark in magic):
        return f"is not a {image_suffix(path)[1:].upper()} file (first bytes {head[:8]!r})"
    return None


def series_parts(path: Path) -> tuple[Path, str | None] | None:
    """Folder and SeriesInstanceUID of an image that is a DICOM series, or None for a file.

    A series is written as its folder, or, when the folder holds several, as `folder#UID`.
    """
    if is_image_name(path):  # spares a look at the disk for each of many files
        return None
    folder, mark, uid = str(path).rpartition("#")
    if mark and uid.replace(".", "").isdigit() and Path(folder).is_dir():
        return Path(folder), uid
    return (path, None) if path.is_dir() else None


def series_files(folder: Path, uid: str | None) -> list[Path]:
    """The DICOM files of a series, sorted by name; `uid` None: all of the folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and is_dicom(path))
    if uid is None:
        return files
    from pydicom import dcmread

    tag = ["SeriesInstanceUID"]
    return [p for p in files if dcmread(p, specific_tags=tag).get("SeriesInstanceUID") == uid]


def is_dicom(path: Path) -> bool:
    """Whether the file has DICOM's mark and is no index of others (DICOMDIR)."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM" and path.name.upper() != "DICOMDIR"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes; of a series: of its files' digests, whatever their names."""
    if (parts := series_parts(path)) is not None:
        digests = sorted(file_digest(file) for file in series_files(*parts))
        return hashlib.sha256("".join(digests).encode()).hexdigest()
    return sha256(path)


def file_size(path: Path) -> int:
    """Bytes of a file, or of all files of a series."""
    if (parts := series_parts(path)) is not None:
        return sum(file.stat().st_size for file in series_files(*parts))
    return os.stat(path).st_size  # noqa: PTH116 (see file_stamp)


def file_stamp(path: Path) -> str:
    """Changes whenever the file's bytes may have: size, both times and inode.

    ctime is included because tools that copy set mtime at will, but nothing can set ctime. Of a
    series: the stamps of all files in its folder.
    """
    if (parts := series_parts(path)) is not None:
        files = sorted(file for file in parts[0].iterdir() if file.is_file())
        stamps = [f"{file.name}:{file_stamp(file)}" for file in files]
        return hashlib.sha256("\n".join(stamps).encode()).hexdigest()
    stat = os.stat(path)  # noqa: PTH116 (a Path.stat per file costs more, for no gain)
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"


def _series_problem(folder: Path, uid: str | None) -> str | None:
    try:
        files = series_files(folder, uid)
    except Exception as error:  # noqa: BLE001 (pydicom raises almost anything)
        return f"cannot be read as a DICOM series: {error}"
    if not files:
        return "holds no DICOM file" if uid is None else f"holds no DICOM file of series {uid}"
    return None
