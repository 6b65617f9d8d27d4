"""Shortcuts: silent where nothing tells the label, told where something does?

    python benchmarks/shortcuts.py [--runs 300]

Synthetic cohorts of patients (site, file size, width, images per patient), each run another seed.
A run is flagged when any shortcut is. Silence is asked of cohorts whose label is drawn by itself;
detection of cohorts where one thing depends on the label, weakly or strongly.
"""

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

os.environ["OMP_NUM_THREADS"] = "1"  # before the libraries: one thread in each of the processes

import numpy as np
import pandas as pd

from pipeline.audit.shortcuts import find_shortcuts

"""Bootstrap draws of a run; the audit itself takes 1,000."""
Plant = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]


def cohort(seed: int, num_patients: int, prevalence: tuple[float, ...]) -> pd.DataFrame:
    """A table as `patient_table` makes it, in which nothing tells the label."""
    generator = np.random.default_rng(seed)
    index = pd.Index([f"P{i:05d}" for i in range(num_patients)], name="patient_id")
    return pd.DataFrame(
        {
            "label": generator.choice(len(prevalence), num_patients, p=prevalence),
            "group": index,
            "site": generator.choice(["a", "b", "c", "d"], num_patients, p=[0.5, 0.3, 0.15, 0.05]),
            "num_images": generator.geometric(0.2, num_patients),
            "file:file_size:mean": generator.lognormal(size=num_patients),
            "file:axis0:mean": generator.choice([256.0, 512.0, 1024.0], num_patients),
            "file:bit_depth:mean": generator.choice([8.0, 16.0], num_patients, p=[0.9, 0.1]),
        },
        index=index,
    )


def hospitals(patients: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """Prevalences of 34, 11 and 1 % at three hospitals, much like Zech 2018."""
    sites = generator.choice(["a", "b", "c"], len(patients))
    share = pd.Series(sites).map({"a": 0.34, "b": 0.11, "c": 0.01}).to_numpy()
    labels = (generator.random(len(patients)) < share).astype(int)
    return patients.assign(site=sites, label=labels)


def more_images(patients: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """Twice as many images of the ill."""
    mean = np.where(patients["label"] == 1, 10.0, 5.0)
    return patients.assign(num_images=generator.geometric(1 / mean))


def another_scanner(patients: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """Six in ten of the ill, but three in ten of the others have 16 bits."""
    share = np.where(patients["label"] == 1, 0.6, 0.3)
    depth = np.where(generator.random(len(patients)) < share, 16.0, 8.0)
    return patients.assign(**{"file:bit_depth:mean": depth})


def nothing(patients: pd.DataFrame, _: np.random.Generator) -> pd.DataFrame:
    return patients


SILENT: dict[str, tuple[int, tuple[float, ...]]] = {
    "60 patients, 50 %": (60, (0.5, 0.5)),
    "200 patients, 50 %": (200, (0.5, 0.5)),
    "200 patients, 10 %": (200, (0.9, 0.1)),
    "200 patients, 3 classes": (200, (0.6, 0.3, 0.1)),
    "500 patients, 50 %": (500, (0.5, 0.5)),
}
PLANTED: dict[str, tuple[Plant, int]] = {
    "3 hospitals, 34, 11, 1 %": (hospitals, 600),
    "twice the images": (more_images, 300),
    "another bit depth, 60 against 30 %": (another_scanner, 300),
}


def flagged(seed: int, num_patients: int, prevalence: tuple[float, ...], plant: Plant) -> bool:
    """Does any shortcut of one run have an interval above the alarm?"""
    patients = plant(cohort(seed, num_patients, prevalence), np.random.default_rng([seed, 1]))
    return any(s.flagged for s in find_shortcuts(patients, seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300, help="of each cohort")
    num_runs = parser.parse_args().runs
    rows: list[tuple[str, int, tuple[float, ...], Plant]] = []
    rows += [(name, size, prevalence, nothing) for name, (size, prevalence) in SILENT.items()]
    rows += [(name, size, (0.7, 0.3), plant) for name, (plant, size) in PLANTED.items()]
    with ProcessPoolExecutor() as pool:
        for name, size, prevalence, plant in rows:
            run = partial(flagged, num_patients=size, prevalence=prevalence, plant=plant)
            alarms = sum(pool.map(run, range(num_runs)))
            what = "silent in" if plant is nothing else "flagged in"
            share = 1 - alarms / num_runs if plant is nothing else alarms / num_runs
            print(f"{name:36} {what:11}{share:6.1%} of {num_runs} runs", flush=True)


if __name__ == "__main__":
    main()
