"""GoogLeNet, Inception v1 (Szegedy et al. 2015), without the two auxiliary classifiers."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from pipeline.models.layers import CONVOLUTIONS, MAX_POOLS, MEAN_POOLS, normalisation

STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""Channels of each inception module, as in the columns of the paper's table 1."""
LOCAL_RESPONSE = "local_response"


class Convolution(nn.Sequential):
    """A convolution, its normalisation if every one has one, and a ReLU."""

    def __init__(
        self, spatial_dims: int, num_in: int, num_out: int, kernel: int, norm: str, stride: int = 1
    ) -> None:
        layer = CONVOLUTIONS[spatial_dims](num_in, num_out, kernel, stride, padding=kernel // 2)
        everywhere = "none" if norm == LOCAL_RESPONSE else norm
        super().__init__(layer, normalisation(everywhere, spatial_dims, num_out), nn.ReLU())


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and a pooling side by side; their channels are joined."""

    def __init__(self, spatial_dims: int, num_in: int, widths: Sequence[int], norm: str) -> None:
        super().__init__()
        one, before_3, three, before_5, five, pooled = widths
        self.num_channels = one + three + five + pooled

        def convolution(num_in: int, num_out: int, kernel: int) -> Convolution:
            return Convolution(spatial_dims, num_in, num_out, kernel, norm)

        self.branches = nn.ModuleList(
            [
                convolution(num_in, one, 1),
                nn.Sequential(convolution(num_in, before_3, 1), convolution(before_3, three, 3)),
                nn.Sequential(convolution(num_in, before_5, 1), convolution(before_5, five, 5)),
                nn.Sequential(
                    MAX_POOLS[spatial_dims](3, stride=1, padding=1), convolution(num_in, pooled, 1)
                ),
            ]
        )

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([branch(features) for branch in self.branches], dim=1)


class GoogLeNet(nn.Module):
    """22 layers in nine inception modules: (B, in_channels, ...) -> (B, num_classes) logits."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        norm: str = LOCAL_RESPONSE,
        dropout: float = 0.4,
    ) -> None:
        """`norm` is the paper's, at two places of the stem, or follows every convolution."""
        super().__init__()

        def local_response() -> nn.Module:
            is_papers = norm == LOCAL_RESPONSE
            return nn.LocalResponseNorm(size=5) if is_papers else nn.Identity()

        def pool() -> nn.Module:
            return MAX_POOLS[spatial_dims](3, stride=2, ceil_mode=True)

        def layers() -> Iterator[nn.Module]:
            yield Convolution(spatial_dims, in_channels, 64, 7, norm, stride=2)
            yield from (pool(), local_response())
            yield Convolution(spatial_dims, 64, 64, 1, norm)
            yield Convolution(spatial_dims, 64, 192, 3, norm)
            yield local_response()
            num_in = 192
            for stage in STAGES:
                yield pool()
                for widths in stage:
                    inception = Inception(spatial_dims, num_in, widths, norm)
                    num_in = inception.num_channels
                    yield inception

        self.features = nn.Sequential(*layers(), MEAN_POOLS[spatial_dims](1))
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(1024, num_classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images))
        return logits
