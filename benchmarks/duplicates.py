"""Recall and false pairs of the search for copies, on real images; and how its time grows.

    PATIENTFOLD_DATA=/folder python benchmarks/duplicates.py [--planted 500] [--scale 100000]

Copies of randomly drawn images are planted under new patient ids, changed in one of the ways that
public sets show, one way at a time. A copy is found when a pair joins it with its source (or an
image with the same pixels); a pair is false when its two pictures were different ones before, and
the set by itself has no such pair.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from pipeline.audit.copies import Copies, find_copies
from pipeline.formats import read_image
from pipeline.images.decoding import pixel_digest, thumbnails

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "files"))
from planted import CHANGES, VOLUME_CHANGES

SETS = ("kermany_cxr224", "idc_patches", "hippocampus3d")
Facts = tuple[str, NDArray[np.uint8]]


def main() -> None:
    """Print a table for each set, and one of times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planted", type=int, default=500, help="copies of each kind")
    parser.add_argument("--scale", type=int, default=100_000, help="images of the timing; 0: none")
    parser.add_argument("--kinds", nargs="+", help="only these changes; default: all")
    arguments = parser.parse_args()
    console = Console(width=100)
    data = os.environ.get("PATIENTFOLD_DATA")
    if data is None:
        sys.exit("error: set PATIENTFOLD_DATA to the folder that holds the data sets")
    pictures = [measure(Path(data) / name, arguments, console) for name in SETS]
    flat = [some for some in pictures if some.shape[1] == 1]  # of images, not of volumes
    if arguments.scale:
        time_growth(np.concatenate(flat), arguments.scale, console)


def measure(folder: Path, arguments: argparse.Namespace, console: Console) -> NDArray[np.uint8]:
    """Plant, search, count; returns the set's thumbnails."""
    table = pd.read_csv(folder / "manifest.csv", dtype=str)
    files = [folder / path for path in table["image_path"]]
    num_planted = min(arguments.planted, len(files))
    drawn = np.random.default_rng(0).choice(len(files), num_planted, replace=False)
    kinds = VOLUME_CHANGES if _is_volume(files[0]) else CHANGES
    with ProcessPoolExecutor() as pool:
        originals = list(pool.map(_facts, files, chunksize=64))
        copies = list(pool.map(_changed, [files[i] for i in drawn], range(num_planted)))
    patients = table["patient_id"].tolist()
    start = time.process_time()
    alone = _search(originals, patients)
    seconds = time.process_time() - start
    ratio = seconds / _seconds_of_the_first_look(originals, patients)
    known = {frozenset((originals[p.one][0], originals[p.other][0])) for p in alone.pairs}
    table_out = Table(title=f"{folder.name}: {len(files):,} images, {num_planted} copies a kind")
    for heading in ("planted", "found", "as exact", "false pairs per 1,000 images"):
        table_out.add_column(heading, justify="left" if heading == "planted" else "right")
    for k, kind in enumerate(kinds):
        if arguments.kinds and kind not in arguments.kinds:
            continue
        planted = [facts[k] for facts in copies]
        everybody = patients + [f"copy {i}" for i in range(num_planted)]
        pairs = _search(originals + planted, everybody).pairs
        # What each row shows: the digest of the original.
        shows = [fact[0] for fact in originals] + [originals[i][0] for i in drawn]
        right = {row for p in pairs if shows[p.one] == shows[p.other] for row in (p.one, p.other)}
        found = len({row for row in right if row >= len(files)})
        exact = len({p.other for p in pairs if p.exact and p.other >= len(files)})
        shown = {frozenset((shows[p.one], shows[p.other])) for p in pairs}
        false = sum(len(pair) == 2 and pair not in known for pair in shown)
        table_out.add_row(
            kind,
            f"{found / num_planted:.1%}",
            f"{exact / num_planted:.1%}",
            f"{1000 * false / len(everybody):.2f}",
        )
    console.print(table_out)
    near = sum(not pair.exact for pair in alone.pairs)
    console.print(
        f"the set by itself: {len(alone.pairs)} pair(s) in {seconds:.1f} s "
        f"of a processor, {ratio:.2f} times the first look alone, "
        f"{1000 * near / len(files):.2f} near pairs per 1,000 images",
        highlight=False,
    )
    for pair in alone.pairs:
        names = " = ".join(table["image_path"][row] for row in (pair.one, pair.other))
        kind = "exact" if pair.exact else f"near {pair.correlation:.3f} {pair.orientation}"
        console.print(f"  {kind}: {names}", highlight=False, soft_wrap=True)
    return np.stack([fact[1] for fact in originals])


def time_growth(pictures: NDArray[np.uint8], most: int, console: Console) -> None:
    """The search alone, for blends of two real pictures, each of a patient of its own.

    Among them are 200 copies that were saved as JPEG; they must not drown in the many.
    """
    table = Table(title="time of the search, all images of different patients")
    for heading in ("images", "seconds", "microseconds an image", "copies found"):
        table.add_column(heading, justify="right")
    for num in (most // 10, most // 3, most):
        blends = np.concatenate(list(_blends(pictures, num - 200)))
        copies = [
            _facts_of(
                CHANGES["JPEG quality 70"](Image.fromarray(blend[0]), np.random.default_rng())
            )
            for blend in blends[:200]
        ]
        everything = np.concatenate([blends, np.stack([picture for _, picture in copies])])
        names = [str(number) for number in range(num)]
        start = time.perf_counter()
        pairs = find_copies(names, everything, names).pairs
        seconds = time.perf_counter() - start
        found = {(pair.one, pair.other) for pair in pairs} & {
            (i, num - 200 + i) for i in range(200)
        }
        each = f"{seconds / num * 1e6:.0f}"
        table.add_row(f"{num:,}", f"{seconds:.1f}", each, f"{len(found) / 200:.1%}")
    console.print(table)


def _blends(pictures: NDArray[np.uint8], num: int) -> Iterator[NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    for start in range(0, num, 4096):
        count = min(4096, num - start)
        one, other = generator.integers(0, len(pictures), (2, count))
        share = generator.uniform(0.2, 0.8, (count, 1, 1, 1))
        yield (pictures[one] * share + pictures[other] * (1 - share)).astype(np.uint8)


def _search(facts: list[Facts], patients: list[str]) -> Copies:
    return find_copies([f[0] for f in facts], np.stack([f[1] for f in facts]), patients)


def _seconds_of_the_first_look(facts: list[Facts], patients: list[str]) -> float:
    """Processor time of the search without the second look, for what is cropped or drawn into."""
    with patch("pipeline.audit.copies.partial_copies", lambda *_: []):
        start = time.process_time()
        _search(facts, patients)
        return time.process_time() - start


def _facts(path: Path) -> Facts:
    return _facts_of(_read(path))


def _facts_of(picture: Image.Image | NDArray[np.float32]) -> Facts:
    array = np.asarray(picture, dtype=np.float32)
    if isinstance(picture, Image.Image):
        array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    return pixel_digest(array), thumbnails(array)


def _changed(path: Path, seed: int) -> list[Facts]:
    """The facts of a copy of each kind."""
    picture, kinds = _read(path), VOLUME_CHANGES if _is_volume(path) else CHANGES
    return [
        _facts_of(change(picture, np.random.default_rng([seed, k])))  # type: ignore[operator]
        for k, change in enumerate(kinds.values())
    ]


def _is_volume(path: Path) -> bool:
    return path.name.endswith(".nii.gz")


def _read(path: Path) -> Image.Image | NDArray[np.float32]:
    if _is_volume(path):
        return read_image(path, 3, 1)[0]
    with Image.open(path) as image:
        image.load()
        return image.copy()


if __name__ == "__main__":
    main()
