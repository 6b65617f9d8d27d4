"""failures/ of a run folder: the worst mistakes, each with a picture of what the network saw."""

import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pipeline.arrays import Floats32
from pipeline.config import UserError
from pipeline.engine.run_folder import Run
from pipeline.evaluation.failures import Failures, worst_failures
from pipeline.files import make_private, write_json, write_whole
from pipeline.levels import Level
from pipeline.tracking.result import read_sealed, with_seal
from pipeline.training.batch_sheet import views

FOLDER, FILE_NAME = "failures", "failures.json"
MOST_PIXELS, LEAST_PIXELS = 256, 96
"""Of a picture's sides: larger ones are made smaller, smaller ones are enlarged."""
WRITE_AGAIN = "Restore it, or delete the folder failures/: the same cv command writes it again."


def write_failures(run: Run, tables: Mapping[Level, pd.DataFrame | None]) -> None:
    """Write failures.json and its pictures, anew. Without a cache of images there are none."""
    folder = run.dir / FOLDER
    make_private(folder)
    for path in [*folder.glob("*.png"), folder / FILE_NAME]:
        path.unlink(missing_ok=True)
    thresholds = {int(f): run.result(int(f))["thresholds"] for f in _folds(tables["image"])}
    cases = worst_failures(tables, run.manifest.classes, thresholds)
    row_of = {path: row for row, path in enumerate(run.manifest.table["image_path"])}
    num_images = len(run.manifest.image_columns)
    for number, case in enumerate(cases):
        name = f"{case['level']}_{case['kind'].replace(' ', '_')}_{number + 1:02d}.png"
        with suppress(FileNotFoundError):  # the cache was deleted
            image = np.asarray(run.images.array[row_of[case["image_path"]]], np.float32)
            write_whole(folder / name, png(picture(image, num_images)))
            case["picture"] = name
    content: Failures = {"cases": cases}
    write_json(folder / FILE_NAME, with_seal({**content}))


def read_failures(run_dir: Path) -> Failures | None:
    """None where there is no failures.json, as in run folders of an earlier version.

    Raises:
        UserError: it is damaged, was changed, or names a picture elsewhere.
    """
    path = run_dir / FOLDER / FILE_NAME
    if (content := read_sealed(path, WRITE_AGAIN)) is None:
        return None
    cases = content.get("cases")
    if not isinstance(cases, list) or not all(map(_is_case, cases)):
        raise UserError(f"{path}: expected cases, with pictures beside it. {WRITE_AGAIN}")
    return {"cases": cases}


def _is_case(case: object) -> bool:
    """A stranger's file may not name a picture in another folder."""
    if not isinstance(case, dict) or not {"level", "kind", "patient_id", "fold"} <= case.keys():
        return False
    picture = case.get("picture")
    return picture is None or (isinstance(picture, str) and Path(picture).name == picture)


def picture(image: Floats32, num_images: int = 1) -> NDArray[np.uint8]:
    """(C, ...) -> (H, W) or (H, W, 3): its channels, or a volume's three central slices, abreast.

    From the 0.5th to the 99.5th percentile, black to white.
    """
    planes = views(image, num_images)
    if image.ndim == 4:
        planes = planes[:3]  # of the first channel
    low, high = np.percentile(np.concatenate([plane.ravel() for plane in planes]), (0.5, 99.5))
    height = max(plane.shape[0] for plane in planes)
    shown = []
    for plane in planes:
        grey = ((plane - low) / max(float(high - low), 1e-6)).clip(0, 1)
        below = height - plane.shape[0]
        edges = [(below // 2, below - below // 2), (0, 2), *[(0, 0)] * (plane.ndim - 2)]
        shown.append(np.pad(np.round(255 * grey).astype(np.uint8), edges))
    return np.concatenate(shown, axis=1)[:, :-2]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Of a size that a page can show."""
    drawn, side = Image.fromarray(pixels), max(pixels.shape[:2])
    shorter = min(pixels.shape[:2])
    if side > 3 * MOST_PIXELS or (shorter > MOST_PIXELS and side > MOST_PIXELS):
        factor = MOST_PIXELS / shorter
        drawn = drawn.resize((round(drawn.width * factor), round(drawn.height * factor)))
    elif shorter < LEAST_PIXELS:
        factor = -(-LEAST_PIXELS // shorter)
        size = (drawn.width * factor, drawn.height * factor)
        drawn = drawn.resize(size, Image.Resampling.NEAREST)
    drawn.save(file := io.BytesIO(), "PNG", optimize=True)
    return file.getvalue()


def _folds(images: pd.DataFrame | None) -> list[int]:
    assert images is not None, "there is always an image level"
    return sorted(set(images["fold"].tolist()))
