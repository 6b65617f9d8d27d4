"""Poisson loss."""

from torch import Tensor
from torch.nn.functional import poisson_nll_loss

from pipeline.losses.loss import ImageLoss


class Poisson(ImageLoss):
    """Targets as counts whose means are the probabilities of softmax; mean over the classes."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        means, targets = logits.softmax(dim=1), self.targets(logits, labels)
        return poisson_nll_loss(means, targets, log_input=False, reduction="none").mean(dim=1)
