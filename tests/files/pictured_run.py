"""A finished run whose images exist: drawn, decoded and packed by what does it in a run.

Nothing is trained: the folds' probabilities are those of `finished_run`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from finished_run import BASELINE, cohort, finished_run
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipeline.commands.door import load_config
from pipeline.engine.finished import Finished
from pipeline.engine.run_folder import Run
from pipeline.engine.training_images import write_training_images
from pipeline.ensemble.look import Looks
from pipeline.images.decoding import DecodedImage, Decoder
from pipeline.images.packed import TABLE_COLUMNS, PackedImages
from pipeline.manifest import Manifest

SIZE = 48
Pixels = NDArray[np.uint8]


def drawn(number: int, size: int = SIZE) -> Pixels:
    """(size, size) blurred noise on one outline that all share; another one for each number."""
    noise = np.random.default_rng(number).normal(size=(size, size))
    rows, columns = np.indices((size, size)) / size - 0.5
    body = 90 * ((rows + 0.1) ** 2 + columns**2 < 0.12)
    return (60 + body + 60 * gaussian_filter(noise, 2)).clip(0, 255).astype(np.uint8)


def decoded(pictures: Sequence[Pixels], folder: Path) -> list[DecodedImage]:
    """Of pictures that are written as PNG and read again."""
    folder.mkdir(parents=True, exist_ok=True)
    decoder, found = Decoder(load_config([*BASELINE, "manifest.path=x.csv"]).images), []
    for number, pixels in enumerate(pictures):
        path = folder / f"{number:04}.png"
        Image.fromarray(pixels).save(path)
        shape = (1, *pixels.shape[:2])
        found.append(decoder.decoded((path,), shape, np.float32))
    return found


def looks(pictures: Sequence[Pixels], folder: Path) -> Looks:
    found = decoded(pictures, folder)
    return Looks(np.stack([of.thumbnails for of in found]), [of.facts for of in found])


def packed(images: Sequence[DecodedImage], folder: Path) -> PackedImages:
    """A cache of these images, unsealed."""
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", np.stack([image.stored for image in images]))
    np.save(folder / "thumbnails.npy", np.stack([image.thumbnails for image in images]))
    table = pd.DataFrame([image.facts for image in images], columns=TABLE_COLUMNS)
    table.to_csv(folder / "table.csv", index=False)
    return PackedImages(folder, "0" * 64)


@dataclass(frozen=True)
class Pictured:
    """The run, and what only the command had that made it."""

    finished: Finished
    run: Run


def pictured_run(
    folder: Path, *overrides: str, manifest: Manifest | None = None, first: int = 0
) -> Pictured:
    """Image i of the manifest is `drawn(first + i)`."""
    manifest = manifest or cohort()
    finished = finished_run(folder / "run", *overrides, manifest=manifest)
    pictures = [drawn(first + number) for number in range(len(manifest))]
    images = packed(decoded(pictures, folder / "images"), folder / "cache")
    settings = ["manifest.path=cohort.csv", f"run_dir={finished.dir}", *overrides]
    run = Run(load_config([*BASELINE, *settings]), manifest, finished.folds, images)
    write_training_images(run)
    return Pictured(finished, run)
