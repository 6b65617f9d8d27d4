"""Kullback-Leibler divergence from soft labels."""

from torch import Tensor
from torch.nn.functional import kl_div

from pipeline.losses.loss import ImageLoss


class KullbackLeibler(ImageLoss):
    """KL(target || softmax): cross-entropy less what the soft label itself leaves open."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        targets = self.targets(logits, labels)
        return kl_div(logits.log_softmax(dim=1), targets, reduction="none").sum(dim=1)
