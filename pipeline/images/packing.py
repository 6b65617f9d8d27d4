"""The packed cache: every image decoded and transformed once, in parallel, for all folds."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from platform import node

import numpy as np
import pandas as pd

from pipeline.config import ImagesConfig, fingerprint
from pipeline.config.plugins import plugin_hashes
from pipeline.errors import UserError
from pipeline.files import make_private, write_whole
from pipeline.formats.files import file_digest, file_stamp
from pipeline.images.decoding import THUMBNAIL_SIZE, Facts, decode_chunk, first_shape
from pipeline.images.packed import TABLE_COLUMNS, PackedImages
from pipeline.manifest import Manifest
from pipeline.processes import call_in_child, process_pool
from pipeline.words import counted, lines_and_more

READER_VERSION = 3
CHUNK = 32
PROBLEMS_SHOWN = 50
Progress = Callable[[int, int], None]
"""Called with the number of images that are done, and of all."""


def pack_images(manifest: Manifest, config: ImagesConfig, progress: Progress) -> PackedImages:
    """Open the packed cache of the manifest's images; build it when there is none.

    `progress(done, total)` is called while images are decoded. The cache's key is made of the
    files' contents, the transforms, the code of plugins among them, and the versions that
    decode: a changed file or transform never meets a stale cache.

    Raises:
        UserError: with every image that cannot be used; when the cache folder cannot be written.
    """
    cache_dir = Path(config.cache_dir)
    try:
        make_private(cache_dir)
        shown = [manifest.image_root / path for path in manifest.table["image_path"]]
        digests = file_digests(manifest.image_files, cache_dir / "digests.json", shown)
        settings: list[object] = [
            config.spatial_dims,
            config.num_channels,
            config.dtype,
            config.transforms,
        ]
        own = [config.reader, plugin_hashes([*config.transforms, config.reader])]
        settings += own if any(own) else []  # no key of a cache without plugins changes
        key = fingerprint([READER_VERSION, version("monai"), settings, digests])
        packed_dir = cache_dir / key[:32]
        if not (packed_dir / "cache.json").exists():
            _build(manifest, config, packed_dir, progress)
    except OSError as error:
        raise UserError(f"images.cache_dir {cache_dir}: {error.strerror or error}.") from None
    return PackedImages(packed_dir, key)


def file_digests(
    paths: list[Path], memory_path: Path, shown: list[Path] | None = None
) -> list[str]:
    """SHA-256 of each file, remembered between runs as long as the file's stamp stays the same.

    `shown` (N,) are the names by which they are remembered, where these are not the paths.
    """
    memory: dict[str, tuple[str, str]] = {}
    with suppress(FileNotFoundError, ValueError):  # none yet, or damaged: read every file anew
        remembered = json.loads(memory_path.read_text())
        memory = {name: (stamp, digest) for name, (stamp, digest) in remembered.items()}
    names = [str(path.resolve()) for path in shown or paths]
    stamps = [file_stamp(path) for path in paths]
    changed = [i for i, name in enumerate(names) if memory.get(name, ("",))[0] != stamps[i]]
    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        fresh = pool.map(file_digest, [paths[i] for i in changed])
        memory |= {names[i]: (stamps[i], digest) for i, digest in zip(changed, fresh, strict=True)}
    if changed:
        write_whole(memory_path, json.dumps(memory))
    return [memory[name][1] for name in names]


def _build(manifest: Manifest, config: ImagesConfig, packed_dir: Path, progress: Progress) -> None:
    """Build beside the final place and rename: a half-built cache is never opened."""
    _remove_leftovers(packed_dir.parent)
    partial_dir = packed_dir.with_name(f"{packed_dir.name}.{node()}.{os.getpid()}.partial")
    shutil.rmtree(partial_dir, ignore_errors=True)
    make_private(partial_dir)
    try:
        files = manifest.image_files
        shape = call_in_child(first_shape, files, config)
        if isinstance(shape, list):
            _raise_problems(manifest, shape)
        assert isinstance(shape, tuple), "a manifest has at least one image"
        num_thumbnails = 1 if config.spatial_dims == 2 else 3  # see `thumbnails`
        small = (num_thumbnails, THUMBNAIL_SIZE, THUMBNAIL_SIZE)
        for name, dtype, each in (("images", config.dtype, shape), ("thumbnails", "uint8", small)):
            path = partial_dir / f"{name}.npy"
            np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(len(files), *each))
        rows = _decode_all(files, partial_dir, config, progress)
        _raise_problems(manifest, rows)
        pd.DataFrame(rows, columns=TABLE_COLUMNS).to_csv(partial_dir / "table.csv", index=False)
        facts = {"shape": [len(files), *shape], "dtype": config.dtype}
        (partial_dir / "cache.json").write_text(json.dumps(facts))
        partial_dir.rename(packed_dir)
    except OSError:
        if not (packed_dir / "cache.json").exists():  # no other process was faster
            raise
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
    files: list[Path], packed_dir: Path, config: ImagesConfig, progress: Progress
) -> list[Facts | str]:
    starts = range(0, len(files), CHUNK)
    chunks = [files[start : start + CHUNK] for start in starts]
    num_processes = min(config.num_processes or os.cpu_count() or 1, len(chunks))
    rows: list[Facts | str] = []
    with process_pool(num_processes) as pool:
        for decoded in pool.map(partial(decode_chunk, packed_dir, config), starts, chunks):
            rows += decoded
            progress(len(rows), len(files))
    return rows


def _raise_problems(manifest: Manifest, rows: Sequence[Facts | str]) -> None:
    samples = zip(manifest.table.itertuples(), rows, strict=True)
    problems = [
        f"line {sample.line}: patient {sample.patient_id!r}: "
        f"image {manifest.image_root / str(sample.image_path)}: {fault}"
        for sample, fault in samples
        if isinstance(fault, str)
    ]
    if problems:
        heading = f"manifest {manifest.path}: {counted(len(problems), 'image')} cannot be used"
        raise UserError("\n".join([heading, *lines_and_more(problems, PROBLEMS_SHOWN)]))
