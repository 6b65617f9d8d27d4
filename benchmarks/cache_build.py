"""How fast is a cache built, beside decoding alone? Images a second, with one process a core.

    python benchmarks/cache_build.py [--workloads idc kermany hippocampus3d large] [--rounds 3]
        [--images 3000] [--docs docs/performance.md]

In turn: *decoded* reads, checks and transforms each image and stores its pixels, and nothing else;
*built* is the whole cache: a digest of each file and of its pixels, thumbnails for the search for
copies, sums for the normalisation, what 8 bits would lose, a checksum, a log to go on from, and all
of it on the disk. *Pillow* or *nibabel* opens each file, and does no more. `large` are made JPEGs
of 1024 x 1024. Workloads of real images need PATIENTFOLD_DATA.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from speed.data import settings_for
from speed.figures import Spread
from speed.machine import machine
from speed.page import put
from speed.process import machine_busy
from speed.workload import MADE, PICTURES, WORKLOADS, Workload

from pipeline.commands.door import load_config
from pipeline.config import Config, ImagesConfig
from pipeline.engine import PRELOADED
from pipeline.images.decoders import CHUNK
from pipeline.images.decoding import Decoder
from pipeline.images.packing import pack_images
from pipeline.manifest import Manifest, read_manifest
from pipeline.processes import num_cores, preload, process_pool

LARGE = replace(MADE, name="large", settings=PICTURES, size=(224, 224))
LARGE_SIDE = 1024
Files = list[tuple[Path, ...]]


def main() -> None:
    options = _options()
    preload(*PRELOADED)
    choice = WORKLOADS | {LARGE.name: LARGE}
    chosen = [choice[name] for name in options.workloads]
    if any(w.folder for w in chosen) and "PATIENTFOLD_DATA" not in os.environ:
        sys.exit("PATIENTFOLD_DATA must name the folder that holds the images")
    lines = [
        "| images | | images a second | ratio to decoded | cores busy |",
        "|---|---|---|---|---|",
    ]
    for workload in chosen:
        with tempfile.TemporaryDirectory(prefix="cache_build_") as name:
            lines += rows_of(workload, Path(name), options.images, options.rounds)
        print("\n".join(lines[-3:]), flush=True)
    if options.docs:
        facts = machine(num_cores(), "cpu")
        head = f"`{' '.join(['python', *sys.argv])}`, {facts['date']}, {facts['processor']}:"
        put(["", head, "", *lines, ""], "cache", options.docs)


def rows_of(workload: Workload, folder: Path, num_images: int, rounds: int) -> list[str]:
    """Markdown: a row for each way, against decoding alone."""
    config, manifest = images_of(workload, folder, num_images)
    files = manifest.image_sets
    _side_by_side(_open, files[:1])  # starts the process that others are forked from
    ways: dict[str, Callable[[], object]] = {
        "opened": lambda: opened(files),
        "decoded": lambda: decoded(files, config.images, folder),
        "built": lambda: pack_images(manifest, config.images, lambda _done, _all: None),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    busy: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            shutil.rmtree(config.images.cache_dir, ignore_errors=True)
            began, worked = time.perf_counter(), machine_busy()
            run()
            seconds[way].append(time.perf_counter() - began)
            busy[way].append((machine_busy() - worked) / seconds[way][-1] / num_cores())
    shape = " x ".join(map(str, workload.size))
    what = f"{workload.name}: {len(files):,} to {shape}"
    library = "nibabel alone" if files[0][0].name.endswith(".nii.gz") else "Pillow alone"
    found = []
    for way in ways:
        pairs = zip(seconds["decoded"], seconds[way], strict=True)
        ratio = Spread.of([one / other for one, other in pairs])
        speed = len(files) / Spread.of(seconds[way]).median
        name = library if way == "opened" else way
        share = Spread.of(busy[way]).median
        found.append(f"| {what} | {name} | {speed:,.0f} | {ratio.text(2)} | {share:.0%} |")
    return found


def images_of(workload: Workload, folder: Path, num_images: int) -> tuple[Config, Manifest]:
    """The settings and the manifest, the images of which are there; read once, so that all ways
    find them in the system's memory.
    """
    if workload is LARGE:
        data = made(folder, num_images)
    else:
        data = settings_for(workload, folder, num_images)
    config = load_config([*workload.overrides(1), *data, f"images.cache_dir={folder / 'cache'}"])
    manifest = read_manifest(config.manifest)
    for files in manifest.image_sets:
        for file in files:
            file.read_bytes()
    return config, manifest


def made(folder: Path, num_images: int) -> list[str]:
    """Blurred noise, as smooth as a radiograph, in JPEGs of 8 bits."""
    rng, lines = np.random.default_rng(0), ["patient_id,image_path,label"]
    for number in range(num_images):
        small = Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8))
        large = small.resize((LARGE_SIDE, LARGE_SIDE), Image.Resampling.BICUBIC)
        large.save(folder / f"{number}.jpg", quality=90)
        lines.append(f"P{number // 2},{number}.jpg,{number // 2 % 2}")
    (folder / "manifest.csv").write_text("\n".join([*lines, ""]))
    return ["manifest.name=large", f"manifest.path={folder / 'manifest.csv'}"]


def opened(files: Files) -> None:
    """By the library that reads the format, the pixels as it gives them."""
    _side_by_side(_open, files)


def decoded(files: Files, config: ImagesConfig, folder: Path) -> None:
    """Pixels alone, stored as the cache stores them."""
    _side_by_side(_decode, files, config, folder / "pixels")


def _side_by_side(task: Callable[..., None], files: Files, *more: object) -> None:
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    with process_pool(num_cores()) as pool:
        for future in [pool.submit(task, chunk, *more) for chunk in chunks]:
            future.result()


def _open(files: Files) -> None:
    for paths in files:
        for path in paths:
            if path.name.endswith(".nii.gz"):
                import nibabel

                np.asarray(nibabel.load(path).dataobj)
            else:
                np.asarray(Image.open(path))


def _decode(files: Files, config: ImagesConfig, place: Path) -> None:
    import torch

    torch.set_num_threads(1)
    dtype = "float32" if config.dtype == "auto" and config.spatial_dims == 3 else "uint8"
    decoder = Decoder(config)
    stored = [decoder.sample(paths).pixels.astype(dtype) for paths in files]
    with place.open("ab") as file:
        np.stack(stored).tofile(file)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--workloads", nargs="+", default=["idc", "kermany", "hippocampus3d", "large"]
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=3000, help="about so many of each")
    parser.add_argument("--docs", type=Path, help="put the table between its marks in this page")
    return parser.parse_args()


if __name__ == "__main__":
    main()
