"""Which part of a cached image a network sees. Imports no torch."""

from typing import Any

from numpy.typing import NDArray

from pipeline.config import ConfigError


def crop_of(crop: tuple[int, ...] | None, whole: tuple[int, ...]) -> tuple[int, ...]:
    """The sides of what the network sees, of images whose sides are `whole`.

    One number stands for every axis; without a crop, all is seen.

    Raises:
        ConfigError: the crop is larger than the images.
    """
    if crop is None:
        return whole
    sides = crop * len(whole) if len(crop) == 1 else crop
    if any(side > of for side, of in zip(sides, whole, strict=True)):
        problem = (
            f"augment.crop: {' x '.join(map(str, sides))} is larger than the images, which are "
            f"{' x '.join(map(str, whole))}: make it smaller, or images.size larger"
        )
        raise ConfigError([problem])
    return sides


def middle_of(whole: tuple[int, ...], sides: tuple[int, ...]) -> tuple[slice, ...]:
    """Where the central crop is, which is what is evaluated."""
    begins = [(of - side) // 2 for of, side in zip(whole, sides, strict=True)]
    return tuple(slice(at, at + side) for at, side in zip(begins, sides, strict=True))


def central(images: NDArray[Any], crop: tuple[int, ...] | None) -> NDArray[Any]:
    """(N, C, ...) -> what is evaluated of each."""
    whole = images.shape[2:]
    return images[:, :, *middle_of(whole, crop_of(crop, whole))]
