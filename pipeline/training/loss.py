"""The class-weighted loss, alike at every batch size."""

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.arrays import Floats, Ints
from pipeline.config import LossConfig
from pipeline.targets import build


class WeightedLoss(nn.Module):
    """`sum(w * l) / (B * mean_train(w))` over a batch of B.

    The usual reduction divides by the batch's own weight sum: with batches of 1 its weights do
    nothing at all. Dividing by the train part's mean weight makes them act alike at every size.
    """

    weights: Tensor

    def __init__(self, function: nn.Module, weights: Floats, mean: float) -> None:
        """`function` gives one loss per sample (reduction="none"); `weights` is (C,)."""
        super().__init__()
        self.function = function
        self.register_buffer("weights", torch.from_numpy(weights / mean).to(torch.float32))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B, C) logits and (B,) class indices -> mean loss."""
        losses = self.function(logits, labels)  # (B,)
        total: Tensor = (self.weights[labels] * losses).sum()
        return total / len(labels)


def build_loss(config: LossConfig, weights: Floats, num_images: Ints) -> WeightedLoss:
    """The loss for a train part with `num_images` (C,) of each class."""
    function = build("loss.function", config.function, reduction="none")
    return WeightedLoss(function, weights, float(np.average(weights, weights=num_images)))
