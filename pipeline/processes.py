"""Processes for heavy work: forked from one that has imported torch, and monai, once for all.

The command's own process imports neither: it starts fast, stays small and never touches CUDA.
"""

import ast
import inspect
import os
import pwd
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver, get_context, parent_process, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from tempfile import gettempdir
from typing import ParamSpec, TypeVar

from pipeline.errors import UserError
from pipeline.words import visible

PRELOAD = [
    "pipeline.fork_server",
    "torch",
    "pandas",
    "pydantic",
    "torch._dynamo",  # any optimizer imports it when it is made
    "sklearn.metrics",
]
MONAI = ("pipeline.lean_monai", "monai.transforms", "monai.networks.nets")
PLOTS = ("matplotlib.figure", "matplotlib.backends.backend_agg")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Of a library in a process: 1 where nothing else is set, for there are as many processes as cores.
"""
FAILED_EXIT, ORPHAN_EXIT, DISK_FULL_EXIT = 1, 3, 4
OF_THE_COMMAND = (signal.SIGUSR1, signal.SIGUSR2)
"""By which a scheduler tells all processes of a job to end: the command ends the others."""

P = ParamSpec("P")
T = TypeVar("T")


def start_forkserver(more: Sequence[str] = (*MONAI, *PLOTS)) -> ForkServerContext:
    """Start it, if it does not run yet; its imports go on beside whatever the caller does next.

    It must never touch CUDA: a forked process cannot use a CUDA context of its parent. `more` is
    imported after PRELOAD. What is left out, each process that needs it imports itself: monai
    takes seconds.

    Raises:
        UserError: when its socket cannot be made in the folder of temporary files.
        SystemExit: with a message, when a script calls it that each worker would run again.
    """
    _refuse_unguarded_script()
    name_the_user()
    for name in THREADS:
        os.environ.setdefault(name, "1")
    context = get_context("forkserver")
    context.set_forkserver_preload([*PRELOAD, *more])
    os.environ["PATIENTFOLD_COMMAND_PID"] = str(os.getpid())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, OF_THE_COMMAND)  # for good: it is inherited
    resource_tracker.ensure_running()  # which would end the next block
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # until it ignores Ctrl-C
    try:
        forkserver.ensure_running()
    except OSError as error:  # a socket's name may have 107 bytes, and Python adds some 31
        raise UserError(
            f"no socket can be made in the folder of temporary files, {gettempdir()} ({error}). "
            "Set TMPDIR to one with a short name that can be written, e.g. TMPDIR=/tmp"
        ) from None
    finally:
        del os.environ["PATIENTFOLD_COMMAND_PID"]
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def preload(*modules: str) -> None:
    """Modules of ours that its processes use: imported once, in the server, if called before."""
    PRELOAD.extend(module for module in modules if module not in PRELOAD)


def _refuse_unguarded_script() -> None:
    """Every worker imports the script that called us: is this line run then, too?"""
    main = sys.modules["__main__"]
    file, frame = getattr(main, "__file__", None), inspect.currentframe()
    if file is None or (main.__spec__ and main.__spec__.name.endswith("__main__")):
        return  # a notebook or a package, which workers do not import
    while frame and (frame.f_globals is not main.__dict__ or frame.f_code.co_name != "<module>"):
        frame = frame.f_back
    if frame is None:
        return
    script, line = Path(file), frame.f_lineno
    if not script.is_file():
        sys.exit(
            f"error: {visible(file)}: this starts processes, which import the script, and it is "
            "no file. Save it as one, and run that"
        )
    for statement in ast.parse(script.read_bytes()).body:
        names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        if statement.lineno <= line and isinstance(statement, ast.If) and "__name__" in names:
            return
    sys.exit(
        visible(
            f"error: {script}, line {line}: this starts processes, each of which imports "
            f'{script.name} and would run the line again. Put it under `if __name__ == "__main__":`'
        )
    )


def name_the_user() -> None:
    """Give a user whom the machine does not know, as in containers, a name and a home.

    monai, torch and mlflow ask for them when they are imported or used, and fail without.
    """
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("USER", f"user-{os.getuid()}")
        os.environ.setdefault("HOME", gettempdir())


def num_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def light_context() -> SpawnContext:
    """For processes that import what they need themselves, as work without torch does: at once.

    Raises:
        SystemExit: as in `start_forkserver`.
    """
    _refuse_unguarded_script()
    return get_context("spawn")


@contextmanager
def process_pool(
    num_processes: int, context: SpawnContext | None = None
) -> Iterator[ProcessPoolExecutor]:
    """A pool of forked processes, or of those of `context`; on an error or Ctrl-C what has not
    begun is dropped, and what runs is waited for only after an error.

    Raises:
        UserError: when they cannot share locks, which lie in /dev/shm.
    """
    try:
        pool = ProcessPoolExecutor(num_processes, context or start_forkserver(), follow_parent)
    except OSError as error:
        raise UserError(
            f"/dev/shm cannot be used ({error.strerror}): the processes of this command keep their "
            "locks there. Make it writable, with some MB of room (docker run --shm-size=1g)."
        ) from None
    try:
        yield pool
    except BaseException as error:
        # A pool that is left while it works may find its pipe closed when Python ends, and say so.
        pool.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
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
