"""How a network's weights begin."""

import math
from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from pipeline.config import Scheme

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
SMALL_SD = 0.01


def scaled_normal(weight: Tensor) -> Tensor:
    """N(0, 1) / sqrt(number of inputs); `weight` is (outputs, inputs, ...)."""
    return nn.init.normal_(weight, std=1 / math.sqrt(weight[0].numel()))


DRAWS: Mapping[Scheme, Callable[[Tensor], object]] = {
    "zeros": nn.init.zeros_,
    "normal": partial(nn.init.normal_, std=SMALL_SD),
    "scaled_normal": scaled_normal,
    "glorot_uniform": nn.init.xavier_uniform_,
    "glorot_normal": nn.init.xavier_normal_,
    "he_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    "he_normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
}
"""Scheme -> draws a weight anew, in place."""


def initialise(network: nn.Module, scheme: Scheme) -> None:
    """Draw the weights of convolutions and linear layers anew, and set their biases to 0.

    `default` keeps what is there.
    """
    if scheme == "default":
        return
    for layer in network.modules():
        if isinstance(layer, LAYERS):
            DRAWS[scheme](layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
