"""How long the report of a large run takes: 100,000 images of 10,000 patients, 5 folds.

    python benchmarks/report.py
    python benchmarks/report.py --patients 1000

Makes a run folder with drawn probabilities in a temporary place, and then runs `patientfold report`
on it as a user does.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "files"))

from finished_run import finished_run

from pipeline.manifest import Manifest

IMAGES = 10
"""Of each patient."""


def main() -> None:
    """Make the run, report it, print seconds and megabytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=10_000)
    patients = parser.parse_args().patients
    with TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        start = time.perf_counter()
        finished_run(run_dir, manifest=large(patients))
        print(f"made in {time.perf_counter() - start:.0f} s: {patients * IMAGES:,} images")
        start = time.perf_counter()
        command = [sys.executable, "-m", "pipeline", "report", f"run_dir={run_dir}"]
        subprocess.run(command, check=True, cwd=folder)
        seconds = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        of_processor, most = used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6
        size = (run_dir / "report.html").stat().st_size / 1e6
        print(
            f"report: {seconds:.1f} s ({of_processor:.1f} s of a processor), "
            f"{most:.2f} GB at most, a page of {size:.1f} MB"
        )


def large(patients: int) -> Manifest:
    """Every third patient has a lesion."""
    numbers = np.repeat(np.arange(patients), IMAGES)
    names = [f"P{number:06}" for number in numbers]
    table = pd.DataFrame(
        {
            "patient_id": names,
            "image_path": [f"{name}/{i % IMAGES:02}.png" for i, name in enumerate(names)],
            "label": np.where(numbers % 3 == 0, "lesion", "healthy"),
            "group": names,
            "line": np.arange(2, len(numbers) + 2),
        }
    )
    return Manifest(Path("cohort.csv"), Path(), ("healthy", "lesion"), table)


if __name__ == "__main__":
    main()
