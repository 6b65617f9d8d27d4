"""Binary cross-entropy, for sigmoid outputs."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pipeline.losses.loss import ImageLoss


class BinaryCrossEntropy(ImageLoss):
    """Each class against the rest, summed over the classes; belongs to loss.output=sigmoid."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        targets = self.targets(logits, labels)
        return binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)
