"""The class-weighted loss, alike at every batch size."""

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.arrays import Floats, Ints
from pipeline.config import ConfigError, LossConfig
from pipeline.targets import build


class WeightedLoss(nn.Module):
    """`sum(w * l) / (B * mean_train(w))` over a batch of B.

    The usual reduction divides by the batch's own weight sum: with batches of 1 its weights do
    nothing at all. Dividing by the train part's mean weight makes them act alike at every size.
    """

    weights: Tensor

    def __init__(self, function: nn.Module, weights: Floats, mean: float) -> None:
        """`function` gives one loss a sample (reduction="none"); `weights` is (C,)."""
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


def try_loss(loss: WeightedLoss, config: LossConfig, logits: Tensor) -> None:
    """Give it the logits (B, C) of images, where B is not C.

    Raises:
        ConfigError: when it fails, or does not give one value per image.
    """
    name = f"loss.function: {config.function['_target_']}"
    labels = torch.arange(len(logits), device=logits.device) % logits.shape[1]
    with torch.inference_mode():
        try:
            found = shape_of(loss.function(logits, labels))
        except Exception as error:  # noqa: BLE001  (a loss may fail in any way)
            given = f"logits {tuple(logits.shape)} and class indices {tuple(labels.shape)}"
            raise ConfigError([f"{name} fails on {given}: {first_line(error)}"]) from None
    if found != (len(logits),):
        raise ConfigError(
            [
                f"{name} must give one value per image, shape ({len(logits)},) for "
                f"{len(logits)} images, got {found}"
            ]
        )


def shape_of(value: object) -> tuple[int, ...] | str:
    """A tensor's shape, or what there is instead of a tensor."""
    return tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its type if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
