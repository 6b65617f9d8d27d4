"""Arrays that NumPy saved."""

from pathlib import Path

import numpy as np

from pipeline.formats.table import StoredImage
from pipeline.formats.values import to_float32

MOST_CHANNELS = 4


def read_npy(path: Path, spatial_dims: int) -> StoredImage:
    """(H, W), (H, W, C) or (D, H, W), (D, H, W, C) with C <= 4 last; never channel-first.

    images.spatial_dims says what the last axis of three is: channels for 2, columns for 3. Three
    channels are no colour here: nothing in the file says so.
    """
    stored = np.load(path, allow_pickle=False)
    if 0 in stored.shape:
        raise ValueError(f"holds an empty array of shape {stored.shape}")
    array = to_float32(stored)
    if array.ndim == spatial_dims:
        array = array[None]
    elif array.ndim == spatial_dims + 1 and array.shape[-1] <= MOST_CHANNELS:
        array = np.moveaxis(array, -1, 0)
    else:
        allowed = "(H, W) or (H, W, C)" if spatial_dims == 2 else "(D, H, W) or (D, H, W, C)"
        raise ValueError(
            f"holds an array of shape {stored.shape}; with images.spatial_dims={spatial_dims} it "
            f"must be {allowed} with C <= {MOST_CHANNELS}"
        )
    bits = stored.dtype.itemsize * 8
    return StoredImage(array, np.eye(4), bits, "the last axis of the array" * (len(array) > 1))
