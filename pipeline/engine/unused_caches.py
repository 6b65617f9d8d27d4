"""Caches of decoded images that nobody has opened for days, and whether they can be made again."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.config import UserError
from pipeline.engine.finished import Finished
from pipeline.engine.overview import is_held
from pipeline.engine.room import Spared
from pipeline.engine.soundness import read_environment
from pipeline.images.seal import SEAL

DAY_S = 24 * 3600
MEMORY = "digests.json"


@dataclass(frozen=True)
class UnusedCache:
    """Images, or features of them, that were decoded and have not been opened since."""

    path: Path
    bytes: int
    days: int
    """Since it was opened last."""


def unused_caches(
    cache_dir: Path, days: int, run_dirs: Sequence[Path]
) -> tuple[list[UnusedCache], list[Spared]]:
    """Those not opened for so many days; none that a run at work uses, or whose images are gone."""
    found: list[UnusedCache] = []
    spared: list[Spared] = []
    users = _users(run_dirs)
    for path in sorted(seal.parent for seal in cache_dir.glob(f"*/{SEAL}")):
        idle = (time.time() - _last_use(path)) / DAY_S
        if idle < days or path.is_symlink():
            continue
        mine = [
            run for pixels, runs in users.items() if path.name.startswith(pixels) for run in runs
        ]
        if reason := _reason_to_keep(mine, cache_dir):
            spared.append(Spared(path, reason))
        else:
            size = sum(file.lstat().st_size for file in path.iterdir())
            found.append(UnusedCache(path, size, int(idle)))
    return found, spared


def remove_cache(cache: UnusedCache) -> int:
    """Remove it, its seal first: what is left of it half-way is no cache. Returns the bytes."""
    (cache.path / SEAL).unlink(missing_ok=True)
    shutil.rmtree(cache.path)
    return cache.bytes


def _last_use(path: Path) -> float:
    """Opening a cache marks its seal; before that did so, a file system may have noted a look."""
    times = [file.stat() for file in (path / SEAL, *path.glob("*.npy"))]
    return max(max(found.st_mtime, found.st_atime) for found in times)


def _users(run_dirs: Sequence[Path]) -> Mapping[str, list[Path]]:
    """First letters of a cache's key -> the run folders whose images it has."""
    found: dict[str, list[Path]] = {}
    for run_dir in run_dirs:
        with suppress(UserError):
            if pixels := read_environment(run_dir)["identity"].get("pixels hash"):
                found.setdefault(pixels, []).append(run_dir)
    return found


def _reason_to_keep(run_dirs: Sequence[Path], cache_dir: Path) -> str:
    """Why it stays; "" where it may go."""
    if any(is_held(run_dir / ".lock") for run_dir in run_dirs):
        return "a run that uses it is at work"
    missing = [_missing(run_dir) for run_dir in run_dirs]
    if run_dirs and all(missing):
        return f"it could not be decoded again: {missing[0]}"
    if not run_dirs and (lost := next(_lost(cache_dir / MEMORY), None)):
        return f"no run here says whose images it holds, and {lost} is gone, which may be one"
    return ""


def _missing(run_dir: Path) -> str:
    """What a run was made of and is not there any more; "" where its images seem to be there."""
    run = Finished(run_dir)
    try:
        manifest: Any = OmegaConf.to_container(
            OmegaConf.create(run.settings["manifest"]), resolve=True
        )
        hidden = bool(run.settings.get("privacy", {}).get("pseudonyms"))
        path = Path(manifest["path"])
        root = Path(manifest.get("image_root") or path.parent)
        first = "" if run.cohort is None or hidden else str(run.cohort["image_path"].iloc[0])
    except Exception as error:  # noqa: BLE001  (whatever is in that folder, it says nothing)
        return f"{run_dir} does not say where its images are ({error})"
    return next((f"{of} is not there" for of in (path, root / first) if not of.exists()), "")


def _lost(memory: Path) -> Iterator[str]:
    """Files that were decoded into caches of this folder, and are not there any more."""
    with suppress(OSError, ValueError):
        for name in json.loads(memory.read_text()):
            if not Path(name.partition("#")[0]).exists():
                yield name
