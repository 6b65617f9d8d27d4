"""How much does a whole run cost beyond a bare PyTorch loop? `make bench`

Trains fold 0 of `experiment=idc` with LeNet-5 (the lighter the network, the more the rest shows)
in turn by our command and by `bare_loop.py`, each as a whole process, and prints the ratios. The
packed cache is warm: decoding happens once for all folds and runs. Needs PATIENTFOLD_DATA.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pipeline.commands.door import load_config
from pipeline.config import Config
from pipeline.images.packing import pack_images
from pipeline.manifest import read_manifest
from pipeline.splits import plan_folds

OVERRIDES = [
    "experiment=idc",
    "model=lenet5",
    "scheduler=cosine",
    "training.average=0",  # the bare loop has none
    "folds=[0]",
    "engine.folds_at_once=1",
    "engine.device=cpu",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if "PATIENTFOLD_DATA" not in os.environ:
        sys.exit("PATIENTFOLD_DATA must name the folder that holds idc_patches/; nothing measured")
    with tempfile.TemporaryDirectory() as folder:
        work_dir = Path(folder)
        data_path = _prepare(work_dir, load_config(_overrides(work_dir)))
        rounds = [_round(work_dir, data_path, options.epochs, i) for i in range(options.rounds)]
    print(f"fold 0 of idc, LeNet-5, {options.epochs} epochs, {options.rounds} rounds in turn, CPU")
    for name in ("whole process", "training and test"):
        ours = [r[name][0] for r in rounds]
        bare = [r[name][1] for r in rounds]
        ratios = [a / b for a, b in zip(ours, bare, strict=True)]
        print(
            f"{name}: ours {statistics.median(ours):.1f} s, bare {statistics.median(bare):.1f} s, "
            f"ratio {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})"
        )
    for name in ("before the first epoch", "after the test"):
        print(f"ours, {name}: {statistics.median(r[name][0] for r in rounds):.1f} s")


def _overrides(work_dir: Path) -> list[str]:
    return [
        *OVERRIDES,
        f"images.cache_dir={work_dir}/cache",
        f"tracking.uri=sqlite:///{work_dir}/mlflow.db",
    ]


def _prepare(work_dir: Path, config: Config) -> Path:
    """Warm the cache, and write the same pixels and parts for the bare loop."""
    manifest = read_manifest(config.manifest)
    images = pack_images(manifest, config.images, lambda _done, _total: None)
    fold = plan_folds(manifest, config.split).folds[0]
    rows = {part: manifest.of(fold.of(part)) for part in ("train", "val", "test")}
    data_path = work_dir / "fold_0.npz"
    train, val, test = (np.asarray(images.array[rows[part]]) for part in ("train", "val", "test"))
    labels = manifest.labels[rows["train"]]
    np.savez(data_path, labels=labels, train=train, val=val, test=test)
    return data_path


def _round(
    work_dir: Path, data_path: Path, num_epochs: int, number: int
) -> dict[str, tuple[float, float]]:
    """Seconds of (ours, bare): the whole process, and in it all epochs with the test after them."""
    run_dir = work_dir / f"run_{number}"
    overrides = [*_overrides(work_dir), f"training.epochs={num_epochs}", f"run_dir={run_dir}"]
    began = time.time()
    ours, _ = _timed([sys.executable, "-m", "pipeline", "cv", *overrides])
    bare_script = str(Path(__file__).with_name("bare_loop.py"))
    bare, bare_loop = _timed([sys.executable, bare_script, str(data_path), str(num_epochs)])
    lines = (run_dir / "fold_00" / "journal.jsonl").read_text().splitlines()
    started = json.loads(lines[0])["time"]
    ended = json.loads((run_dir / "fold_00" / "result.json").read_text())["time"]
    return {
        "whole process": (ours, bare),
        "training and test": (ended - started, float(bare_loop)),
        "before the first epoch": (started - began, 0.0),
        "after the test": (began + ours - ended, 0.0),
    }


def _timed(command: list[str]) -> tuple[float, str]:
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - started, done.stdout.strip().split("\n")[-1]


if __name__ == "__main__":
    main()
