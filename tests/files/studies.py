"""Folders in which the commands of README and docs are run, as their readers have them."""

import csv
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from dicom_files import write_series
from documents import Block
from PIL import Image

QUICK = {
    "training/default.yaml": "epochs: 1\nbatch_size: 64\n",
    "experiment/demo.yaml": "# @package _global_\ndefaults:\n  - override /manifest: demo\n",
    "experiment/mine.yaml": "# @package _global_\ndefaults:\n  - override /manifest: mine\n",
    "manifest/mine.yaml": "name: mine\npath: my.csv\nclasses: [healthy, lesion]\n"
    "columns:\n  site: site\n",
    "manifest/new.yaml": "name: new\npath: new.csv\nclasses: [healthy, lesion]\n"
    "columns:\n  site: site\n",
    "images/ct_lung.yaml": "spatial_dims: 3\nunit: HU\nwindow: [-1350.0, 150.0]\n"
    "spacing: [4]\nsize: [8]\nfit: crop\ndtype: float16\n",
}
"""`./conf` comes before what ships: the same commands, with one epoch and small volumes."""
PORT = re.compile(r"\b500[01]\b")
"""Of the pages; another is taken, for it may be in use."""
KEYS = """\
newest() { ls -td "$1"/*/ | head -n 1 | sed 's:/$::'; }
"""
PROGRAMS = {
    "patientfold": "-P -m pipeline",
    "mlflow": "-m mlflow",
    "uvicorn": "-m uvicorn",  # which mlflow looks for on the path
    "python": "",
}


def programs(folder: Path) -> Path:
    """A folder of programs for the path: ours, of this Python, installed or not."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, how in PROGRAMS.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {how} "$@"\n')
        path.chmod(0o755)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """For commands; `folder` holds the programs."""
    quiet = {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return os.environ | quiet | {"PATH": f"{folder}:{os.environ['PATH']}"}


def run(text: str, study: Path, bin_dir: Path) -> str:
    """What the commands print; AssertionError with their last lines if one fails."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", KEYS + text],
        cwd=study,
        env=environment(bin_dir),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{text}\n{done.stdout[-4000:]}"
    return done.stdout


def as_run(block: Block, study: Path, port: str) -> str:
    """The text of a block with the keys of this folder's runs in it."""
    text = PORT.sub(port, block.text)
    for name, number in (("A", 0), ("B", 1)):
        if f"runs/demo/{name}" in text:
            runs = sorted(path for path in (study / "runs/demo").iterdir() if path.is_dir())
            text = text.replace(f"runs/demo/{name}", f"runs/demo/{runs[number].name}")
    for name in ("demo", "mine"):
        text = text.replace(f"runs/{name}/KEY", f"$(newest runs/{name})")
    return text


@contextmanager
def served(text: str, study: Path, bin_dir: Path, port: str) -> Iterator[None]:
    """The commands run beside what follows, from the moment that the port answers."""
    log = study / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {text}"],
            cwd=study,
            env=environment(bin_dir),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 180
        while not _answers(f"http://127.0.0.1:{port}/ping"):
            alive = server.poll() is None and time.monotonic() < deadline
            assert alive, f"no answer\n{log.read_text()[-4000:]}"
            time.sleep(0.5)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        server.wait(30)


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


# --- what lies in a folder


def write_images(folder: Path, table: str, images: str, num_patients: int, first: int = 1) -> None:
    """Five images of each patient, 16 x 16; every third patient has a lesion, a bright square."""
    (folder / images).mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(first, first + num_patients):
        generator = np.random.default_rng(number)
        label, site = ("lesion", "healthy", "healthy")[number % 3], ("north", "south")[number % 2]
        shade = generator.normal(90, 15)
        for image in range(5):
            pixels = generator.normal(shade, 12, (16, 16))
            if label == "lesion":
                row, column = generator.integers(2, 8, 2)
                pixels[row : row + 6, column : column + 6] += 45
            path = f"{images}/{number:03}_{'abcde'[image]}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / path)
            rows.append([f"{number:03}", path, label, site, f"{number:03}-{image // 3}"])
    with (folder / table).open("w", newline="") as file:
        header = ["patient_id", "image_path", "label", "site", "slide_id"]
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def write_dicoms(folder: Path, num_patients: int = 24) -> None:
    """A series of eight slices for each patient, and the clinical table."""
    rows = [["PatientID", "group", "dx"]]
    for number in range(num_patients):
        generator = np.random.default_rng(number)
        case = number % 2
        volume = generator.normal(-700, 60, (8, 24, 24))
        volume[2:6, 8:16, 8:16] += 400 * case
        patient = f"D{number:02}"
        uid = f"1.2.826.{number + 1}"
        write_series(
            folder / "dicom" / patient,
            volume.astype(np.int16),
            PatientID=patient,
            StudyInstanceUID=uid,
            SeriesInstanceUID=f"{uid}.1",
        )
        rows.append([patient, ("south", "north")[number // 2 % 2], ("control", "case")[case]])
    with (folder / "clinical.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def first_hour(folder: Path) -> None:
    """A new user's: 300 images of 60 patients and a CSV, nothing else."""
    write_images(folder, "my.csv", "images", 60)


def begun(folder: Path) -> None:
    """A user's own images and tables, and quick settings; nothing was run yet."""
    write_images(folder, "my.csv", "scans", 45)
    write_images(folder, "new.csv", "new", 12, first=501)
    write_images(folder, "other_hospital.csv", "other", 12, first=701)
    shutil.copy(folder / "new/501_a.png", folder / "image.png")
    for name, text in QUICK.items():
        (folder / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "conf" / name).write_text(text)


def finished(folder: Path) -> None:
    """The same with the demo, DICOM files, and finished runs: two of the demo, one of one's own."""
    begun(folder)
    write_dicoms(folder)
    bin_dir = programs(folder / ".programs")
    run("patientfold demo", folder, bin_dir)
    run("patientfold cv -m experiment=demo optimizer.lr=3e-3,1e-3", folder, bin_dir)
    run("patientfold cv experiment=mine", folder, bin_dir)


Place = Callable[[Path], None]


def copied(made: Path, study: Path) -> None:
    """A study of one's own, whose runs name the tracking server of this folder."""
    shutil.copytree(made, study)
    for record in study.glob("runs/*/*/tracking.json"):
        record.write_text(record.read_text().replace(str(made), str(study)))
