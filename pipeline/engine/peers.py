"""The other workers of a fold that has several devices: forked from its process, ended with it.

Whoever started the fold sees one process. When one of its workers fails or is killed, it ends at
once, and says what that one had to say.
"""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum
from multiprocessing import Pipe, get_context
from pickle import UnpicklingError

from pipeline.config import UserError
from pipeline.processes import FAILED_EXIT, follow_parent
from pipeline.tracking.journal import Failed
from pipeline.training.parallel import Worker, WorkerGoneError

POLL_S = 0.1
GRACE_S = 1.0
"""In which the others fail by the end of one; then it is asked who was the first."""

Work = Callable[[Worker], None]


class Cause(IntEnum):
    """Of a worker's end; the least explains the others."""

    KILLED = 0
    ERROR = 1
    OTHERS_GONE = 2


Failure = tuple[Cause, Failed]


class Peer:
    """Another worker, in a process of its own."""

    def __init__(self, worker: Worker, work: Work) -> None:
        """Fork it; nothing may have touched CUDA yet."""
        self.worker = worker
        self.news, told = Pipe(duplex=False)

        def run() -> None:
            follow_parent()
            try:
                work(worker)
            except Exception as error:  # noqa: BLE001  (whatever ends it is told)
                with suppress(OSError):
                    traceback.print_exc()
                gone = isinstance(error, WorkerGoneError)
                told.send((Cause.OTHERS_GONE if gone else Cause.ERROR, Failed.by(error)))
                os._exit(FAILED_EXIT)

        self.process = get_context("fork").Process(target=run, name=str(worker))
        self.process.start()
        told.close()
        self._failure: Failure | None = None

    def failure(self) -> Failure | None:
        """Why it failed, if it did so far."""
        if self._failure is None:
            with suppress(EOFError, OSError, UnpicklingError):  # killed, at the end or while told
                if self.news.poll():
                    self._failure = self.news.recv()
        code = self.process.exitcode
        if self._failure is None and code:
            how = f"ended with exit code {code}; see output.log in the fold's folder"
            if code < 0:
                hint = ": often too little memory" if -code == signal.SIGKILL else ""
                how = f"was killed by {signal.Signals(-code).name}{hint}"
            self._failure = Cause.KILLED, Failed(error=f"{self.worker} {how}")
        return self._failure

    def end(self, patience_s: float) -> None:
        """End it, if it does not end by itself in that time."""
        self.process.join(patience_s)
        self.process.kill()
        self.process.join()


@contextmanager
def peers(workers: Sequence[Worker], work: Work, write: Callable[[Failed], int]) -> Iterator[None]:
    """Let each of the workers `work` in a process of its own, beside what the block does.

    When one fails, this process ends, whatever it waits for: `write` writes why into the fold's
    journal, and gives the exit code.
    """
    if not workers:
        yield
        return
    started = [Peer(worker, work) for worker in workers]
    is_over, ending = threading.Event(), threading.Lock()

    def watch() -> None:
        while not is_over.wait(POLL_S):
            if any(peer.failure() for peer in started) and ending.acquire(blocking=False):
                try:
                    time.sleep(GRACE_S)
                    failures = [found for peer in started if (found := peer.failure())]
                    os._exit(write(min(failures, key=lambda failure: failure[0])[1]))
                finally:
                    os._exit(FAILED_EXIT)

    threading.Thread(target=watch, name="peers-watch", daemon=True).start()
    patience = 0.0
    try:
        yield
        patience = GRACE_S
    except UserError:
        raise
    except Exception:
        time.sleep(GRACE_S)  # it may be the end of a peer, of which `watch` says more
        raise
    finally:
        is_over.set()
        ending.acquire()  # waits for ever where this process is ending
        for peer in started:
            peer.end(patience)
