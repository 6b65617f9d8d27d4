"""In which order the values of weights and batches lie in memory."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Layout = torch.memory_format

LAST: dict[int, Layout] = {2: torch.channels_last, 3: torch.channels_last_3d}
"""Spatial axes -> channels last: the order that tensor cores and oneDNN compute in."""


def layout_of(network: nn.Module, shape: Sequence[int], device: str, channels_last: bool) -> Layout:
    """Give the network's weights the layout that training.channels_last asks for, and return it.

    A network whose code cannot take images (C, ...) of this `shape` in that order (a `view` across
    axes) keeps torch's own.
    """
    if not channels_last:
        return torch.contiguous_format
    last = LAST[len(shape) - 1]
    if _takes(network, shape, device, last):
        return last
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return torch.contiguous_format


def in_layout(images: Tensor, layout: Layout) -> Tensor:
    """(B, C, ...) in this order in memory."""
    return images.contiguous(memory_format=layout)


def _takes(network: nn.Module, shape: Sequence[int], device: str, layout: Layout) -> bool:
    """Whatever else is wrong with the network, or its size, is found when it is tried out."""
    images = torch.zeros((1, *shape), device=device)
    was_training = network.training
    try:
        network.to(memory_format=layout)  # type: ignore[call-overload]
        with torch.inference_mode():
            network.eval()(in_layout(images, layout))
    except Exception:  # noqa: BLE001  (a network may fail in any way)
        return False
    finally:
        network.train(was_training)
    return True
