"""A small CNN that keeps places: for few images that are all aligned."""

from collections.abc import Iterator, Sequence
from math import prod

from torch import Tensor, nn

from pipeline.models.layers import CONVOLUTIONS, MAX_POOLS, normalisation


class SmallCNN(nn.Module):
    """One convolution a stage, halved between stages, then one linear layer of every place:
    (B, in_channels, *image_size) -> (B, num_classes) logits.

    A mean over places would forget where a thing is; where images are aligned, that tells most.
    """

    def __init__(
        self,
        image_size: Sequence[int],
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (16, 16),
        norm: str = "batch",
        dropout: float = 0.5,
    ) -> None:
        """`widths` are the channels of each stage; dropout is before the linear layer."""
        super().__init__()
        dims = len(image_size)

        def layers() -> Iterator[nn.Module]:
            num_in = in_channels
            for stage, num_out in enumerate(widths):
                if stage > 0:
                    yield MAX_POOLS[dims](2)
                yield CONVOLUTIONS[dims](num_in, num_out, kernel_size=3, padding=1)
                yield normalisation(norm, dims, num_out)
                yield nn.ReLU()
                num_in = num_out

        self.features = nn.Sequential(*layers())
        num_places = prod(side // 2 ** (len(widths) - 1) for side in image_size)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(widths[-1] * num_places, num_classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images))
        return logits
