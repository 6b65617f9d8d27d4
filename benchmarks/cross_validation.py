"""How long does a cross-validation take, beside the least that it can take, and beside MONAI's way?

    python benchmarks/cross_validation.py [--workload idc] [--epochs 12] [--rounds 3]
        [--images N] [--only VARIANT ...] [--quick] [--out FILE.json] [--docs docs/performance.md]
    python benchmarks/cross_validation.py --sizes 1000 2000 5000 10000

Same folds, images, network, schedule, sampler and number of steps for all; each variant is a whole
process, and all run in turn in each round. Needs PATIENTFOLD_DATA, but for --quick and the
workloads for a GPU, which make their images.
"""

import argparse
import json
import os
import shlex
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from speed import ours
from speed.data import settings_for
from speed.figures import Round, disagreement
from speed.machine import machine
from speed.page import block, put, sizes_block
from speed.preparing import Prepared, prepare
from speed.process import machine_busy, processor_time, run
from speed.workload import MADE, WORKLOADS, Workload

from pipeline.processes import num_cores

SCRIPTS = Path(__file__).parent / "speed"
BESIDE = {
    "bare": ("bare.py",),
    "bare, no augmentation": ("bare.py", "none"),
    "MONAI Dataset": ("with_monai.py", "Dataset"),
    "MONAI CacheDataset": ("with_monai.py", "CacheDataset"),
    "MONAI Dataset, apart": ("with_monai.py", "Dataset", "apart"),
    "MONAI CacheDataset, apart": ("with_monai.py", "CacheDataset", "apart"),
}
OURS = ("ours, warm", "ours, cold")
PEERS = ("MONAI Dataset", "MONAI CacheDataset")
ON_DEMAND = ("MONAI Dataset, apart", "MONAI CacheDataset, apart")
"""Rotation and zoom as two transforms, as most examples have them; slower: only if asked for."""
USUAL = ("bare", "bare, no augmentation", *OURS, *PEERS)
VARIANTS = (*USUAL, *ON_DEMAND)
EPOCHS_OF_SIZES = 3


def main() -> None:
    options = _options()
    workload = MADE if options.quick else WORKLOADS[options.workload]
    workload = replace(workload, num_images=options.images or workload.num_images)
    _refuse_missing(workload)
    with tempfile.TemporaryDirectory(prefix="cross_validation_") as name:
        folder = Path(name)
        found = (
            sizes(workload, folder, options) if options.sizes else one(workload, folder, options)
        )
    lines = sizes_block(found) if options.sizes else block(found)
    print("\n".join(lines), flush=True)
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")
    if options.docs:
        put(lines, found["name"], options.docs)


def one(workload: Workload, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All variants of a workload in turn, round by round."""
    epochs = options.epochs or (2 if options.quick else 12)
    variants = [v for v in VARIANTS if v in (options.only or USUAL)]
    workers = 0 if workload.device == "cpu" else num_cores()
    prepared = prepare(workload, folder, epochs, workers)
    prepared.task.write(folder / "task.json")
    load = OtherWork()
    rounds = []
    for number in range(options.rounds or (1 if options.quick else 3)):
        turn = [v for v in variants if not v.startswith("MONAI") or number < options.peer_rounds]
        found = {}
        for variant in turn if number % 2 == 0 else turn[::-1]:
            found[variant] = _measured(variant, prepared)
            _say(f"round {number + 1}, {variant}", found[variant])
        _refuse_unequal(found, 0.0 if epochs < 12 else workload.least_auroc)
        rounds.append({variant: found[variant] for variant in turn})
    return {
        **_circumstances(workload.name, workload, load),
        "epochs": epochs,
        "folds": len(prepared.task.folds),
        "images": len(prepared.task.files),
        "network": prepared.task.network["_target_"],
        "shape": list(workload.size),
        "batch_size": workload.batch_size,
        "variants": variants,
        "rounds": rounds,
    }


def sizes(workload: Workload, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Whole processes of ours over ever more images, each with an empty cache."""
    epochs = options.epochs or EPOCHS_OF_SIZES
    load, found = OtherWork(), []
    for size in options.sizes:
        here = folder / str(size)
        data = settings_for(workload, here / "data", size)
        overrides = [*workload.overrides(epochs), *data, f"images.cache_dir={here / 'cache'}"]
        times, used = [], []
        for number in range(options.rounds or 1):
            shutil.rmtree(here / "cache", ignore_errors=True)
            ran = ours.cross_validate(overrides, here / f"run_{number}", here)
            times.append(ran.whole)
            used.append(ran.processor)
        images = len((here / "data" / "manifest.csv").read_text().splitlines()) - 1
        seconds = {"whole": statistics.median(times), "processor": statistics.median(used)}
        found.append({"images": images, **seconds})
        _say(f"{images} images", found[-1])
    return {
        **_circumstances(f"{workload.name}-sizes", workload, load),
        "epochs": epochs,
        "sizes": found,
    }


def _measured(variant: str, prepared: Prepared) -> dict[str, float]:
    """Seconds and counts of one whole process."""
    folder = prepared.folder
    if variant in OURS:
        cache = prepared.warm if variant == "ours, warm" else folder / "cold"
        run_dir = folder / "run"
        for left in (run_dir, folder / "cold"):
            shutil.rmtree(left, ignore_errors=True)
        ran = ours.cross_validate(prepared.overrides(cache), run_dir, folder)
        return ours.facts_of(run_dir, ran, prepared.task)
    script, *more = BESIDE[variant]
    ran = run([sys.executable, str(SCRIPTS / script), str(folder / "task.json"), *more], folder)
    folds = json.loads(ran.output.strip().split("\n")[-1])
    counted = ("train_images", "val_images", "test_images", "steps")
    return {
        "working": max(f["ended"] for f in folds) - min(f["started"] for f in folds),
        "whole": ran.whole,
        "processor": ran.processor,
        **{name: float(sum(f[name] for f in folds)) for name in counted},
        "auroc": statistics.mean(f["auroc"] for f in folds),
    }


class OtherWork:
    """What the machine does beside what is measured, from now on."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.time(), machine_busy(), self._used()

    def share(self) -> float:
        """Of all processors, from 0 to 1."""
        others = machine_busy() - self._busy - (self._used() - self._own)
        return max(0.0, others / ((time.time() - self._began) * (os.cpu_count() or 1)))

    @staticmethod
    def _used() -> float:
        return processor_time() + time.process_time()


def _circumstances(name: str, workload: Workload, load: OtherWork) -> dict[str, Any]:
    return {
        "name": name,
        "command": shlex.join(["python", "benchmarks/cross_validation.py", *_without_files()]),
        "machine": machine(num_cores(), workload.device),
        "used_by_others": load.share(),
    }


def _without_files() -> list[str]:
    """The command's arguments that say what is measured, not where it is written."""
    kept: list[str] = []
    skip = False
    for argument in sys.argv[1:]:
        skip, skipped = argument in ("--out", "--docs"), skip
        if not skip and not skipped:
            kept.append(argument)
    return kept


def _refuse_unequal(found: Round, least_auroc: float) -> None:
    if problems := disagreement(found, least_auroc):
        raise SystemExit("\n".join(["the variants cannot be compared:", *problems]))


def _refuse_missing(workload: Workload) -> None:
    if workload.folder and "PATIENTFOLD_DATA" not in os.environ:
        sys.exit(f"PATIENTFOLD_DATA must name the folder that holds {workload.folder}/")
    if workload.device == "cuda" and shutil.which("nvidia-smi") is None:
        sys.exit(f"{workload.name} is for a GPU, and there is none here; nothing measured")


def _say(what: str, values: Mapping[str, float]) -> None:
    shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    print(f"{what}: {shown}", file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workload", choices=sorted(WORKLOADS), default="idc")
    parser.add_argument("--epochs", type=int, help="12; of --sizes 3")
    parser.add_argument("--rounds", type=int, help="3; of --sizes 1")
    parser.add_argument(
        "--peer-rounds", type=int, default=1, help="in how many of them MONAI's ways take part: 1"
    )
    parser.add_argument("--images", type=int, help="about so many; default: the workload's own")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, help="these variants")
    parser.add_argument("--sizes", nargs="+", type=int, help="ours alone, over so many images")
    parser.add_argument("--out", type=Path, help="write what was measured to this JSON file")
    parser.add_argument("--docs", type=Path, help="put the tables between their marks in this page")
    parser.add_argument("--quick", action="store_true", help="made images, 2 epochs, 1 round")
    options = parser.parse_args()
    for name in ("out", "docs"):  # the work is done in another folder
        if (path := getattr(options, name)) is not None:
            setattr(options, name, path.absolute())
    return options


if __name__ == "__main__":
    main()
