"""What does a setting of the training cost or save? An epoch with it and without.

    python benchmarks/training_settings.py [--workloads idc kermany hippocampus3d] [--rounds 7]
        [--images 300] [--set training.compile=true] [--docs docs/performance.md]

In one process and in turn: an epoch of one fold with the settings as they are, then with each of
them changed. On the CPU, with one thread, the processor's time counts, on a GPU the clock; a ratio
is the median over the rounds of each round's ratio. Workloads of real images need PATIENTFOLD_DATA.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from speed.figures import Spread
from speed.fold_job import fold_job
from speed.machine import machine
from speed.page import put
from speed.workload import WORKLOADS, Workload

from pipeline.images.batches import BatchSource
from pipeline.processes import num_cores
from pipeline.training.device import prepare
from pipeline.training.epoch import TrainPart, train_epoch
from pipeline.training.job import FoldJob
from pipeline.training.learner import Learner, build_learner

AS_IT_IS = "as it is"
EVERYWHERE = (
    "training.channels_last=false",
    "+optimizer.fused=false",
    "training.average=0.99",
    "augment=none",
)
ON_A_GPU = (
    "training.precision=float32",
    "training.precision=float16",
    "training.tf32=false",
    "training.cudnn_benchmark=false",
    "training.deterministic=true",
    "training.compile=true",
)


@dataclass
class Trained:
    """A fold in training, under one setting."""

    job: FoldJob
    learner: Learner
    part: TrainPart
    num_epochs: int = 0

    @classmethod
    def begun(cls, job: FoldJob) -> "Trained":
        prepare(job.config.training, job.device, 1)
        learner = build_learner(job)
        source = BatchSource.open(job.images, job.normalisation, learner.device)
        return cls(job, learner, TrainPart(job, source))

    def epoch(self) -> float:
        """Train one more; the seconds that it took."""
        prepare(self.job.config.training, self.job.device, 1)
        self.num_epochs += 1
        is_cpu = self.job.device == "cpu"
        clock = time.process_time if is_cpu else time.perf_counter
        began = clock()
        train_epoch(self.learner, self.part, self.num_epochs, lambda *_: None)
        if not is_cpu:
            torch.cuda.synchronize()
        return clock() - began


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    chosen = [WORKLOADS[name] for name in options.workloads]
    if any(w.folder for w in chosen) and "PATIENTFOLD_DATA" not in os.environ:
        sys.exit("PATIENTFOLD_DATA must name the folder that holds the images")
    lines = []
    for workload in chosen:
        if options.images:
            workload = replace(workload, num_images=options.images)
        changes = [*EVERYWHERE, *(ON_A_GPU if workload.device == "cuda" else ()), *options.set]
        with tempfile.TemporaryDirectory(prefix="training_settings_") as name:
            found = measured(workload, Path(name), changes, options.rounds)
        lines += [f"{workload.name}, {workload.model}:", "", *table(found), ""]
        print("\n".join(lines[-len(found) - 5 :]), flush=True)
    if options.docs:
        facts = machine(num_cores(), chosen[0].device)
        place = f"{facts['date']}, {facts['processor']}, one thread"
        head = f"`{' '.join(['python', *sys.argv])}`, {place}:"
        put(["", head, "", *lines], "settings", options.docs)


def measured(
    workload: Workload, folder: Path, changes: Sequence[str], rounds: int
) -> dict[str, list[float]]:
    """Seconds of an epoch in each round; the first epoch of each, in which much is made once, is
    left out.
    """
    jobs = {what: [] if what == AS_IT_IS else [what] for what in (AS_IT_IS, *changes)}
    trained = {
        what: Trained.begun(fold_job(workload, folder, rounds + 1, further))
        for what, further in jobs.items()
    }
    seconds: dict[str, list[float]] = {what: [] for what in trained}
    for number in range(rounds + 1):
        for what, one in trained.items():
            took = one.epoch()
            if number:
                seconds[what].append(took)
    return seconds


def table(seconds: Mapping[str, Sequence[float]]) -> list[str]:
    """Markdown: a row for each setting, against the settings as they are."""
    base = seconds[AS_IT_IS]
    lines = ["| | an epoch, s | ratio |", "|---|---|---|"]
    for what, values in seconds.items():
        ratio = Spread.of([value / of for value, of in zip(values, base, strict=True)])
        name = what if what == AS_IT_IS else f"`{what}`"
        lines.append(f"| {name} | {Spread.of(values).median:.2f} | {ratio.text(2)} |")
    return lines


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", nargs="+", choices=sorted(WORKLOADS), default=["idc"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, help="about so many instead of the workload's own")
    parser.add_argument("--set", nargs="+", default=[], help="further changes to measure")
    parser.add_argument("--docs", type=Path, help="put the tables between their marks in this page")
    return parser.parse_args()


if __name__ == "__main__":
    main()
