"""Files that are whole at every moment, JSON among them; locks; digests; nothing through links."""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.errors import UserError
from pipeline.words import one_line

FULL = {
    errno.ENOSPC: "the disk has no room left",
    errno.EDQUOT: "your quota is used up",
    errno.EFBIG: "a file would be larger than is allowed here (`ulimit -f`)",
}
BLOCK = 2**20
"""Bytes that are read and compared at once."""
INNER = ("plots", "failures", "explain", "locked")
"""Folders in a run folder, beside those of its folds."""
NOT_FOLLOWED = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""For opening a file that others may have put there: no link is followed, no pipe waited for."""


class DiskFullError(UserError):
    """No room for a file; what was there before is unharmed."""


@contextmanager
def replacing(path: Path, size: int | None = None) -> Iterator[BinaryIO]:
    """A file to write that takes `path`'s place when the block ends well; makes missing folders.

    Whatever happens, `path` is either the old file or the whole new one. A link is replaced, not
    followed. `size` is the number of bytes that it takes, where that is known.

    Raises:
        DiskFullError: when there is no room for it.
    """
    with told_when_full(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with told_when_full(path, size), temporary.open("xb") as file:  # "x": a new file
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power cut can leave the new name with no content
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def told_when_full(path: Path, size: int | None = None) -> Iterator[None]:
    """Turn the system's error of a full disk into a DiskFullError that names the folder.

    `size` is the number of bytes that `path` takes, where it is known.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        needed = "" if size is None else f" ({size / 1e6:.1f} MB are needed)"
        raise DiskFullError(
            f"folder {path.parent}: {FULL[error.errno]}, {path.name} cannot be written{needed}. "
            "What is there is whole: make room, and the same command continues."
        ) from None


def full_folders(folders: Iterable[Path]) -> list[Path]:
    """Those of the folders on whose disks hardly a file has room."""
    full = []
    for folder in folders:
        with suppress(OSError):
            disk = os.statvfs(folder)
            has_files = disk.f_files == 0 or disk.f_favail > 0  # 0: it does not count them
            if disk.f_bavail * disk.f_frsize < BLOCK or not has_files:
                full.append(folder)
    return full


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left of `replacing`; nobody else may write there meanwhile."""
    for path in folder.glob(".*.tmp"):
        path.unlink()


def write_whole(path: Path, content: bytes | str) -> None:
    """Replace `path` by a file with this content (text as UTF-8) in one step."""
    data = content.encode() if isinstance(content, str) else content
    with replacing(path, len(data)) as file:
        file.write(data)


def write_json(path: Path, value: object) -> None:
    """Replace `path` by a JSON file in one step; nan and infinity are refused."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, f"{text}\n")


def read_json(path: Path, advice: str = "") -> dict[str, Any]:
    """Read one JSON object from a file that others may have put there.

    Raises:
        UserError: the file is missing or is not a JSON object; it ends with the `advice`.
    """
    advice = advice and f" {advice}"
    try:
        with open_plain(path) as file:
            value = json.loads(file.read().decode())
    except FileNotFoundError:
        raise UserError(f"{path} is missing.{advice}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.{advice}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}.{advice}") from None
    if not isinstance(value, dict):
        found = type(value).__name__
        raise UserError(f"{path}: expected a JSON object, got {found}.{advice}")
    return value


def open_plain(path: Path) -> BinaryIO:
    """Open a regular file for reading; OSError for a link, a folder, a pipe or a device."""
    file = os.open(path, os.O_RDONLY | NOT_FOLLOWED)
    if stat.S_ISREG(os.fstat(file).st_mode):
        return os.fdopen(file, "rb")
    os.close(file)
    raise OSError(errno.EINVAL, "it is not a file", str(path))


def refuse_foreign_files(run_dir: Path) -> None:
    """Refuse a run folder that reaches out of itself: whoever sent it may have put that there.

    Links would make us read, overwrite or upload files that lie elsewhere; so would a second name
    of a file (a hard link); a pipe or device would make us wait for ever.

    Raises:
        UserError: names all such entries.
    """
    inner = [*run_dir.glob("fold_*"), *(run_dir / name for name in INNER)]
    found = []
    for folder in [run_dir, *(path for path in inner if path.is_dir() and not path.is_symlink())]:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # a temporary file of another command's fold
                continue
            name = one_line(entry.path)
            if entry.is_symlink():
                found.append(f"  {name} is a link to {one_line(str(Path(entry).readlink()))}")
            elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
                found.append(f"  {name} is also known under another name (a hard link)")
            elif not stat.S_ISREG(status.st_mode) and not entry.is_dir():
                found.append(f"  {name} is neither a file nor a folder")
    if found:
        raise UserError(
            "\n".join([f"run folder {run_dir} is not used, for it reaches out of itself:", *found])
            + "\nIf you made it, put copies in their place; if you received it, do not trust it."
        )


@contextmanager
def lock(path: Path, refusal: str, patience_s: float = 0.0, shared: bool = False) -> Iterator[None]:
    """Hold a lock that the kernel gives back however this process ends.

    It is exclusive, or `shared` with others who hold it so.

    Raises:
        UserError: `refusal`, when another process still holds it after `patience_s` seconds.
    """
    deadline = time.monotonic() + patience_s
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX  # NFS wants reading and writing for them
    file = os.open(path, os.O_RDWR | os.O_CREAT | NOT_FOLLOWED, 0o666)
    try:
        while True:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise UserError(refusal) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(file)


def make_private(folder: Path) -> None:
    """Make a folder and those above it that are missing, for their owner only (mode 0700).

    One that is there keeps its mode: a group may be meant to read it.
    """
    for parent in reversed(folder.parents):
        if not parent.exists():
            parent.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def make_private_file(path: Path) -> None:
    """An empty file for its owner only, where there is none (mode 0600)."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(path: Path) -> str:
    """Equal for files of equal bytes, and only those; zeros that take no room are not read.

    A sparse file of 1 TB is read as fast as what it takes on the disk. It is no file's SHA-256.
    """
    with path.open("rb") as file, path.open("rb") as holes:  # each has its own place
        size = os.fstat(file.fileno()).st_size
        digest, at = hashlib.sha256(str(size).encode()), 0
        zeros = bytes(BLOCK)
        while at < size:
            try:
                data = os.lseek(holes.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # only zeros follow
                    break
                raise
            at = data // BLOCK * BLOCK  # the same blocks, wherever the holes are
            file.seek(at)
            block = file.read(BLOCK)
            if block != zeros[: len(block)]:
                digest.update(at.to_bytes(8, "little") + block)
            at += BLOCK
    return digest.hexdigest()
