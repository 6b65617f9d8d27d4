"""Volumes need a network and an augmentation of their own; the defaults are for pictures."""

from pipeline.config import Config, ConfigError

FLAT = ("pipeline.models.LeNet5",)
"""Networks that only take pictures unless model.spatial_dims=3 is set."""
ADVICE = "images.spatial_dims=3: set a network and an augmentation for volumes, e.g. "
ADVICE += "model=resnet10 augment=volume"


def check_dimensions(config: Config) -> None:
    """ConfigError for a network of pictures and volumes, or the reverse, before any decoding."""
    name, found = config.model["_target_"], config.images.spatial_dims
    dims = config.model.get("spatial_dims", 2 if name in FLAT else found)
    if dims in (found, "@spatial_dims"):
        return
    takes, are = ("pictures", "volumes") if found == 3 else ("volumes", "pictures")
    advice = ADVICE if found == 3 else "images.spatial_dims=2: set model.spatial_dims=2"
    raise ConfigError([f"model: {name} takes {takes}, not {are}; {advice}"])
