"""VGG (Simonyan and Zisserman 2015): stages of 3x3 convolutions, each halved by pooling."""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from pipeline.models.layers import CONVOLUTIONS, MAX_POOLS, MEAN_POOLS, normalisation, perceptron


class VGG(nn.Module):
    """Convolutions, then linear layers: (B, in_channels, ...) -> (B, num_classes) logits."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        stages: Sequence[Sequence[int]],
        side: int = 7,
        hidden: Sequence[int] = (4096, 4096),
        norm: str = "none",
        dropout: float = 0.5,
    ) -> None:
        """`stages` are the channels of each convolution; a pooling ends a stage.

        The last feature map is averaged to `side` pixels a side, so that the image's size is free.
        """
        super().__init__()

        def layers() -> Iterator[nn.Module]:
            num_in = in_channels
            for widths in stages:
                for num_out in widths:
                    yield CONVOLUTIONS[spatial_dims](num_in, num_out, kernel_size=3, padding=1)
                    yield normalisation(norm, spatial_dims, num_out)
                    yield nn.ReLU()
                    num_in = num_out
                yield MAX_POOLS[spatial_dims](2)

        self.features = nn.Sequential(*layers(), MEAN_POOLS[spatial_dims](side))
        sizes = [stages[-1][-1] * side**spatial_dims, *hidden, num_classes]
        self.classifier = nn.Sequential(nn.Flatten(), *perceptron(sizes, "relu", dropout))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images))
        return logits
