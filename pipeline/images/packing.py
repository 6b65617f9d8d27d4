"""The packed cache: every image decoded and transformed once, in parallel, for all folds."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from platform import node

import monai
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from numpy.typing import NDArray

from pipeline.config import ImagesConfig, UserError, fingerprint
from pipeline.forkserver import start_forkserver
from pipeline.images.digests import file_digests
from pipeline.images.packed import TABLE_COLUMNS, PackedImages
from pipeline.images.readers import ImageError, read_image
from pipeline.manifest import Manifest
from pipeline.targets import build

READER_VERSION = 1
CHUNK = 32
PROBLEMS_SHOWN = 50


class BrokenImagesError(UserError):
    """Every image that cannot be used, with its row, patient and reason."""


@dataclass(frozen=True)
class _Chunk:
    """A worker's piece of work: decode `files` into rows `start...` of the array."""

    files: list[Path]
    start: int
    array_path: Path
    config: ImagesConfig


@dataclass(frozen=True)
class _Row:
    """What one decoded image adds to the table, or why it cannot be used."""

    sum: list[float]
    sum_squares: list[float]
    original_shape: str
    problem: str | None = None


def pack_images(
    manifest: Manifest, config: ImagesConfig, progress: Callable[[int, int], None]
) -> PackedImages:
    """Open the packed cache of the manifest's images; build it when there is none.

    `progress(done, total)` is called while images are decoded. The cache's key is made of the
    files' contents, the transforms and the versions that decode: a changed file or transform
    never meets a stale cache.

    Raises:
        BrokenImagesError: with every image that cannot be used.
        UserError: when the cache folder cannot be written.
    """
    cache_dir = Path(config.cache_dir)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        digests = file_digests(manifest.image_files, cache_dir / "digests.json")
        key = _key(digests, config)
        packed_dir = cache_dir / key[:32]
        if not (packed_dir / "cache.json").exists():
            _build(manifest, config, packed_dir, progress)
    except OSError as error:
        raise UserError(f"images.cache_dir {cache_dir}: {error.strerror}.") from None
    return PackedImages(packed_dir, key)


def _key(digests: list[str], config: ImagesConfig) -> str:
    settings = [config.spatial_dims, config.num_channels, config.dtype, config.transforms]
    return fingerprint([READER_VERSION, monai.__version__, settings, digests])


def _build(
    manifest: Manifest, config: ImagesConfig, packed_dir: Path, progress: Callable[[int, int], None]
) -> None:
    """Build beside the final place and rename: a half-built cache is never opened."""
    _remove_leftovers(packed_dir.parent)
    partial_dir = packed_dir.with_name(f"{packed_dir.name}.{node()}.{os.getpid()}.partial")
    shutil.rmtree(partial_dir, ignore_errors=True)
    partial_dir.mkdir()
    try:
        files = manifest.image_files
        shape = _first_shape(manifest, config)
        array_path = partial_dir / "images.npy"
        np.lib.format.open_memmap(
            array_path, mode="w+", dtype=config.dtype, shape=(len(files), *shape)
        )
        rows = list(_decode_all(files, array_path, config, progress))
        _raise_problems(manifest, rows)
        _write_table(partial_dir / "table.csv", rows)
        (partial_dir / "cache.json").write_text(
            json.dumps({"shape": [len(files), *shape], "dtype": config.dtype})
        )
        if not packed_dir.exists():  # another process may have been faster
            partial_dir.rename(packed_dir)
    finally:
        shutil.rmtree(partial_dir, ignore_errors=True)


def _remove_leftovers(cache_dir: Path) -> None:
    """Remove what killed builds of this machine left behind."""
    for partial_dir in cache_dir.glob(f"*.{node()}.*.partial"):
        pid = int(partial_dir.name.split(".")[-2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            shutil.rmtree(partial_dir, ignore_errors=True)
        except PermissionError:
            pass  # it runs, for somebody else


def _decode_all(
    files: list[Path], array_path: Path, config: ImagesConfig, progress: Callable[[int, int], None]
) -> Iterator[_Row]:
    chunks = [
        _Chunk(files[start : start + CHUNK], start, array_path, config)
        for start in range(0, len(files), CHUNK)
    ]
    num_processes = min(config.num_processes or os.cpu_count() or 1, len(chunks))
    done = 0
    with ProcessPoolExecutor(num_processes, mp_context=start_forkserver()) as pool:
        for rows in pool.map(_decode_chunk, chunks):
            done += len(rows)
            progress(done, len(files))
            yield from rows


def _decode_chunk(chunk: _Chunk) -> list[_Row]:
    torch.set_num_threads(1)
    transforms = _transforms(chunk.config)
    array = np.lib.format.open_memmap(chunk.array_path, mode="r+")
    rows = []
    for position, path in enumerate(chunk.files):
        try:
            pixels, original_shape = _decode(path, chunk.config, transforms, array.shape[1:])
        except ImageError as error:
            rows.append(_Row([], [], "", str(error)))
            continue
        array[chunk.start + position] = pixels
        stored = array[chunk.start + position].astype(np.float64).reshape(len(pixels), -1)
        sums, squares = stored.sum(axis=1), (stored**2).sum(axis=1)
        rows.append(_Row(sums.tolist(), squares.tolist(), original_shape))
    array.flush()
    return rows


def _decode(
    path: Path, config: ImagesConfig, transforms: Compose, shape: tuple[int, ...] | None
) -> tuple[NDArray[np.float32], str]:
    """(C, ...) pixels after the transforms, and the file's own shape as text, e.g. "512x512"."""
    array, affine = read_image(path, config.spatial_dims, config.num_channels)
    try:
        image = transforms(
            MetaTensor(torch.from_numpy(array.copy()), affine=torch.from_numpy(affine))
        )
    except (RuntimeError, ValueError) as error:
        cause = error.__cause__ or error  # MONAI's own words only say which transform it was
        raise ImageError(f"a transform failed: {cause!r}") from None
    pixels: NDArray[np.float32] = np.asarray(image, dtype=np.float32)
    if shape is not None and pixels.shape != shape:
        raise ImageError(
            f"has shape {pixels.shape} after the transforms, the others {shape}; add a resize, or "
            "pad and crop, to images.transforms"
        )
    if not np.isfinite(pixels).all():
        raise ImageError("has values that are not finite after the transforms")
    if config.dtype == "uint8":
        if pixels.min() < -0.5 or pixels.max() > 255.5:
            raise ImageError(
                f"has values from {pixels.min():g} to {pixels.max():g} after the transforms, which "
                "images.dtype=uint8 cannot hold; use float16 or float32"
            )
        pixels = pixels.round().clip(0, 255)
    elif np.abs(pixels).max() > np.finfo(config.dtype).max:
        raise ImageError(
            f"has values up to {np.abs(pixels).max():g} after the transforms, which "
            f"images.dtype={config.dtype} cannot hold; use float32"
        )
    return pixels, "x".join(map(str, array.shape[1:]))


def _transforms(config: ImagesConfig) -> Compose:
    steps = [build(f"images.transforms.{i}", leaf) for i, leaf in enumerate(config.transforms)]
    return Compose(steps)


def _first_shape(manifest: Manifest, config: ImagesConfig) -> tuple[int, ...]:
    """The shape that every image must have: that of the first one that can be read."""
    transforms = _transforms(config)
    problems = []
    for path in manifest.image_files:
        try:
            return _decode(path, config, transforms, None)[0].shape
        except ImageError as error:
            problems.append(_Row([], [], "", str(error)))
    _raise_problems(manifest, problems)
    raise AssertionError("a manifest has at least one image")


def _raise_problems(manifest: Manifest, rows: list[_Row]) -> None:
    problems = [
        f"  line {sample.line}: patient {sample.patient_id!r}: image {file}: {row.problem}"
        for sample, file, row in zip(
            manifest.table.itertuples(), manifest.image_files, rows, strict=False
        )
        if row.problem
    ]
    if problems:
        hidden = len(problems) - PROBLEMS_SHOWN
        more = [f"  and {hidden} more"] if hidden > 0 else []
        heading = f"manifest {manifest.path}: {len(problems)} image(s) cannot be used"
        raise BrokenImagesError("\n".join([heading, *problems[:PROBLEMS_SHOWN], *more]))


def _write_table(path: Path, rows: list[_Row]) -> None:
    lines = [
        ",".join(
            [row.original_shape, " ".join(map(repr, row.sum)), " ".join(map(repr, row.sum_squares))]
        )
        for row in rows
    ]
    path.write_text("\n".join([",".join(TABLE_COLUMNS), *lines]) + "\n")
