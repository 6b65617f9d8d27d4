"""Do new images stream at the speed of the networks, in memory that their number does not change?

    python benchmarks/predict.py [--images 1000 4000] [--side 96] [--model resnet10] [--device cpu]

Trains a run of made images for one epoch, 3 folds, then predicts each number of new images by
`patientfold predict`. In this process the same networks predict as many images that are decoded
already. Printed: the processor time of the command (its processes together, the imports among them)
in times of that of the networks alone, the clock in times of the networks' when they share the
cores, and the peak of the private memory of all processes of the command together.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.engine.finished import Finished
from pipeline.ensemble import Ensemble
from pipeline.processes import num_cores
from pipeline.training.evaluated import EVAL_BATCH, bounds

IMAGES_PER_PATIENT, TRAINED_ON = 5, 90


@dataclass(frozen=True)
class Cost:
    """Of one number of images."""

    seconds: float
    processor_s: float
    """Of the command's processes."""
    peak_mb: float
    networks_s: float
    """Processor time of the networks alone, of images in memory; on a GPU the clock."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 4000])
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--model", default="resnet10")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()
    cores = num_cores()
    print(f"{args.model}, 3 folds, {args.side} x {args.side} PNGs, {args.device}, {cores} cores")
    costs = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make(folder / "train", TRAINED_ON, args.side, seed=0)
        train(folder, args.model, args.side)
        for number in args.images:
            make(folder / str(number), number, args.side, seed=1)
            cost = predict(folder, number, args.device)
            costs.append(cost)
            own = cost.networks_s if args.device == "cuda" else cost.networks_s / cores
            print(
                f"{number:,} images: {number / cost.seconds:.0f} a second; processor time "
                f"{cost.processor_s / cost.networks_s:.2f} times, clock {cost.seconds / own:.2f} "
                f"times the networks'; peak memory {cost.peak_mb:.0f} MB",
                flush=True,
            )
    growth = costs[-1].peak_mb / costs[0].peak_mb - 1
    more = args.images[-1] - args.images[0]
    clock, used, own = (
        (getattr(costs[-1], name) - getattr(costs[0], name)) / more * 1e3
        for name in ("seconds", "processor_s", "networks_s")
    )
    print(f"memory {growth:+.1%} at {args.images[-1] / args.images[0]:g} times the images")
    print(
        f"a further image: {clock:.2f} ms, {used:.2f} ms of processor time; the networks alone "
        f"{own:.2f} ms: {used / own:.2f} times"
    )


def make(folder: Path, number: int, side: int, seed: int) -> None:
    """Smooth noise, as a radiograph compresses; two classes in turn."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    lines = ["patient_id,image_path,label"]
    for image in range(number):
        coarse = rng.integers(0, 256, (side // 4, side // 4), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        picture.save(folder / f"{image:06d}.png")
        who = image // IMAGES_PER_PATIENT
        lines.append(f"S{seed}P{who:05d},{image:06d}.png,{('healthy', 'lesion')[who % 2]}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


def train(folder: Path, model: str, side: int) -> None:
    settings = [
        f"manifest.path={folder / 'train' / 'manifest.csv'}",
        f"model={model}",
        f"images.size=[{side}]",
        "images.transforms=[]",
        "images.dtype=auto",
        "split.num_folds=3",
        "training.epochs=1",
        "training.batch_size=16",
        "audit.content=false",
        "engine.device=cpu",
        f"images.cache_dir={folder / 'cache'}",
        f"tracking.uri=sqlite:///{folder / 'mlflow.db'}",
        "tracking.ledger=null",
        f"run_dir={folder / 'run'}",
    ]
    called([sys.executable, "-m", "pipeline", "cv", *settings], folder / "log")


def predict(folder: Path, number: int, device: str) -> Cost:
    asked = [
        f"run_dir={folder / 'run'}",
        f"manifest.path={folder / str(number) / 'manifest.csv'}",
        f"out={folder / f'out_{number}'}",
        f"device={device}",
    ]
    seconds, processor, peak = called(
        [sys.executable, "-m", "pipeline", "predict", *asked], folder / "log"
    )
    return Cost(seconds, processor, peak / 1e3, networks_alone(folder / "run", number, device))


def called(command: list[str], log_path: Path) -> tuple[float, float, float]:
    """Seconds, processor time of all its processes, and the peak of their private memory in kB."""
    started, peak, used = time.perf_counter(), 0, dict[int, float]()
    with log_path.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        while process.poll() is None:
            there = session_of(process.pid)
            peak = max(peak, sum(map(private_kb, there)))
            used |= {pid: max(processor_s(pid), used.get(pid, 0.0)) for pid in there}
            time.sleep(0.1)
    if process.returncode:
        sys.exit(log_path.read_text()[-4000:])
    return time.perf_counter() - started, sum(used.values()), peak


def session_of(leader: int) -> list[int]:
    """The processes of a session."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == leader:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def processor_s(pid: int) -> float:
    """Of a process by itself; a little less than in the end, as it is looked at now and then."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def private_kb(pid: int) -> int:
    """Memory of its own, without what it shares with the process that it was forked from."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    names = ("Private_Dirty:", "Private_Clean:")
    return sum(int(line.split()[1]) for line in lines if line.startswith(names))


def networks_alone(run_dir: Path, number: int, device: str) -> float:
    """Processor time that the networks take for so many images; on a GPU the clock."""
    torch.set_num_threads(1)
    ensemble = Ensemble.read(Finished.read(run_dir), device=device)
    size = EVAL_BATCH[device] + 1
    pixels = np.random.default_rng(0).integers(0, 256, (size, *ensemble.shape))
    images = torch.from_numpy(pixels.astype(ensemble.dtype))
    ensemble.member_probabilities(images)
    clock = time.perf_counter if device == "cuda" else time.process_time
    started = clock()
    for begin, end in bounds(number, EVAL_BATCH[device]):
        ensemble.member_probabilities(images[: end - begin])
    return clock() - started


if __name__ == "__main__":
    main()
