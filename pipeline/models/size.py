"""The smallest images that a network takes, found by trying, without memory or arithmetic."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

LARGEST = 1024
"""A network that takes no images of this many pixels a side fails for another reason."""


def smallest_side(
    make: Callable[[Sequence[int]], nn.Module], num_channels: int, spatial_dims: int
) -> int | None:
    """Pixels along each side of the smallest images that the networks of `make` take.

    `make` gives the network for images of a size. None when no size is taken, or the network
    cannot be tried on torch's meta device, which knows shapes only.
    """

    def is_taken(side: int) -> bool:
        size = [side] * spatial_dims
        try:
            with torch.device("meta"), torch.inference_mode():
                network = make(size)  # in training: some normalisations need several pixels
                network(torch.zeros(2, num_channels, *size))
        except Exception:  # noqa: BLE001  (a network may fail in any way)
            return False
        return True

    taken = 1
    while not is_taken(taken):
        taken *= 2
        if taken > LARGEST:
            return None
    refused = taken // 2
    while taken - refused > 1:
        between = (taken + refused) // 2
        taken, refused = (between, refused) if is_taken(between) else (taken, between)
    return taken
