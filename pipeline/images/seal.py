"""The seal of a packed cache: hashes that show whether its files are those that were made."""

import json
import math
import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.files import sha256, write_json
from pipeline.formats.files import file_stamp

FILES = ("images.npy", "thumbnails.npy", "table.csv")
SEAL = "cache.json"
NAME = re.compile(r"[0-9a-f]{32}(\.[0-9a-f]{32}\.features)?")
"""What a cache is called: by its key, and by that of the network whose features it holds."""
READ_EACH_TIME = 2**28
"""Bytes of a cache that is hashed whenever it is opened: 0.9 s at 0.3 GB/s. A larger one
is hashed when the size, a time or the inode of a file is not as it was."""


def cache_folders(cache_dir: Path) -> list[Path]:
    """The caches in a folder, and what is left of those whose removal was interrupted: no seal."""
    sealed = {path.parent for path in cache_dir.glob(f"*/{SEAL}")}
    named = {path for path in cache_dir.glob("*/") if NAME.fullmatch(path.name)}
    return sorted(sealed | named)


def seal(packed_dir: Path, facts: dict[str, Any], files: Sequence[str] = FILES) -> None:
    """Write the last file of a cache, which says that it is whole."""
    hashes = {"sha256": _hashes(packed_dir, files)}
    write_json(packed_dir / SEAL, facts | hashes | _stamps(packed_dir, files))


def is_sealed(packed_dir: Path, files: Sequence[str] = FILES) -> bool:
    """Is there a cache that is as it was made? What older versions left without hashes is removed.

    Raises:
        UserError: when a file of it was changed since.
    """
    try:
        facts = json.loads((packed_dir / SEAL).read_text())
        hashes, stamps = facts.get("sha256"), _stamps(packed_dir, files)
    except FileNotFoundError:
        hashes, facts, stamps = None, {}, {}
    except (ValueError, AttributeError):
        raise _changed(packed_dir, SEAL) from None
    if hashes is None:
        shutil.rmtree(packed_dir, ignore_errors=True)
        return False
    size = sum((packed_dir / name).stat().st_size for name in files)
    is_same = {"stamps": facts.get("stamps")} == stamps
    if is_same and size > READ_EACH_TIME:
        _mark_use(packed_dir)
        return True
    for name, found in _hashes(packed_dir, files).items():
        if hashes.get(name) != found:
            raise _changed(packed_dir, name)
    if not is_same:
        with suppress(OSError):  # somebody else's, to read only
            write_json(packed_dir / SEAL, facts | stamps)
    _mark_use(packed_dir)
    return True


def _mark_use(packed_dir: Path) -> None:
    """The time of the seal says when the cache was opened last: `runs prune` goes by it."""
    with suppress(OSError):  # somebody else's, to read only
        os.utime(packed_dir / SEAL)


def _changed(packed_dir: Path, name: str) -> UserError:
    return UserError(
        f"{packed_dir / name} was changed after it was made: it does not hold what was made "
        f"of the images. Remove the folder {packed_dir}; the same command then makes it again."
    )


def _hashes(packed_dir: Path, files: Sequence[str]) -> dict[str, str]:
    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        found = pool.map(sha256, [packed_dir / name for name in files])
    return dict(zip(files, found, strict=True))


def _stamps(packed_dir: Path, files: Sequence[str] = FILES) -> dict[str, dict[str, str]]:
    return {"stamps": {name: file_stamp(packed_dir / name) for name in files}}


def reserve(
    folder: Path,
    arrays: dict[str, tuple[str, Sequence[int]]],
    what: str = "decoded images",
    setting: str = "images.cache_dir",
) -> None:
    """Make .npy files, name -> (dtype, shape), whose bytes are on the disk before they are needed.

    A full disk would otherwise kill whoever writes through the memory map. `setting` names the
    folder above.

    Raises:
        UserError: when the disk has too little room.
    """
    sizes = [math.prod(shape) * np.dtype(dtype).itemsize for dtype, shape in arrays.values()]
    need, free = sum(sizes), shutil.disk_usage(folder).free
    try:
        if need > free:
            raise OSError(ENOSPC, "")
        for name, (dtype, shape) in arrays.items():
            path = folder / name
            np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=tuple(shape))
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        if error.errno not in (ENOSPC, EDQUOT, EFBIG):
            raise
        raise UserError(
            f"{setting} {folder.parent}: no room on the disk: the {what} need "
            f"{need / 1e9:.3g} GB, {free / 1e9:.3g} GB are free. Make room, or set "
            f"{setting} to a folder on another disk; the same command then goes on."
        ) from None
