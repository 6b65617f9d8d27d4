"""The images of a workload: whole patients of a real set, or made ones."""

import csv
import hashlib
import os
from pathlib import Path

import numpy as np
from PIL import Image

from speed.workload import Workload

IMAGES_EACH = 6
"""Made images of a made patient."""


def settings_for(workload: Workload, folder: Path, num_images: int) -> list[str]:
    """Write a manifest of about so many images into `folder`; the settings that read it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.csv"
    if not workload.folder:
        _make(path, num_images, workload.size)
        return ["manifest.name=made", f"manifest.path={path}"]
    source = Path(os.environ["PATIENTFOLD_DATA"]) / workload.folder
    _choose(source / "manifest.csv", path, num_images)
    return [f"manifest.path={path}", f"manifest.image_root={source}"]


def _choose(source: Path, path: Path, num_images: int) -> None:
    """Whole patients, in an order that is the same everywhere, until there are enough images."""
    with source.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    patient = header.index("patient_id")
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row[patient]] = sizes.get(row[patient], 0) + 1
    chosen: set[str] = set()
    total = 0
    for name in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if total >= num_images:
            break
        chosen.add(name)
        total += sizes[name]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *(row for row in rows if row[patient] in chosen)])


def _make(path: Path, num_images: int, size: tuple[int, ...]) -> None:
    """Colour noise as PNG; every other patient has a bright square of a place of its own."""
    lines = ["patient_id,image_path,label"]
    generator = np.random.default_rng(0)
    side = size[0] // 3
    for number in range(num_images):
        patient = number // IMAGES_EACH
        pixels = generator.integers(0, 160, (*size, 3), dtype=np.uint8)
        if patient % 2:
            top, left = generator.integers(0, size[0] - side, 2)
            pixels[top : top + side, left : left + side] += 60
        name = f"images/P{patient:05d}_{number % IMAGES_EACH}.png"
        (path.parent / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path.parent / name, compress_level=1)
        lines.append(f"P{patient:05d},{name},{'lesion' if patient % 2 else 'healthy'}")
    path.write_text("\n".join([*lines, ""]))
