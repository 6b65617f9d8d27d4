"""Focal loss."""

import torch
from torch import Tensor

from pipeline.losses.loss import ImageLoss


class Focal(ImageLoss):
    """(1 - p)^gamma times the cross-entropy, with p of softmax (Lin et al. 2017, Focal loss).

    What is recognised well already counts less; `gamma` 0 is the cross-entropy. Of labels that do
    not exclude each other: p of sigmoid, and the mean over the labels.
    """

    takes_label_sets = True

    def __init__(self, gamma: float = 2.0, smoothing: float = 0.0, reduction: str = "none") -> None:
        super().__init__(smoothing, reduction)
        if gamma < 0:
            raise ValueError(f"gamma must be 0 or more, got {gamma}")
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        if labels.ndim == 2:
            with_and_without = torch.stack([logits, torch.zeros_like(logits)], dim=2)  # (B, L, 2)
            targets = self.targets(logits, labels)
            both = torch.stack([targets, 1 - targets], dim=2)
            return self._losses(with_and_without, both).mean(dim=1)
        return self._losses(logits, self.targets(logits, labels))

    def _losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(..., C) logits and targets -> (...) losses."""
        logs = logits.log_softmax(dim=-1)
        # 1 - p is 0 in float32 for a sure p, where the slope of a power below 1 is infinite
        doubt = (1 - logs.exp()).clamp_min(1e-12) ** self.gamma
        losses: Tensor = -(targets * doubt * logs).sum(dim=-1)
        return losses
