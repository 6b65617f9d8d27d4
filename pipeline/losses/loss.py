"""What our losses share: they give one value per image, for targets that may be soft."""

from torch import Tensor, nn
from torch.nn.functional import one_hot


class ImageLoss(nn.Module):
    """A loss of each image alone, against its label's target."""

    takes_label_sets = False
    """Does it also take (B, L) labels that do not exclude each other, 0 or 1?"""

    def __init__(self, smoothing: float = 0.0, reduction: str = "none") -> None:
        """`smoothing`: share of a target that is spread evenly over all classes.

        Raises:
            ValueError: for another reduction than "none", or a share outside of [0, 1).
        """
        super().__init__()
        if reduction != "none":
            raise ValueError(f'reduction must be "none", got {reduction!r}')
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing must be in [0, 1), got {smoothing}")
        self.smoothing = smoothing

    def targets(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B, C) share of each class; rows sum to 1 (Szegedy et al. 2016, label smoothing).

        Of labels that do not exclude each other (B, L), each is a choice between two.
        """
        if labels.ndim == 2:
            return labels * (1 - self.smoothing) + self.smoothing / 2
        num_classes = logits.shape[1]
        certain = one_hot(labels, num_classes).to(logits.dtype)
        return certain * (1 - self.smoothing) + self.smoothing / num_classes
