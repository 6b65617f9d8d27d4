"""What can be said of an image file without decoding it."""

import hashlib
import os
from pathlib import Path

_MAGIC: dict[str, tuple[tuple[int, bytes], ...]] = {
    # suffix: (offset, bytes) of which one must match
    ".png": ((0, b"\x89PNG\r\n\x1a\n"),),
    ".jpg": ((0, b"\xff\xd8\xff"),),
    ".jpeg": ((0, b"\xff\xd8\xff"),),
    ".tif": ((0, b"II*\x00"), (0, b"MM\x00*"), (0, b"II+\x00"), (0, b"MM\x00+")),
    ".tiff": ((0, b"II*\x00"), (0, b"MM\x00*"), (0, b"II+\x00"), (0, b"MM\x00+")),
    ".nii": ((344, b"n+1\x00"), (4, b"n+2\x00")),
    ".nii.gz": ((0, b"\x1f\x8b"),),
}


def image_suffix(path: Path) -> str:
    """The lower-case suffix that decides how a file is read, `.nii.gz` as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def file_problem(path: Path) -> str | None:
    """Why this cannot be an image file that we read, or None."""
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


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_stamp(path: Path) -> str:
    """Changes whenever the file's bytes may have: size, both times and inode.

    ctime is included because tools that copy set mtime at will, but nothing can set ctime.
    """
    stat = os.stat(path)  # noqa: PTH116 (a Path.stat per file costs more, for no gain)
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"
