"""What cannot be asked of an augmentation."""

from collections.abc import Iterator
from dataclasses import replace

from pipeline.config.sections import AugmentConfig


def augment_problems(augment: AugmentConfig, dims: int) -> Iterator[str]:
    """For images of so many spatial axes."""
    if max(augment.flip_axes, default=0) >= dims:
        yield (
            f"augment.flip_axes: {dims}D images have axes 0 to {dims - 1}, "
            f"got {list(augment.flip_axes)}"
        )
    if augment.crop is not None and len(augment.crop) not in (1, dims):
        yield (
            f"augment.crop: {dims}D images need {dims} values, or one for all axes, "
            f"got {list(augment.crop)}"
        )
    if augment.transforms and replace(augment, transforms=()) != AugmentConfig():
        yield (
            "augment: use either augment.transforms (MONAI, per sample) or batched settings "
            "(flip_axes, rotate_degrees, crop, mixup, ...), not both; augment=none switches the "
            "latter off"
        )


def no_augmentation(augment: AugmentConfig) -> Iterator[str]:
    """What a baseline would silently leave out."""
    for name in ("crop", "cutout", "mixup"):
        if value := getattr(augment, name):
            yield (
                f"augment.{name}={list(value) if name == 'crop' else value}: a baseline of "
                "scikit-learn sees whole images, which are not augmented; choose a network, or "
                "leave this setting out"
            )
