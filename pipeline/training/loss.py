"""The loss of a batch, in which images may weigh differently; alike at every batch size."""

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pipeline.arrays import Floats
from pipeline.config import LossConfig
from pipeline.targets import build


class WeightedLoss(nn.Module):
    """`sum(w * l) / (B * mean_train(w))` over a batch of B.

    The usual reduction divides by the batch's own weight sum: with batches of 1 its weights do
    nothing at all. Dividing by the train part's mean weight makes them act alike at every size.
    """

    adjustment: Tensor

    def __init__(self, function: nn.Module, adjustment: Floats) -> None:
        """`function` gives one loss per sample; `adjustment` (C,) is added to the logits."""
        super().__init__()
        self.function = function
        self.is_adjusted = bool(adjustment.any())
        self.register_buffer("adjustment", torch.from_numpy(adjustment).to(torch.float32))

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """(B, C) logits, (B,) class indices and (B,) w / mean_train(w) -> mean loss."""
        if self.is_adjusted:
            logits = logits + self.adjustment
        total: Tensor = (weights * self.function(logits, labels)).sum()
        return total / len(labels)


def build_loss(config: LossConfig, adjustment: Floats) -> WeightedLoss:
    """The loss that a config names; ConfigError when it cannot be made."""
    return WeightedLoss(build("loss.function", config.function, reduction="none"), adjustment)


def probabilities(logits: Tensor, config: LossConfig, shift: Floats) -> Tensor:
    """(N, C) logits -> class probabilities that sum to 1.

    `shift` (C,) is added to the logits before: it turns the class shares that the network was
    trained under into those that are reported (Saerens et al. 2002).
    """
    if shift.any():
        logits = logits + torch.from_numpy(shift).to(logits)
    # the softmax of log-sigmoids is sigmoids over their sum, also where all of them are tiny
    return (logits if config.output == "softmax" else logsigmoid(logits)).softmax(dim=1)
