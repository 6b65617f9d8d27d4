"""Where a cache is built: beside its place, by one process; one that was killed is gone on with."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import ENOLCK, ENOSYS, EOPNOTSUPP
from pathlib import Path
from platform import node

from pipeline.console import tell
from pipeline.files import NOT_FOLLOWED, make_private
from pipeline.images.trust import check_packed

LOCK = ".lock"
OLD_S = 7 * 24 * 3600
"""What a killed build left is kept so long for the command that goes on with it."""
POLL_S = 0.5
WAITING = "another command decodes these images at the moment; this one waits for it"
_NO_LOCKS = (ENOLCK, ENOSYS, EOPNOTSUPP)


@contextmanager
def built_beside(packed_dir: Path) -> Iterator[Path]:
    """A folder to build in, which gets the cache's name in the end: sealed, or not at all."""
    partial_dir = packed_dir.with_name(f"{packed_dir.name}.{node()}.{os.getpid()}.partial")
    shutil.rmtree(partial_dir, ignore_errors=True)
    make_private(partial_dir)
    try:
        yield partial_dir
        _give_name(partial_dir, packed_dir)
    finally:
        shutil.rmtree(partial_dir, ignore_errors=True)


@contextmanager
def continued(packed_dir: Path, look: Callable[[Path], None]) -> Iterator[Path | None]:
    """The same, with what an earlier command decoded there before it was killed or interrupted.

    One command builds at a time; `look` is called with the folder while another does. None when
    that has made the cache. What fails leaves nothing.

    Raises:
        UserError: when others may write what is in the folder.
    """
    partial_dir = packed_dir.with_name(f"{packed_dir.name}.partial")
    lock = _locked(partial_dir, look)
    if lock is None:
        with built_beside(packed_dir) as folder:  # on a file system without locks
            yield folder
        return
    try:
        if (packed_dir / "cache.json").exists():
            shutil.rmtree(partial_dir, ignore_errors=True)
            yield None
            return
        check_packed(partial_dir)
        yield partial_dir
        _give_name(partial_dir, packed_dir)
        (packed_dir / LOCK).unlink(missing_ok=True)
    except Exception:
        shutil.rmtree(partial_dir, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def _locked(partial_dir: Path, look: Callable[[Path], None]) -> int | None:
    """The lock of a folder that is there, as a file to close; None where there are no locks."""
    is_told = False
    while True:
        make_private(partial_dir)
        lock = None
        try:
            lock = os.open(partial_dir / LOCK, os.O_WRONLY | os.O_CREAT | NOT_FOLLOWED, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), (partial_dir / LOCK).stat()):
                return lock
        except BlockingIOError:
            if not is_told:
                tell(WAITING)
            is_told = True
            look(partial_dir)
            time.sleep(POLL_S)
        except FileNotFoundError:  # it was removed or got its name meanwhile
            pass
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            shutil.rmtree(partial_dir, ignore_errors=True)
            return None
        if lock is not None:
            os.close(lock)


def _give_name(partial_dir: Path, packed_dir: Path) -> None:
    try:
        partial_dir.rename(packed_dir)
    except OSError:
        if not (packed_dir / "cache.json").exists():  # no other process was faster
            raise
        shutil.rmtree(partial_dir, ignore_errors=True)


def remove_leftovers(cache_dir: Path) -> None:
    """Remove what nobody will go on with: old builds that no process holds, and those that are
    named by a process of this machine that has ended.
    """
    for partial_dir in cache_dir.glob(f"*.{node()}.*.partial"):
        pid = int(partial_dir.name.split(".")[-2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            shutil.rmtree(partial_dir, ignore_errors=True)
        except PermissionError:
            pass  # it runs, for somebody else
    for partial_dir in cache_dir.glob("*.partial"):
        if "." not in partial_dir.stem:
            _remove_if_old(partial_dir)


def _remove_if_old(partial_dir: Path) -> None:
    with suppress(OSError):
        newest = max(path.stat().st_mtime for path in (partial_dir, *partial_dir.iterdir()))
        if time.time() - newest < OLD_S:
            return
        lock = os.open(partial_dir / LOCK, os.O_WRONLY | os.O_CREAT | NOT_FOLLOWED, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(partial_dir, ignore_errors=True)
        finally:
            os.close(lock)
