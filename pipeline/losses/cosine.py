"""Cosine loss."""

from torch import Tensor
from torch.nn.functional import cosine_similarity

from pipeline.losses.loss import ImageLoss


class Cosine(ImageLoss):
    """1 - cosine between the probabilities of softmax and the target.

    Bounded, so that no image pulls without limit (Barz and Denzler 2020, Deep learning on small
    datasets without pre-training using cosine loss).
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return 1 - cosine_similarity(logits.softmax(dim=1), self.targets(logits, labels), dim=1)
