"""The packed cache: every image decoded and transformed once, in parallel, for all folds."""

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import ImagesConfig, fingerprint
from pipeline.config.plugins import plugin_hashes
from pipeline.errors import UserError
from pipeline.files import make_private, told_when_full, write_whole
from pipeline.formats.files import file_digest, file_size, file_stamp
from pipeline.formats.revised import is_revised
from pipeline.formats.table import ImageError
from pipeline.images.building import built_beside, continued, remove_leftovers
from pipeline.images.decoded_log import DecodedLog, num_decoded
from pipeline.images.decoders import CHUNK, Progress, decode_all, first_usable_shape
from pipeline.images.decoding import ARRAYS, DIGEST, THUMBNAIL_SIZE, Facts, TooNarrow
from pipeline.images.faults import UnusableImagesError
from pipeline.images.packed import TABLE_COLUMNS, PackedImages
from pipeline.images.seal import is_sealed, reserve, seal
from pipeline.images.storage import TooNarrowError, destroyed, eight_bits_hold, types_to_try
from pipeline.images.trust import check_cache_dir, check_packed
from pipeline.manifest import Manifest

READER_VERSION = 3
REVISION = 1
"""Of how the files of `is_revised` are read; when others are read anew, raise READER_VERSION."""
DESTROYED = (
    "images.dtype={} would round away its contrast after the transforms; use images.dtype=auto"
)
MOST_BYTES_PER_VOXEL = 16


def pack_images(
    manifest: Manifest, config: ImagesConfig, progress: Progress, keep_rest: bool = False
) -> PackedImages:
    """Open the packed cache of the manifest's images; build it when there is none.

    `progress(done, total)` is called while images are decoded. The cache's key is made of the
    files' contents, the transforms, the code of plugins among them, and the versions that
    decode: a changed file or transform never meets a stale cache. When some images cannot be used,
    `keep_rest` leaves a cache of the others, which a manifest without these rows opens.

    Raises:
        UnusableImagesError: with every image that cannot be used.
        UserError: when the cache folder cannot be written or has too little room, others may
            write it, or a cache in it was changed.
    """
    cache_dir = Path(config.cache_dir)
    try:
        with told_when_full(cache_dir / "the cache"):
            return _opened(manifest, config, cache_dir, progress, keep_rest)
    except OSError as error:
        raise UserError(f"images.cache_dir {cache_dir}: {error.strerror or error}.") from None


def _opened(
    manifest: Manifest, config: ImagesConfig, cache_dir: Path, progress: Progress, keep_rest: bool
) -> PackedImages:
    """Open or build the cache of the type that the images need."""
    make_private(cache_dir)
    check_cache_dir(cache_dir)
    _raise_problems(manifest, [_too_long(files, config) for files in manifest.image_sets])
    digests = _digests(manifest, cache_dir / "digests.json")
    *narrower, widest = types_to_try(config.dtype)
    for dtype in narrower:
        with suppress(TooNarrowError):
            narrow = replace(config, dtype=dtype)
            return _packed(manifest, narrow, digests, progress, keep_rest, True)
    wide = replace(config, dtype=widest)
    return _packed(manifest, wide, digests, progress, keep_rest, False)


def _packed(
    manifest: Manifest,
    config: ImagesConfig,
    digests: list[str],
    progress: Progress,
    keep_rest: bool,
    is_try: bool,
) -> PackedImages:
    """Open or build the cache of one type; TooNarrowError when that `is_try` and does not fit.

    That it did not is remembered: the next command begins with the type that does.
    """
    files, cache_dir = manifest.image_sets, Path(config.cache_dir)

    def place_of(rows: Sequence[int]) -> Path:
        key = _key(config, [digests[row] for row in rows], [files[row] for row in rows])
        return cache_dir / key[:32]

    key = _key(config, digests, files)
    packed = PackedImages(cache_dir / key[:32], key)
    too_narrow = packed.path.with_suffix(".too_narrow")
    if is_try and too_narrow.exists():
        raise TooNarrowError
    try:
        check_packed(packed.path)
        if not is_sealed(packed.path):
            rest = place_of if keep_rest else None
            _build(manifest, config, packed.path, progress, is_try, rest)
        elif is_try:
            _check_eight_bits(packed.facts)
    except TooNarrowError:
        too_narrow.touch()
        raise
    return packed


def _key(config: ImagesConfig, digests: list[str], files: list[tuple[Path, ...]]) -> str:
    """What the cache depends on. A setting or a way of reading that came later is named only where
    it counts, so that no key of another cache changes.
    """
    settings: list[object] = [
        config.spatial_dims,
        config.num_channels,
        config.dtype,
        config.transforms,
    ]
    own = [config.reader, plugin_hashes([*config.transforms, config.reader])]
    settings += own if any(own) else []
    later: dict[str, object] = {}
    if config.spacing is not None:
        later["spacing"] = config.spacing
    for name in ("unit", "window", "percentiles", "size"):
        if (value := getattr(config, name)) is not None:
            later[name] = value
    if config.size is not None:
        later["fit"] = config.fit
    if config.normalise == "image":
        later["normalise"] = config.normalise
    if config.nonfinite == "fill":
        later["fill"] = config.fill_value
    if revised := [row for row, file in enumerate(files) if any(map(is_revised, file))]:
        later["revised"] = [REVISION, revised]
    settings += [later] if later else []
    return fingerprint([READER_VERSION, version("monai"), settings, digests])


def _check_eight_bits(facts: Sequence[Facts]) -> None:
    if not eight_bits_hold(facts):
        raise TooNarrowError


def _digests(manifest: Manifest, memory_path: Path) -> list[str]:
    """(N,) of the files of each sample."""
    names = [
        manifest.image_root / (f"{path}#{i}" if i else path)
        for path in manifest.table["image_path"]
        for i in range(len(manifest.image_columns))
    ]
    files = [file for files in manifest.image_sets for file in files]
    found = iter(file_digests(files, memory_path, names))
    return ["+".join(next(found) for _ in files) for files in manifest.image_sets]


def _too_long(files: tuple[Path, ...], config: ImagesConfig) -> Facts | str:
    """What is wrong with a file that cannot be an image: hashing 1 TB takes an hour."""
    most = MOST_BYTES_PER_VOXEL * max(config.most_voxels, 2**20)
    try:
        size = max(map(file_size, files))
    except ImageError as error:  # since the manifest was read
        return str(error)
    if size <= most:
        return {}
    allowed = f"images.most_voxels={config.most_voxels:,} allows {most:,}"
    return f"has {size:,} bytes, {allowed}"


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


def _build(
    manifest: Manifest,
    config: ImagesConfig,
    packed_dir: Path,
    progress: Progress,
    is_try: bool,
    place_of_rest: Callable[[Sequence[int]], Path] | None,
) -> None:
    """Build beside the final place and rename: a half-built cache is never opened."""
    remove_leftovers(packed_dir.parent)
    files = manifest.image_sets

    def others(folder: Path) -> None:
        progress(num_decoded(folder), len(files))

    with continued(packed_dir, others) as partial_dir:
        if partial_dir is None:
            return
        log, shape = _begun(manifest, config, partial_dir)
        check = _check_depth if is_try else None
        rows = decode_all(files, partial_dir, config, progress, log, check)
        facts = [row for row in rows if not isinstance(row, str)]
        if place_of_rest is not None and 0 < len(facts) < len(rows):
            with suppress(UserError, TooNarrowError):  # no room, or not to be used either
                _keep_rest(partial_dir, rows, config.dtype, is_try, place_of_rest)
        _raise_problems(manifest, rows)
        if is_try:
            _check_eight_bits(facts)
        for row in destroyed(facts):
            rows[row] = DESTROYED.format(config.dtype)
        _raise_problems(manifest, rows)
        log.path.unlink()
        _flush(partial_dir)
        _finish(partial_dir, facts, [len(files), *shape], config.dtype)


def _begun(
    manifest: Manifest, config: ImagesConfig, folder: Path
) -> tuple[DecodedLog, Sequence[int]]:
    """The log of what is decoded, and an image's shape; the arrays are there.

    What an earlier command left in the folder is taken, if it is whole; else it begins anew.
    """
    files = manifest.image_sets
    facts = {"num_images": len(files), "dtype": config.dtype, "chunk": CHUNK, "digest": DIGEST}
    if (begun := DecodedLog.reopen(folder, facts)) is not None:
        return begun
    shape = first_usable_shape(files, config)
    if isinstance(shape, list):
        _raise_problems(manifest, shape)
    assert isinstance(shape, tuple), "a manifest has at least one image"
    num_thumbnails = 1 if config.spatial_dims == 2 else 3  # see `thumbnails`
    num_thumbnails *= len(manifest.image_columns)
    small = (num_thumbnails, THUMBNAIL_SIZE, THUMBNAIL_SIZE)
    arrays: dict[str, tuple[str, Sequence[int]]] = {
        "images.npy": (config.dtype, (len(files), *shape)),
        "thumbnails.npy": ("uint8", (len(files), *small)),
    }
    reserve(folder, arrays)
    return DecodedLog.begin(folder, facts | {"shape": list(shape)}), shape


def _flush(folder: Path) -> None:
    """Wait until the arrays are on the disk, as the seal will be."""
    for name in ARRAYS:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())


def _finish(folder: Path, facts: Sequence[Facts], shape: Sequence[int], dtype: str) -> None:
    pd.DataFrame(facts, columns=TABLE_COLUMNS).to_csv(folder / "table.csv", index=False)
    seal(folder, {"shape": list(shape), "dtype": dtype})


def _keep_rest(
    decoded_dir: Path,
    rows: Sequence[Facts | str],
    dtype: str,
    is_try: bool,
    place_of: Callable[[Sequence[int]], Path],
) -> None:
    """A cache of the images without a fault, so that they are not decoded once more."""
    facts = {row: fact for row, fact in enumerate(rows) if not isinstance(fact, str)}
    if is_try:
        _check_eight_bits(list(facts.values()))
    kept = list(facts)
    place = place_of(kept)
    if destroyed(list(facts.values())) or place.exists():
        return
    arrays = {name: np.lib.format.open_memmap(decoded_dir / name, mode="r") for name in ARRAYS}
    with built_beside(place) as folder:
        reserve(folder, {n: (str(a.dtype), (len(kept), *a.shape[1:])) for n, a in arrays.items()})
        for name, array in arrays.items():
            target = np.lib.format.open_memmap(folder / name, mode="r+")
            for i, row in enumerate(kept):
                target[i] = array[row]
            target.flush()
        shape = [len(kept), *arrays["images.npy"].shape[1:]]
        _finish(folder, list(facts.values()), shape, dtype)


def _check_depth(rows: Sequence[Facts | str]) -> None:
    """Before all images are decoded: is one of them too deep for 8 bits?"""
    for row in rows:
        if isinstance(row, TooNarrow) or (not isinstance(row, str) and int(row["bit_depth"]) > 8):
            raise TooNarrowError


def _raise_problems(manifest: Manifest, rows: Sequence[Facts | str]) -> None:
    if faults := {row: fault for row, fault in enumerate(rows) if isinstance(fault, str)}:
        raise UnusableImagesError(manifest, faults)
