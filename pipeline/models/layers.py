"""Layers that the networks share, in 2D and 3D, by the words that a config has for them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import gcd
from typing import TypeVar

from torch import nn

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
MAX_POOLS = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
MEAN_POOLS = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
BATCH_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE_NORMS = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
MOST_GROUPS = 32

Value = TypeVar("Value")


def activation(name: str) -> nn.Module:
    """The non-linearity called `name`; ValueError for an unknown one."""
    return _named("activation", name, ACTIVATIONS)()


def normalisation(name: str, spatial_dims: int, num_channels: int) -> nn.Module:
    """The normalisation called `name`, with weights of its own; ValueError for an unknown one."""
    makers: dict[str, nn.Module] = {
        "none": nn.Identity(),
        "batch": BATCH_NORMS[spatial_dims](num_channels),
        "instance": INSTANCE_NORMS[spatial_dims](num_channels, affine=True),
        "group": nn.GroupNorm(gcd(MOST_GROUPS, num_channels), num_channels),
    }
    return _named("norm", name, makers)


def perceptron(sizes: Sequence[int], nonlinearity: str, dropout: float) -> nn.Sequential:
    """Linear layers from each size to the next; non-linearity and dropout between them."""

    def layers() -> Iterator[nn.Module]:
        for position, (num_in, num_out) in enumerate(pairwise(sizes)):
            if position > 0:
                yield activation(nonlinearity)
                yield nn.Dropout(dropout)
            yield nn.Linear(num_in, num_out)

    return nn.Sequential(*layers())


def _named(setting: str, name: str, known: Mapping[str, Value]) -> Value:
    if name not in known:
        raise ValueError(f"{setting} must be one of {', '.join(known)}, got {name!r}")
    return known[name]
