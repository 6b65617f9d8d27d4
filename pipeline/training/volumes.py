"""Volumes need a network and an augmentation of their own; the defaults are for pictures."""

from pipeline.config import Config, ConfigError

FLAT = ("pipeline.models.LeNet5",)
"""Networks that only take pictures."""
ADVICE = "images.spatial_dims=3: set a network and an augmentation for volumes, e.g. "
ADVICE += "model=resnet10 augment=volume"


def check_dimensions(config: Config) -> None:
    """ConfigError for volumes and a network of pictures, before an image is decoded."""
    name = config.model["_target_"]
    if config.images.spatial_dims == 3 and name in FLAT:
        raise ConfigError([f"model: {name} takes pictures, not volumes; {ADVICE}"])
