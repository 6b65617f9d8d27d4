"""Where does the time of one fold go? The parts of our own training as shares.

    python benchmarks/fold_shares.py [--workload idc] [--epochs 12] [--set NAME=VALUE ...]
        [--docs docs/performance.md]

Trains fold 0 in this process, with a warm cache and one thread. A timer that counts processor time
looks again and again at which function is running, so that other work on the machine hardly
matters. Needs PATIENTFOLD_DATA.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import torch
from speed.fold_job import fold_job
from speed.page import put
from speed.workload import WORKLOADS

from pipeline.training.fold import train_fold

EVERY_S = 0.002
SHARES = (
    ("training/closing.py", "close", "the end: last predictions of val and test, result.json"),
    ("training/learner.py", "build_learner", "the start: network and optimizer"),
    ("training/checkpoint.py", "save_epoch", "checkpoints and journal"),
    ("training/epoch.py", "predict", "validation: forward pass"),
    ("training/judge.py", "validate", "validation: metrics and thresholds"),
    ("images/augment", "", "training: augmentation"),
    ("images/batches.py", "", "training: gather and normalise"),
    ("training/learner.py", "step", "training: gradient norm and optimizer"),
    ("torch/_tensor.py", "backward", "training: backward pass"),
    ("training/loss.py", "", "training: loss"),
    ("torch/nn/modules/module.py", "_call_impl", "training: forward pass"),
    ("training/epoch.py", "train_epoch", "training: the loop itself"),
)
"""Part of a file's path, function (any: ""), share; the first that is on the stack counts."""


def main() -> None:
    options = _options()
    workload = WORKLOADS[options.workload]
    if workload.folder and "PATIENTFOLD_DATA" not in os.environ:
        sys.exit(f"PATIENTFOLD_DATA must name the folder that holds {workload.folder}/")
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1)])  # the first optimizer imports what workers have when forked
    with tempfile.TemporaryDirectory(prefix="fold_shares_") as name:
        job = fold_job(workload, Path(name), options.epochs, options.set)
        shares = Shares()
        with shares:
            train_fold(job)
    lines = table(shares.seconds, f"fold 0 of {workload.name}, {options.epochs} epochs")
    print("\n".join(lines))
    if options.docs:
        fence = ["", "```", *lines, "```", ""]
        put(fence, f"{workload.name}-shares", options.docs)


def table(seconds: Mapping[str, float], title: str) -> list[str]:
    """The largest share first."""
    total = sum(seconds.values())
    largest = sorted(seconds, key=lambda share: -seconds[share])
    head = f"{title}: {total:.1f} s of one processor"
    return [head, *(f"{seconds[share] / total:6.1%}  {share}" for share in largest)]


class Shares:
    """Processor seconds of each share, while it is entered."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._last = 0.0

    def __enter__(self) -> None:
        self._last = time.process_time()
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _look(self, _number: int, frame: FrameType | None) -> None:
        """Called between two instructions of Python: what has passed was the running one's."""
        now = time.process_time()
        self.seconds[share_of(frame)] += now - self._last
        self._last = now


def share_of(frame: FrameType | None) -> str:
    """What the stack that ends with `frame` belongs to."""
    running = []
    while frame is not None:
        running.append((frame.f_code.co_filename, frame.f_code.co_name))
        frame = frame.f_back
    for path, function, share in SHARES:
        if any(path in file and function in ("", name) for file, name in running):
            return share
    return "the rest"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", choices=sorted(WORKLOADS), default="idc")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--docs", type=Path, help="put the table between its marks in this page")
    parser.add_argument("--set", nargs="+", default=[], help="further settings of the command")
    return parser.parse_args()


if __name__ == "__main__":
    main()
