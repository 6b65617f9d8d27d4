"""What the networks that `configure` chooses keep of an image while they train."""

import math

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from pipeline.commands.door import load_config
from pipeline.configure.rules.training import BYTES_PER_PIXEL
from pipeline.targets import build


@pytest.mark.parametrize("model", BYTES_PER_PIXEL)
@pytest.mark.parametrize("size", [(64, 64), (24, 24, 24)])
def test_activations_and_their_gradients_are_within_the_estimate(
    model: str, size: tuple[int, ...]
) -> None:
    """Twice what autograd saves: gradients live beside it."""
    facts = {"spatial_dims": len(size), "num_channels": 1, "num_classes": 2, "spatial_size": size}
    network = build("model", load_config(["manifest=demo", f"model={model}"]).model, facts)
    weights = {weight.data_ptr() for weight in network.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    images = torch.zeros(2, 1, *size)
    with saved_tensors_hooks(note, lambda tensor: tensor):
        logits = network(images)
    assert logits.shape == (2, 2)
    per_pixel = 2 * sum(kept.values()) / len(images) / math.prod(size)
    assert 0.1 * BYTES_PER_PIXEL[model] < per_pixel <= BYTES_PER_PIXEL[model]
