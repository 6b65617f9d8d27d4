"""Focal loss."""

from torch import Tensor

from pipeline.losses.loss import ImageLoss


class Focal(ImageLoss):
    """(1 - p)^gamma times the cross-entropy, with p of softmax (Lin et al. 2017, Focal loss).

    What is recognised well already counts less; `gamma` 0 is the cross-entropy.
    """

    def __init__(self, gamma: float = 2.0, smoothing: float = 0.0, reduction: str = "none") -> None:
        super().__init__(smoothing, reduction)
        if gamma < 0:
            raise ValueError(f"gamma must be 0 or more, got {gamma}")
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        logs = logits.log_softmax(dim=1)
        # 1 - p is 0 in float32 for a sure p, where the slope of a power below 1 is infinite
        doubt = (1 - logs.exp()).clamp_min(1e-12) ** self.gamma
        losses: Tensor = -(self.targets(logits, labels) * doubt * logs).sum(dim=1)
        return losses
