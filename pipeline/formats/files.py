"""What can be said of an image file, or a folder that holds a DICOM series, without decoding it."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from pipeline.files import sha256
from pipeline.formats.limits import check_kind
from pipeline.formats.table import (
    DICOM,
    FORMATS,
    HEAD,
    Format,
    ImageError,
    UnknownFormatError,
    format_of_name,
)
from pipeline.formats.text_header import raw_file


def format_of(path: Path) -> Format:
    """The format of an image file by its content, whatever its name; DICOM for a series.

    Raises:
        ImageError: when there is no such file, or no format knows its content.
    """
    return DICOM if series_parts(path) is not None else _format_of_file(path)


def _format_of_file(path: Path) -> Format:
    check_kind(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from None
    if not head:
        raise ImageError("the file is empty")
    for known in FORMATS:
        if known.knows(head):
            return known
    allowed = ", ".join(f"{known.name} ({', '.join(known.suffixes)})" for known in FORMATS)
    raise UnknownFormatError(
        f"is in no known format (first bytes {head[:8]!r}); allowed are {allowed}"
    )


def checked_format(path: Path) -> Format:
    """`format_of`, and a series must have a file, a header the file of pixels that it names.

    Raises:
        ImageError: see `format_of`; or when such a file is missing.
    """
    files = series_files(path)
    if files == []:
        _, uid = series_parts(path) or (path, None)
        raise ImageError("holds no DICOM file" + (f" of series {uid}" if uid else ""))
    if files:
        return DICOM
    found = _format_of_file(path)
    raw_files(path)
    return found


def raw_files(path: Path) -> list[Path]:
    """The file of pixels that a MetaImage or NRRD header names, if there is one.

    Raises:
        ImageError: when the header is damaged, or the file is missing or lies elsewhere.
    """
    named = format_of_name(path)
    if named is not None and not named.has_text_header:
        return []  # spares a look into each of many files; such a name may not name another file
    raw = raw_file(path)
    return [] if raw is None else [raw]


def series_parts(path: Path) -> tuple[Path, str | None] | None:
    """Folder and SeriesInstanceUID of an image that is a DICOM series, or None for a file.

    A series is written as its folder, or, when the folder holds several, as `folder#UID`; the UID
    of anonymised files may be any text.
    """
    if format_of_name(path) is not None:  # spares a look at the disk for each of many files
        return None
    if path.is_dir():
        return path, None
    name, mark, uid = path.name.rpartition("#")
    folder = path.parent / name
    return (folder, uid) if mark and uid and folder.is_dir() and not path.exists() else None


def series_files(path: Path) -> list[Path] | None:
    """The DICOM files of a series, sorted by name; None for a path that is no series.

    Raises:
        ImageError: when a file in the folder cannot be read.
    """
    try:
        if (parts := series_parts(path)) is None:
            return None
        folder, uid = parts
        files = sorted(file for file in folder.iterdir() if file.is_file() and _is_dicom(file))
        return files if uid is None else [file for file in files if _series_of(file) == uid]
    except OSError as error:
        raise ImageError(f"cannot be read as a DICOM series: {error.strerror or error}") from None
    except Exception as error:  # noqa: BLE001 (pydicom raises almost anything)
        raise ImageError(f"cannot be read as a DICOM series: {error}") from None


def _series_of(path: Path) -> str:
    from pydicom import dcmread

    tag = "SeriesInstanceUID"
    data = dcmread(path, stop_before_pixels=True, force=True, specific_tags=[tag])
    return str(data.get(tag) or "").strip()


def _is_dicom(path: Path) -> bool:
    """Not an index of other files (DICOMDIR), which holds no pixels."""
    with path.open("rb") as file:
        return DICOM.knows(file.read(HEAD)) and path.name.upper() != "DICOMDIR"


def file_digest(path: Path, digest: Callable[[Path], str] = sha256) -> str:
    """SHA-256 of a file's bytes, or another `digest`; of a series, or a header with a file of
    pixels: of its files' digests, whatever their names.
    """
    if (files := series_files(path)) is None:
        raw = raw_files(path)
        if not raw:
            return digest(path)
        files = [path, *raw]
    return hashlib.sha256("".join(sorted(map(digest, files))).encode()).hexdigest()


def file_size(path: Path) -> int:
    """Bytes of a file, or of all files of an image.

    Raises:
        ImageError: when it is no file, or its other files cannot be found.
    """
    if (files := series_files(path)) is None:
        check_kind(path)
        files = [path, *raw_files(path)]
    return sum(file.stat().st_size for file in files)


def file_stamp(path: Path) -> str:
    """Changes whenever the file's bytes may have: size, both times and inode.

    ctime is included because tools that copy set mtime at will, but nothing can set ctime. Of a
    series: the stamps of all files in its folder; of a header: with that of its file of pixels.
    """
    if (parts := series_parts(path)) is not None:
        files = sorted(file for file in parts[0].iterdir() if file.is_file())
        stamps = [f"{file.name}:{_stamp(file)}" for file in files]
        return hashlib.sha256("\n".join(stamps).encode()).hexdigest()
    return "+".join(map(_stamp, [path, *raw_files(path)]))


def _stamp(path: Path) -> str:
    stat = os.stat(path)  # noqa: PTH116 (a Path.stat per file costs more, for no gain)
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"
