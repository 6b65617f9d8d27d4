"""Fixtures that every test may use: a small cohort on disk."""

import csv
import fcntl
import importlib
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy: else tests side by side wait for threads

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image

from pipeline.config import ColumnsConfig, ManifestConfig

# HYPOTHESIS_PROFILE=thorough draws the 500 cohorts that every kind of plan must survive.
settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("thorough", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The system tests first: what takes a minute must not begin when all else has ended."""
    items.sort(key=lambda item: "system" not in item.path.parts)


MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(autouse=True)
def _no_plugin_stays() -> Iterator[None]:
    """Each test finds its own my_lab: the module and the folder it lay in are forgotten."""
    path = [*sys.path]
    yield
    sys.path[:] = path
    for name in [name for name in sys.modules if name.split(".")[0] == "my_lab"]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """A function that makes a folder once for all processes of pytest-xdist, which only read it.

        folder = made_once("volumes", write_volumes)

    `write_volumes` is called with the empty folder; who comes meanwhile waits until it is done.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with (shared / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def one_run(made_once: MadeOnce) -> Path:
    """The folder of a finished run of 5 folds, to be read; `run_copies.copy_of` makes others of it.

    Nothing was trained: `finished_run` has drawn its probabilities.
    """
    from finished_run import finished_run

    return made_once("one_run", lambda folder: finished_run(folder / "run")) / "run"


@pytest.fixture
def make_cohort(tmp_path: Path) -> Callable[..., ManifestConfig]:
    """A function that writes `<name>/manifest.csv` and its PNGs, and returns the settings to read.

        config = make_cohort({"P1": ["healthy", "healthy"], "P2": ["lesion"]})
        manifest = read_manifest(config)

    `patients` maps each patient id to the labels of its images, in order; `sites` (optional) maps
    each patient id to its site. Images are size x size grey PNGs, all different: a patient's own
    shade, noise, and a centre that is brighter the later the label comes in sorted order, so that
    a network can learn the classes. Rows stand in the order given; image i of P1 is
    `images/P1_0i.png`. Call it again with another `name` for a second cohort.
    """

    def make(
        patients: Mapping[str, Sequence[str]],
        sites: Mapping[str, str] | None = None,
        size: int = 16,
        name: str = "cohort",
    ) -> ManifestConfig:
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        classes = sorted({label for labels in patients.values() for label in labels})
        rows = [["patient_id", "image_path", "label", *(["site"] if sites else [])]]
        for patient, labels in patients.items():
            for i, label in enumerate(labels):
                path = f"images/{patient}_{i:02d}.png"
                pixels = _pixels(patient, i, classes.index(label) / len(classes), size)
                Image.fromarray(pixels).save(folder / path)
                rows.append([patient, path, label, *([sites[patient]] if sites else [])])
        with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        return ManifestConfig(
            name=name,
            path=str(folder / "manifest.csv"),
            columns=ColumnsConfig(site="site" if sites else None),
            task="multiclass" if len(classes) > 2 else "binary",
        )

    return make


def _pixels(patient: str, image: int, signal: float, size: int) -> NDArray[np.uint8]:
    """(size, size); `signal` from 0 to 1 is how bright the centre is."""
    own = np.random.default_rng(zlib.crc32(patient.encode()))
    noise = np.random.default_rng([zlib.crc32(patient.encode()), image])
    pixels = 40 + 40 * own.random() + 20 * noise.random((size, size))
    middle = slice(size // 3, size - size // 3)
    pixels[middle, middle] += 150 * signal
    return pixels.astype(np.uint8)
