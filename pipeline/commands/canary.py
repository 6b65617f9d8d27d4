"""Would a leak show? Random labels, through the whole pipeline.

60 patients with a texture of their own and a label drawn by lot: there is nothing to learn but
who is who. Split by patient, the AUROC must be that of chance; split by image on purpose, the
network knows the patients again and the AUROC must be near 1, which proves that it could have.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from rich.console import Console

from pipeline.commands.cv import decoded
from pipeline.commands.door import load_config
from pipeline.commands.overrides import overrides_of
from pipeline.commands.settings import CanarySettings
from pipeline.config import Config, UserError
from pipeline.engine.leakage import LeakageCost, both_runs, leakage_cost, print_leakage_cost
from pipeline.engine.results import write_results
from pipeline.engine.run_folder import open_run
from pipeline.engine.session import train_missing_folds, try_out
from pipeline.processes import call_in_child

NUM_PATIENTS = 60
NUM_IMAGES = 10  # of each patient
SIZE = 24  # pixels a side
LEAK_SHOWS = 0.95
"""AUROC that a split by image must exceed."""
QUICK = """
    name=canary manifest.classes=[tails,heads] images.transforms=[] images.num_processes=1
    augment=none model=lenet5 sampler=none scheduler=constant optimizer.lr=0.002
    split.num_folds=5 training.epochs=10 training.batch_size=16 engine.device=cpu
    tracking.ledger=null
"""


class CanaryError(UserError):
    """A leak was found, or would not have been."""


def main(settings: CanarySettings) -> None:
    """Train both ways on random labels, compare, and say what is wrong."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="canary-") as folder:
        make_canary(Path(folder), settings.seed)
        cost = run_canary(canary_config(Path(folder), settings.seed), console)
    print_leakage_cost(cost, console)
    if problems := verdict(cost):
        raise CanaryError("; ".join(problems))
    console.print("canary: no leak, and a leak would have shown", style="green")


def make_canary(folder: Path, seed: int) -> None:
    """Write manifest.csv and its PNGs: each patient's own texture, noise, a label by lot."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(NUM_PATIENTS) % 2)
    rows = []
    for number, label in enumerate(labels):
        cells = generator.normal(size=(6, 6))
        texture = cells.repeat(SIZE // 6, axis=0).repeat(SIZE // 6, axis=1)
        for image in range(NUM_IMAGES):
            pixels = 128 + 40 * texture + 12 * generator.normal(size=texture.shape)
            path = f"p{number:02d}_{image}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / path)
            rows.append((f"P{number:02d}", path, ("tails", "heads")[label]))
    table = pd.DataFrame(rows, columns=["patient_id", "image_path", "label"])
    table.to_csv(folder / "manifest.csv", index=False)


def canary_config(folder: Path, seed: int) -> Config:
    """A small quick network that can learn 60 textures by heart."""
    own = {
        "manifest.path": folder / "manifest.csv",
        "run_dir": folder / "run",
        "images.cache_dir": folder / "cache",
        "split.seed": seed,
        "training.seed": seed,
    }
    return load_config([*QUICK.split(), *overrides_of(own)])


def run_canary(config: Config, console: Console) -> LeakageCost:
    """Read, pack, plan and train both ways, as `patientfold cv` does, without MLflow."""
    slots, images, content = decoded(config, console)
    runs = both_runs(config, content.manifest, images)
    for run in runs:
        try_out(run)
        with open_run(run):
            train_missing_folds(run, slots, console)
            call_in_child(write_results, run)
    return leakage_cost(runs)


def verdict(cost: LeakageCost) -> list[str]:
    """What is wrong, nothing when the pipeline neither leaks nor is blind."""
    problems = []
    if not cost.by_patient.low <= 0.5 <= cost.by_patient.high:
        problems.append(
            f"random labels were predicted with AUROC {cost.by_patient}, split by patient; the "
            "interval must contain 0.5: something leaks from the train to the test part"
        )
    if cost.by_image.value <= LEAK_SHOWS:
        problems.append(
            f"split by image, the AUROC is {cost.by_image} and must exceed {LEAK_SHOWS}: the "
            "network did not learn the patients, so that this test would not see a leak"
        )
    return problems
