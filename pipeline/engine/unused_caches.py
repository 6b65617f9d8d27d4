"""Caches of decoded images that nobody has opened for days, and whether they can be made again."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.config import UserError
from pipeline.engine.access import IN_USE
from pipeline.engine.finished import Finished
from pipeline.engine.overview import is_held
from pipeline.engine.room import Spared
from pipeline.engine.soundness import read_environment
from pipeline.files import lock
from pipeline.formats.files import series_parts
from pipeline.images.seal import SEAL, cache_folders
from pipeline.manifest.manifest import SEVERAL

DAY_S = 24 * 3600
MEMORY = "digests.json"


@dataclass(frozen=True)
class UnusedCache:
    """Images, or features of them, that were decoded and have not been opened since."""

    path: Path
    bytes: int
    days: int
    """Since it was opened last."""
    run_dirs: tuple[Path, ...] = ()
    """The runs whose images it has."""


def unused_caches(
    cache_dir: Path, days: int, run_dirs: Sequence[Path], unread: Sequence[Path] = ()
) -> tuple[list[UnusedCache], list[Spared]]:
    """Those not opened for so many days; none that a run at work uses, or whose images are gone.

    Nobody knows what runs use that lie in `unread`. What an interrupted removal has left of a
    cache is of no use, and goes.
    """
    found: list[UnusedCache] = []
    spared: list[Spared] = []
    users = _users(run_dirs)
    for path in cache_folders(cache_dir):
        idle = (time.time() - _last_use(path)) / DAY_S
        if idle < days or path.is_symlink():
            continue
        mine = [
            run for pixels, runs in users.items() if path.name.startswith(pixels) for run in runs
        ]
        reason = _reason_to_keep(mine, cache_dir, unread) if (path / SEAL).exists() else ""
        if reason:
            spared.append(Spared(path, reason))
        else:
            size = sum(file.lstat().st_size for file in path.iterdir())
            found.append(UnusedCache(path, size, int(idle), tuple(mine)))
    return found, spared


def remove_cache(cache: UnusedCache) -> int:
    """Remove it, its seal first: what is left of it half-way is no cache. Returns the bytes.

    Raises:
        UserError: a run that uses it is at work, on this machine or another.
    """
    with ExitStack() as held:
        for run_dir in cache.run_dirs:
            in_use = f"{cache.path} stays: {IN_USE.format(run_dir)}"
            try:
                held.enter_context(lock(run_dir / ".lock", in_use))
            except OSError as error:
                reason = f"{run_dir / '.lock'}: {error.strerror}"
                raise UserError(f"{cache.path} stays: {reason}") from None
        (cache.path / SEAL).unlink(missing_ok=True)
        shutil.rmtree(cache.path)
    return cache.bytes


def _last_use(path: Path) -> float:
    """Opening a cache marks its seal; before that did so, a file system may have noted a look."""
    files = [*path.glob(SEAL), *path.glob("*.npy")] or [path]
    times = [file.stat() for file in files]
    return max(max(found.st_mtime, found.st_atime) for found in times)


def _users(run_dirs: Sequence[Path]) -> Mapping[str, list[Path]]:
    """First letters of a cache's key -> the run folders whose images it has."""
    found: dict[str, list[Path]] = {}
    for run_dir in run_dirs:
        with suppress(UserError):
            if pixels := read_environment(run_dir)["identity"].get("pixels hash"):
                found.setdefault(pixels, []).append(run_dir)
    return found


def _reason_to_keep(run_dirs: Sequence[Path], cache_dir: Path, unread: Sequence[Path]) -> str:
    """Why it stays; "" where it may go."""
    if unread:
        return f"a run in {unread[0]} may use it, and that folder cannot be read"
    if any(is_held(run_dir / ".lock") for run_dir in run_dirs):
        return "a run that uses it is at work"
    missing = []
    for run_dir in run_dirs:
        if not (what := _missing(run_dir, cache_dir / MEMORY)):
            return ""  # of many runs of the same images, those of one are looked for
        missing.append(what)
    if missing:
        return f"it could not be decoded again: {missing[0]}"
    if not run_dirs and (lost := next(_lost(cache_dir / MEMORY), None)):
        return f"no run here says whose images it holds, and {lost} is gone, which may be one"
    return ""


def _missing(run_dir: Path, memory: Path) -> str:
    """What a run was made of and is not there any more; "" where its images seem to be there.

    Where the run does not name its images, all that were ever decoded into this folder count.
    """
    run = Finished(run_dir)
    try:
        manifest: Any = OmegaConf.to_container(
            OmegaConf.create(run.settings["manifest"]), resolve=True
        )
        path = Path(manifest["path"])
        root = Path(manifest.get("image_root") or path.parent)
        several = not isinstance(manifest.get("columns", {}).get("image", ""), str)
        is_hidden = run.settings.get("privacy", {}).get("pseudonyms")
        cohort = None if is_hidden else run.cohort
        names = [] if cohort is None else cohort["image_path"].tolist()
        samples = [name.split(SEVERAL) if several else [name] for name in names]
        files = (root / file for sample in samples for file in sample)
        gone = next((of for of in (path, root, *files) if not _is_there(of)), None)
    except Exception as error:  # noqa: BLE001  (whatever is in that folder, it says nothing)
        return f"{run_dir} does not say where its images are ({error})"
    if gone is None and cohort is None:
        gone = next(_lost(memory), None)
    return "" if gone is None else f"{gone} is not there"


def _is_there(path: Path) -> bool:
    """A file, or a DICOM series."""
    return path.exists() or series_parts(path) is not None


def _lost(memory: Path) -> Iterator[str]:
    """Files that were decoded into caches of this folder, and are not there any more."""
    with suppress(OSError, ValueError):
        for name in json.loads(memory.read_text()):
            if not Path(name.partition("#")[0]).exists():
                yield name
