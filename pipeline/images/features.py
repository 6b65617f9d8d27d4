"""What a frozen network makes of the images, kept beside their pixels, sealed as these are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Floats32
from pipeline.errors import UserError
from pipeline.images.building import built_beside
from pipeline.images.packed import PackedImages
from pipeline.images.seal import is_sealed, reserve, seal
from pipeline.images.trust import check_cache_dir, check_packed

NAME = "features.npy"


def features_dir(images: PackedImages, key: str) -> Path:
    """Beside the pixels that they are made of."""
    return images.path.with_name(f"{images.path.name}.{key[:32]}.features")


def keep_features(
    images: PackedImages,
    key: str,
    shape: tuple[int, ...],
    fill: Callable[[NDArray[np.float32]], None],
) -> Floats32:
    """(N, ...) the array under a key, memory-mapped; `fill` makes it where there is none yet.

    Raises:
        UserError: when the cache folder cannot be written or has too little room, others may
            write it, or the array was changed since.
    """
    folder = features_dir(images, key)
    try:
        check_cache_dir(folder.parent)
        check_packed(folder)
        if not is_sealed(folder, [NAME]):
            with built_beside(folder) as partial:
                reserve(partial, {NAME: ("float32", shape)}, "features")
                array = np.lib.format.open_memmap(partial / NAME, mode="r+")
                fill(array)
                array.flush()
                seal(partial, {"shape": list(shape), "key": key}, [NAME])
    except OSError as error:
        raise UserError(f"images.cache_dir {folder.parent}: {error.strerror or error}.") from None
    return np.lib.format.open_memmap(folder / NAME, mode="r")
