"""A small cohort, and our commands run on it as a user runs them."""

import csv
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from command_line import called
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from PIL import Image

from pipeline.commands.door import load_config
from pipeline.images.packing import pack_images
from pipeline.manifest import read_manifest
from pipeline.splits import Plan, plan_folds
from pipeline.splits.frozen import check_fits
from pipeline.training.job import FoldJob

NUM_FOLDS = 3
FROZEN = ["model=lenet5", "training.freeze=[features]", "augment=none"]
"""All but the classifier, which trains on kept features."""


@dataclass(frozen=True)
class Cohort:
    """A manifest of 24x24 grey PNGs under `folder`."""

    folder: Path

    @property
    def overrides(self) -> list[str]:
        return [
            f"manifest.path={self.folder}/manifest.csv",
            "manifest.columns.site=null",
            "images.transforms=[]",
            "model=lenet5",
            f"split.num_folds={NUM_FOLDS}",
            "training.batch_size=8",
            "engine.device=cpu",
        ]

    def rows(self) -> list[dict[str, str]]:
        with (self.folder / "manifest.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def write_rows(self, rows: list[dict[str, str]]) -> None:
        with (self.folder / "manifest.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["patient_id", "image_path", "label"])
            writer.writeheader()
            writer.writerows(rows)


def make_cohort(folder: Path, num_patients: int = 18, seed: int = 0) -> Cohort:
    """Every third patient has a lesion: a bright square in noise. 2 to 4 images a patient."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(num_patients):
        label = "lesion" if number % 3 == 0 else "healthy"
        for image in range(2 + number % 3):
            pixels = generator.normal(100, 25, (24, 24))
            if label == "lesion":
                pixels[6:14, 6:14] += 30
            name = f"p{number:02d}_{image}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
            rows.append({"patient_id": f"P{number:02d}", "image_path": name, "label": label})
    cohort = Cohort(folder)
    cohort.write_rows(rows)
    return cohort


def fold_job(
    cohort: Cohort, work_dir: Path, *overrides: str, plan: Plan | None = None, index: int = 0
) -> FoldJob:
    """A fold of the cohort; with the plan of another cohort of the same patients."""
    common = ["training.epochs=3", f"images.cache_dir={work_dir}/cache"]
    config = load_config([*cohort.overrides, *common, *overrides])
    manifest = read_manifest(config.manifest)
    plan = replace(plan or plan_folds(manifest, config.split), manifest_hash=manifest.hash)
    check_fits(plan, manifest)
    images = pack_images(manifest, config.images, lambda _done, _total: None)
    fold_dir = work_dir / f"fold_{index:02d}"
    fold_dir.mkdir(parents=True)
    return FoldJob(config, manifest, plan.folds[index], images, fold_dir, "key", "cpu")


def cv_command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", "cv", *overrides]


def run_cv(cwd: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """`patientfold cv` in the folder `cwd`, where runs/, .cache/ and mlflow.db land."""
    return called(cwd, "cv", *overrides)


def start_cv(cwd: Path, *overrides: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """`patientfold cv` as a terminal starts it, in a process group that can be stopped."""
    return subprocess.Popen(
        cv_command(*overrides),
        cwd=cwd,
        start_new_session=True,
        text=True,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
        # A test run in the background ignores Ctrl-C, and so would its children.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def mlflow_client(cwd: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{cwd}/mlflow.db")


def mlflow_runs(client: MlflowClient, experiment: str) -> tuple[list[MlflowRun], list[MlflowRun]]:
    """Parent runs, and fold runs by name."""
    found = client.get_experiment_by_name(experiment)
    assert found is not None, f"MLflow has no experiment {experiment}"
    runs = client.search_runs([found.experiment_id], max_results=1000)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return parents, sorted(children, key=lambda run: str(run.info.run_name))


def only_run_dir(cwd: Path, experiment: str) -> Path:
    (run_dir,) = (cwd / "runs" / experiment).iterdir()
    return run_dir
