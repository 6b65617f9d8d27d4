"""Processes for heavy work: forked from one that has imported torch and monai once for all.

The command's own process imports neither: it starts fast, stays small and never touches CUDA.
"""

import os
import pwd
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver, get_context, parent_process
from multiprocessing.context import ForkServerContext
from tempfile import gettempdir
from typing import ParamSpec, TypeVar

from pipeline.errors import UserError

PRELOAD = [
    "pandas",
    "pydantic",
    "monai.transforms",
    "monai.networks.nets",
    "torch._dynamo",  # any optimizer imports it when it is made
    "sklearn.metrics",
    "matplotlib.figure",
]
FAILED_EXIT, ORPHAN_EXIT, DISK_FULL_EXIT = 1, 3, 4

P = ParamSpec("P")
T = TypeVar("T")


def start_forkserver() -> ForkServerContext:
    """Start it, if it does not run yet; its imports go on beside whatever the caller does next.

    It must never touch CUDA: a forked process cannot use a CUDA context of its parent.

    Raises:
        UserError: when its socket cannot be made in the folder of temporary files.
    """
    name_the_user()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    try:
        forkserver.ensure_running()
    except OSError as error:  # a socket's name may have 107 bytes, and Python adds some 31
        raise UserError(
            f"no socket can be made in the folder of temporary files, {gettempdir()} ({error}). "
            "Set TMPDIR to one with a short name that can be written, e.g. TMPDIR=/tmp"
        ) from None
    return context


def preload(*modules: str) -> None:
    """Modules of ours that its processes use: imported once, in the server, if called before."""
    PRELOAD.extend(module for module in modules if module not in PRELOAD)


def name_the_user() -> None:
    """Give a user whom the machine does not know, as in containers, a name and a home.

    monai, torch and mlflow ask for them when they are imported or used, and fail without.
    """
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("USER", f"user-{os.getuid()}")
        os.environ.setdefault("HOME", gettempdir())


@contextmanager
def process_pool(num_processes: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of such processes; on an error or Ctrl-C what has not begun is dropped.

    Raises:
        UserError: when they cannot share locks, which lie in /dev/shm.
    """
    context = start_forkserver()
    try:
        pool = ProcessPoolExecutor(num_processes, context, follow_parent)
    except OSError as error:
        raise UserError(
            f"/dev/shm cannot be used ({error.strerror}): the processes of this command keep their "
            "locks there. Make it writable, with some MB of room (docker run --shm-size=1g)."
        ) from None
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def call_in_child(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function of a module in a process of its own; what it raises is raised here."""
    with process_pool(1) as pool:
        return pool.submit(function, *args, **kwargs).result()


def follow_parent() -> None:
    """Leave Ctrl-C to the command's process, and end at once when that is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None, "called in a process that was started here"

    def watch() -> None:
        parent.join()
        os._exit(ORPHAN_EXIT)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
