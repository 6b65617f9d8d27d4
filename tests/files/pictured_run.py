"""A run whose images exist: drawn, decoded and packed by what does it in a run; not trained."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from finished_run import BASELINE, cohort, finished_run
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipeline.commands.door import load_config
from pipeline.config import written
from pipeline.engine.run_folder import Run
from pipeline.engine.training_images import write_training_images
from pipeline.ensemble.look import Looks
from pipeline.images.decoding import DecodedImage, Decoder
from pipeline.images.packed import TABLE_COLUMNS, PackedImages
from pipeline.manifest import Manifest
from pipeline.splits import load_plan, plan_folds, save_plan

SIZE = 48
Pixels = NDArray[np.uint8]


def drawn(number: int, size: int = SIZE) -> Pixels:
    """(size, size) blurred noise on one outline that all share; another one for each number."""
    noise = np.random.default_rng(number).normal(size=(size, size))
    rows, columns = np.indices((size, size)) / size - 0.5
    body = 90 * ((rows + 0.1) ** 2 + columns**2 < 0.12)
    values = 60 + body + 60 * gaussian_filter(noise, 2)
    return np.asarray(values.clip(0, 255), np.uint8)


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


def planned_run(
    folder: Path, *overrides: str, manifest: Manifest | None = None, run_dir: Path | None = None
) -> Run:
    """A run in folder/run, of which there are the plan and training_images.json alone.

    Image i of the manifest is `drawn(i)`.
    """
    manifest = manifest or cohort()
    run_dir = run_dir or folder / "run"
    settings = ["manifest.path=cohort.csv", f"run_dir={run_dir}", *overrides]
    config = load_config([*BASELINE, *settings])
    pictures = [drawn(number) for number in range(len(manifest))]
    images = packed(decoded(pictures, folder / "images"), folder / "cache")
    has_plan = (run_dir / "plan.csv").exists()
    plan = load_plan(run_dir / "plan.csv") if has_plan else plan_folds(manifest, config.split)
    run = Run(config, manifest, plan, images)
    if not has_plan:
        run_dir.mkdir(parents=True)
        save_plan(plan, run_dir / "plan.csv")
        (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(written(config))))
    write_training_images(run)
    return run


def pictured_run(folder: Path) -> None:
    """The same in a finished run."""
    finished_run(folder / "run")
    planned_run(folder)
