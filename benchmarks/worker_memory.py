"""Is the memory of a fold's worker independent of the number of images?

    python benchmarks/worker_memory.py [--images 5000 20000] [--folder FOLDER]

Trains LeNet-5 for two epochs on made images of 32 x 32, one fold at a time, each number of images
by itself, and reads the private memory of the worker (RssAnon in /proc/PID/status) many times a
second: its peak is printed, and how much it grows. The packed array is mapped, not read: its pages
are shared and belong to the system's cache.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

DIFFERENT, IMAGES_PER_PATIENT = 200, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 20000])
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as temporary:
        for num_images in args.images:
            folder = (args.folder or Path(temporary)) / str(num_images)
            make(folder, num_images)
            peaks.append(peak_of_worker(folder))
            print(f"{num_images:,} images: worker {peaks[-1] / 1e3:.1f} MB", flush=True)
    print(f"growth {peaks[-1] / peaks[0] - 1:+.1%} at {args.images[-1] / args.images[0]:g} x")


def make(folder: Path, num_images: int) -> None:
    """Noise under names of their own: a number in each file makes no two of them the same."""
    images, rng = folder / "images", np.random.default_rng(0)
    images.mkdir(parents=True, exist_ok=True)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient_id", "image_path", "label", "age", "device", "report"])
        for number in range(num_images):
            pixels = rng.integers(0, 256, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(images / f"{number:06d}.png")
            who = number // IMAGES_PER_PATIENT
            report = f"report {number} " + "of findings " * 5
            name = f"images/{number:06d}.png"
            writer.writerow(
                [
                    f"P{who:05d}",
                    name,
                    ("healthy", "lesion")[who % 2],
                    who % 60,
                    f"device {who}",
                    report,
                ]
            )


def peak_of_worker(folder: Path) -> int:
    """kB."""
    settings = [
        "experiment=demo",
        f"manifest.path={folder / 'manifest.csv'}",
        "manifest.name=memory",
        "manifest.columns={patient: patient_id, image: image_path, label: label, site: null}",
        "model=lenet5",
        "images.size=[32,32]",
        "images.transforms=[]",
        "training.epochs=2",
        "folds=[0]",
        "engine.folds_at_once=1",
        f"images.cache_dir={folder / 'cache'}",
        f"tracking.uri=sqlite:///{folder / 'mlflow.db'}",
        f"run_dir={folder / 'run'}",
        "audit.near=report",
    ]
    command = [sys.executable, "-m", "pipeline", "cv", *settings]
    peak = 0
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None:
            peak = max([peak, *map(private_kb, workers(folder / "run"))])
            time.sleep(0.02)
    if process.returncode:
        sys.exit((folder / "log").read_text()[-4000:])
    return peak


def workers(run_dir: Path) -> list[int]:
    """Processes whose standard output is a fold's output.log."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                target = str(Path(f"/proc/{entry.name}/fd/1").readlink())
            except OSError:
                continue
            if target.startswith(f"{run_dir}/fold_"):
                found.append(int(entry.name))
    return found


def private_kb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if "RssAnon" in line), 0)


if __name__ == "__main__":
    main()
