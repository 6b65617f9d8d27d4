"""Several images of a sample, as its channels: they must show the same voxels."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from pipeline.arrays import Floats
from pipeline.formats import ImageError, StoredImage

NEAR = 0.1
"""Corners of two images may lie this share of a voxel apart: headers round."""


def stacked(images: Sequence[StoredImage]) -> StoredImage:
    """One image with the channels of all, in their order.

    Raises:
        ImageError: when one has another shape, voxel size or place than the first.
    """
    first = images[0]
    for number, image in enumerate(images[1:], start=2):
        if fault := _difference(first, image):
            raise ImageError(
                f"image {number} of {len(images)} {fault}; the images of a sample are its "
                "channels, so register and resample them to the same voxels first"
            )
    orientations = sorted({image.orientation for image in images})
    return first._replace(
        pixels=np.concatenate([image.pixels for image in images]),
        bit_depth=max(image.bit_depth for image in images),
        channels="",
        orientation="+".join(orientations) if any(orientations) else "",
        filled=max(image.filled for image in images),
    )


def _difference(first: StoredImage, image: StoredImage) -> str:
    """How its geometry differs from the first image's; "" when it does not."""
    shape, other = first.pixels.shape[1:], image.pixels.shape[1:]
    if shape != other:
        return f"has shape {other}, image 1 {shape}"
    if (first.spacing is None) != (image.spacing is None):
        says, silent = ("image 1", "it") if image.spacing is None else ("it", "image 1")
        return f"cannot be compared: {says} says how large its pixels are, {silent} does not"
    if first.spacing is None or image.spacing is None:
        return ""
    voxel = min(first.spacing)
    if np.abs(np.subtract(first.spacing, image.spacing)).max() > NEAR * voxel:
        return f"has voxels of {_mm(image.spacing)}, image 1 of {_mm(first.spacing)}"
    apart = np.linalg.norm(_corners(first) - _corners(image), axis=1).max()
    if apart > NEAR * voxel:
        return f"lies up to {apart:.3g} mm from image 1 (origin or direction differ)"
    return ""


def _corners(image: StoredImage) -> Floats:
    """(2^D, 3) in mm."""
    ends: list[tuple[int, ...]] = [(0, size - 1) for size in image.pixels.shape[1:]]
    ends += [(0,)] * (3 - len(ends))
    corners = np.array([[*corner, 1] for corner in product(*ends)], dtype=np.float64)
    return np.asarray((corners @ image.affine.T)[:, :3], dtype=np.float64)


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{size:.4g}" for size in spacing) + " mm"
