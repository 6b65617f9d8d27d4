"""One command as a whole process: its time, and the processor time of all that it started."""

import ctypes
import os
import resource
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # of Linux's prctl
TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.1
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Ran:
    """A command that has ended; times are Unix seconds."""

    began: float
    ended: float
    """When the prompt would be back."""
    processor: float
    """Seconds, of it and of all processes that it started."""
    own: tuple[tuple[float, float], ...]
    """Moments, and the processor time of its own process until then."""
    output: str

    @property
    def whole(self) -> float:
        return self.ended - self.began

    def own_between(self, start: float, end: float) -> float:
        """Processor time of the command's own process, without those that it started."""
        inside = [used for moment, used in self.own if start <= moment <= end]
        return inside[-1] - inside[0] if inside else 0.0


def run(command: Sequence[str], folder: Path) -> Ran:
    """Run it in `folder`; SystemExit with what it said when it fails."""
    _adopt_orphans(True)
    ours, before, log = _children(), processor_time(), folder / "output.txt"
    own: list[tuple[float, float]] = []
    with log.open("w") as output:
        began = time.time()
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        ended_itself = threading.Event()
        watch = threading.Thread(target=_watch, args=(process.pid, own, ended_itself), daemon=True)
        watch.start()
        code = process.wait()
        ended = time.time()
    ended_itself.set()
    watch.join()
    _reap(ours)
    _adopt_orphans(False)
    said = log.read_text(errors="replace")
    if code:
        raise SystemExit(f"{' '.join(command)}\nended with exit code {code}:\n{said}")
    return Ran(began, ended, processor_time() - before, tuple(own), said)


def processor_time() -> float:
    """Seconds of all processes that were started from here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def machine_busy() -> float:
    """Seconds that all processors together have been busy since the machine started."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / TICKS


def _adopt_orphans(yes: bool) -> None:
    """Processes whose parent has ended become ours, so that their processor time is counted."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(yes))


def _reap(others: set[int]) -> None:
    """Wait for what the command has left behind, which ends with the command; not for `others`."""
    latest = time.monotonic() + PATIENCE_S
    while (left := _children() - others) and time.monotonic() < latest:
        for pid in left:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)


def _children() -> set[int]:
    """Processes whose parent is this one."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for path in lists for pid in path.read_text().split()}


def _watch(pid: int, own: list[tuple[float, float]], ended: threading.Event) -> None:
    while not ended.wait(SAMPLE_S):
        with suppress(OSError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            own.append((time.time(), (int(fields[11]) + int(fields[12])) / TICKS))
