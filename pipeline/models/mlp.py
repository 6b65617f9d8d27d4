"""The multilayer perceptron; without hidden layers the linear classifier f(x, W) = Wx + b."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from pipeline.models.layers import perceptron


class MLP(nn.Module):
    """All values of an image (B, in_channels, *image_size) -> (B, num_classes) logits."""

    def __init__(
        self,
        image_size: Sequence[int],
        in_channels: int,
        num_classes: int,
        hidden: Sequence[int] = (),
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        """`hidden` are the units of each layer between image and logits."""
        super().__init__()
        sizes = [in_channels * prod(image_size), *hidden, num_classes]
        self.layers = nn.Sequential(nn.Flatten(), *perceptron(sizes, activation, dropout))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits
