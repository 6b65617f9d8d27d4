"""Binary cross-entropy, for sigmoid outputs."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pipeline.losses.loss import ImageLoss


class BinaryCrossEntropy(ImageLoss):
    """Each class against the rest, summed over the classes; belongs to loss.output=sigmoid.

    Of labels that do not exclude each other, the mean over the labels.
    """

    takes_label_sets = True

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        targets = self.targets(logits, labels)
        losses = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return losses.sum(dim=1) if labels.ndim == 1 else losses.mean(dim=1)
