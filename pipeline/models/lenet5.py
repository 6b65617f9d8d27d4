"""LeNet-5 (LeCun et al. 1998) with ReLU and max pooling, for images of any size from 20 pixels."""

from torch import Tensor, nn

from pipeline.models.layers import CONVOLUTIONS, MAX_POOLS, MEAN_POOLS


class LeNet5(nn.Module):
    """Convolutions 6-16-120, then 84 units: (B, in_channels, H, W) -> (B, num_classes) logits.

    The last feature map is averaged, so that the size of the image is free.
    """

    def __init__(self, in_channels: int, num_classes: int, spatial_dims: int = 2) -> None:
        super().__init__()
        convolution, pool = CONVOLUTIONS[spatial_dims], MAX_POOLS[spatial_dims]
        self.features = nn.Sequential(
            convolution(in_channels, 6, kernel_size=5, padding=2),
            nn.ReLU(),
            pool(2),
            convolution(6, 16, kernel_size=5),
            nn.ReLU(),
            pool(2),
            convolution(16, 120, kernel_size=3),
            nn.ReLU(),
            MEAN_POOLS[spatial_dims](1),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, num_classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images))
        return logits
