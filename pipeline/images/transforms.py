"""From an image as stored to what the network sees: spacing, window, transforms, size, z-score."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from pipeline.arrays import Floats32
from pipeline.config import ImagesConfig
from pipeline.config.leaf import only_resizes
from pipeline.formats import ImageError, StoredImage
from pipeline.targets import build

Transforms = Callable[[Any, Any], object]
"""Of pixels (C, ...) and their affine matrix."""
Step = Callable[[Any], Any]
NORMALISED = 50
"""Values within -50 and 50 are no Hounsfield units: air is -1000, fat -100, bone 300 and more."""
NO_UNITS = "with images.unit=null no unit is asked for"


def transforms_of(config: ImagesConfig) -> Transforms:
    """The steps of these settings, in the order of `steps_of`.

    Where each of them has a stand-in, which gives the very same values, MONAI is not imported.
    """
    if (simple := _without_monai(config)) is not None:
        return partial(_one_by_one, simple)
    from monai.data import MetaTensor
    from monai.transforms import Compose

    composed = Compose(list(steps_of(config)))

    def apply(pixels: Any, affine: Any) -> object:
        return composed(MetaTensor(pixels, affine=affine))

    return apply


def _one_by_one(steps: Sequence[Step], pixels: Any, _affine: Any) -> object:
    for step in steps:
        pixels = step(pixels)
    return pixels


def _without_monai(config: ImagesConfig) -> list[Step] | None:
    """All steps, or None when one of them is MONAI's alone."""
    crops = config.size is not None and config.fit == "crop"
    if config.spacing is not None or config.normalise == "image" or crops:
        return None
    sizes = [only_resizes(leaf) for leaf in config.transforms]
    if config.size is not None:
        sizes.append(per_axis(config.size, config.spatial_dims))
    steps = list(_windows(config))
    for size in sizes:
        if size is None or len(size) != config.spatial_dims:
            return None
        steps.append(partial(resized, size=size))
    return steps


def steps_of(config: ImagesConfig) -> Iterator[Step]:
    """Resampling to images.spacing; the window or percentiles; images.transforms; images.size; and
    the z-score of the image. What is padded is 0: the lower edge of a window.
    """
    from monai.transforms import NormalizeIntensity, Resize, ResizeWithPadOrCrop, Spacing

    dims = config.spatial_dims
    if config.spacing is not None:
        yield Spacing(per_axis(config.spacing, dims))
    yield from _windows(config)
    yield from (build(f"images.transforms.{i}", leaf) for i, leaf in enumerate(config.transforms))
    if config.size is not None:
        resize = Resize if config.fit == "stretch" else ResizeWithPadOrCrop
        yield resize(spatial_size=per_axis(config.size, dims))
    if config.normalise == "image":
        yield NormalizeIntensity(channel_wise=True)


def _windows(config: ImagesConfig) -> Iterator[Step]:
    if config.window is not None:
        yield partial(windowed, low=config.window[0], high=config.window[1])
    if config.percentiles is not None:
        yield partial(spread, percentiles=config.percentiles)


def resized(image: Any, size: tuple[int, ...]) -> Any:
    """(C, ...) resampled to `size` as by MONAI's Resize: the means of areas."""
    from torch.nn.functional import interpolate

    if tuple(image.shape[1:]) == size:
        return image
    return interpolate(image.unsqueeze(0), size=size, mode="area").squeeze(0)


def per_axis(values: tuple[Any, ...], spatial_dims: int) -> tuple[Any, ...]:
    """A single value stands for all axes."""
    return values * spatial_dims if len(values) == 1 else values


def windowed(image: Any, low: float, high: float) -> Any:
    """`low` becomes 0 and `high` 1; what is beyond is cut."""
    return ((image - low) / (high - low)).clamp(0, 1)


def spread(image: Any, percentiles: tuple[float, float]) -> Any:
    """Each channel of (C, ...) from its lower percentile, 0, to its upper one, 1; cut beyond.

    Where both are one value, as of a small object before nothing, from the smallest to the largest.
    """
    for c, channel in enumerate(image):
        low, high = np.percentile(np.asarray(channel), percentiles).tolist()
        if low == high:
            low, high = float(channel.min()), float(channel.max())
        image[c] = windowed(channel, low, high) if high > low else 0.0
    return image


def check_unit(image: StoredImage, config: ImagesConfig) -> None:
    """Refuse values that cannot be in `images.unit`.

    Raises:
        ImageError: with what was found.
    """
    if config.unit is None:
        return
    low, high = float(image.pixels.min()), float(image.pixels.max())
    if fault := no_hounsfield(image.bit_depth, low, high):
        raise ImageError(fault)


def no_hounsfield(bit_depth: int, low: float, high: float) -> str:
    """Why values from `low` to `high` cannot be Hounsfield units; "" when they can."""
    if bit_depth <= 8:
        return (
            f"has {bit_depth} bits, a picture: Hounsfield units (images.unit=HU) need 12 or "
            "more; use the DICOM or NIfTI file that it was made from, or images for pictures "
            "(images=grey64, images=radiograph)"
        )
    if low >= 0 or (low > -NORMALISED and high < NORMALISED):
        return (
            f"has values from {low:g} to {high:g}, which cannot be Hounsfield units "
            "(images.unit=HU): air is -1000 and fat -100; was the rescale of the DICOM files lost, "
            f"or were they normalised? Convert them again; {NO_UNITS}, and images.window must fit"
        )
    return ""


def transformed(image: StoredImage, config: ImagesConfig, transforms: Transforms) -> Floats32:
    """(C, ...) after all steps.

    Raises:
        ImageError: when it is not in the unit or size that the settings ask for, or a step fails.
    """
    import torch

    check_unit(image, config)
    pixels, affine = torch.from_numpy(image.pixels.copy()), torch.from_numpy(image.affine)
    if config.spacing is not None:
        if image.spacing is None:
            raise ImageError(
                "does not say how large its pixels are in mm, as images.spacing needs; "
                "images.spacing=null takes pixels as they are"
            )
        affine = torch.diag(torch.tensor([*image.spacing, 1.0], dtype=torch.float64))
        growth = math.prod(image.spacing)
        growth /= math.prod(per_axis(config.spacing, config.spatial_dims))
        if image.pixels.size * growth > config.most_voxels:
            raise ImageError(
                f"would have {image.pixels.size * growth:,.0f} values with images.spacing, "
                f"images.most_voxels allows {config.most_voxels:,}"
            )
    try:
        return np.asarray(transforms(pixels, affine), dtype=np.float32)
    except (RuntimeError, ValueError) as error:
        cause = error.__cause__ or error  # MONAI's own words only say which transform it was
        raise ImageError(f"a transform failed: {cause!r}") from None
