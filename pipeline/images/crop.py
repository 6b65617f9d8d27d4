"""Which part of a cached image the network sees. Imports no torch."""


def crop_of(crop: tuple[int, ...] | None, whole: tuple[int, ...]) -> tuple[int, ...]:
    """The sides of what the network sees, of images whose sides are `whole`.

    One number stands for every axis; without a crop, all is seen.
    """
    if crop is None:
        return whole
    return crop * len(whole) if len(crop) == 1 else crop


def middle_of(whole: tuple[int, ...], sides: tuple[int, ...]) -> tuple[slice, ...]:
    """Where the central crop is, which is what is evaluated."""
    begins = [(of - side) // 2 for of, side in zip(whole, sides, strict=True)]
    return tuple(slice(at, at + side) for at, side in zip(begins, sides, strict=True))
