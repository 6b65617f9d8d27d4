"""AlexNet (Krizhevsky, Sutskever and Hinton 2012), with the groups of its two GPUs."""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from pipeline.models.layers import CONVOLUTIONS, MAX_POOLS, MEAN_POOLS, normalisation, perceptron

KERNELS, GROUPS, POOLED_AFTER = (5, 3, 3, 3), (2, 1, 2, 2), (0, 1, 4)
"""Of the convolutions after the first; the layers (from 0) that a pooling follows."""
LOCAL_RESPONSE = "local_response"
SIDE = 6
"""Of the feature map that the classifier sees; other sizes are averaged to it."""


class AlexNet(nn.Module):
    """Five convolutions, then linear layers: (B, in_channels, ...) -> (B, num_classes) logits."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        stem: Sequence[int] = (11, 4),
        widths: Sequence[int] = (96, 256, 384, 384, 256),
        hidden: Sequence[int] = (4096, 4096),
        norm: str = LOCAL_RESPONSE,
        dropout: float = 0.5,
    ) -> None:
        """`stem` is kernel and stride of the first convolution, `widths` are channels.

        `norm` is the paper's, after the first two convolutions, or follows every convolution.
        """
        super().__init__()
        convolution = CONVOLUTIONS[spatial_dims]

        def layers() -> Iterator[nn.Module]:
            kernel, stride = stem
            yield convolution(in_channels, widths[0], kernel, stride, padding=2)
            yield from after(0)
            for layer, (kernel, groups) in enumerate(zip(KERNELS, GROUPS, strict=True), start=1):
                num_in, num_out = widths[layer - 1], widths[layer]
                yield convolution(num_in, num_out, kernel, padding=kernel // 2, groups=groups)
                yield from after(layer)

        def after(layer: int) -> Iterator[nn.Module]:
            if norm != LOCAL_RESPONSE:
                yield normalisation(norm, spatial_dims, widths[layer])
            yield nn.ReLU()
            if norm == LOCAL_RESPONSE and layer < 2:
                yield nn.LocalResponseNorm(size=5, alpha=5e-4, beta=0.75, k=2.0)  # paper: 1e-4 x 5
            if layer in POOLED_AFTER:
                yield MAX_POOLS[spatial_dims](3, stride=2)

        self.features = nn.Sequential(*layers(), MEAN_POOLS[spatial_dims](SIDE))
        sizes = [widths[-1] * SIDE**spatial_dims, *hidden, num_classes]
        self.classifier = nn.Sequential(nn.Flatten(), *perceptron(sizes, "relu", dropout))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images))
        return logits
