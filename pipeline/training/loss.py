"""The loss of a batch, in which images may weigh differently; alike at every batch size."""

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pipeline.arrays import Floats
from pipeline.config import ConfigError, LossConfig
from pipeline.losses.loss import ImageLoss
from pipeline.targets import build
from pipeline.training.job import Output


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
        """(B, C) logits, (B,) class indices and (B,) w / mean_train(w) -> mean loss.

        Labels that do not exclude each other are (B, L), 0 or 1.
        """
        if self.is_adjusted:
            logits = logits + self.adjustment
        total: Tensor = (weights * self.function(logits, labels)).sum()
        return total / len(labels)


def build_loss(config: LossConfig, adjustment: Floats, output: Output = "softmax") -> WeightedLoss:
    """The loss that a config names; ConfigError when it cannot be made, or is not for the task."""
    function = build("loss.function", config.function, reduction="none")
    own = isinstance(function, ImageLoss) and not function.takes_label_sets
    if output == "labels" and (own or isinstance(function, nn.CrossEntropyLoss)):
        problem = (
            f"loss.function: {config.function['_target_']} is for classes that exclude each other; "
            "manifest.task=multilabel needs loss=binary_cross_entropy, or loss=focal "
            "loss.output=sigmoid"
        )
        raise ConfigError([problem])
    return WeightedLoss(function, adjustment)


def probabilities(logits: Tensor, output: Output, shift: Floats) -> Tensor:
    """(N, C) logits -> class probabilities that sum to 1; of labels, of each by itself.

    `shift` (C,) is added to the logits before: it turns the class shares that the network was
    trained under into those that are reported (Saerens et al. 2002).
    """
    if shift.any():
        logits = logits + torch.from_numpy(shift).to(logits)
    if output == "labels":
        return logits.sigmoid()
    # the softmax of log-sigmoids is sigmoids over their sum, also where all of them are tiny
    return (logits if output == "softmax" else logsigmoid(logits)).softmax(dim=1)


def num_right(logits: Tensor, labels: Tensor) -> Tensor:
    """How many images are recognised; of labels, (B, L), how many of all are right."""
    if labels.ndim == 2:
        return ((logits > 0) == (labels > 0)).sum()
    return (logits.argmax(dim=1) == labels).sum()
