"""Losses of our own: (B, C) logits and (B,) class indices -> (B,) one value per image.

Torch's `CrossEntropyLoss` and MONAI's losses come by `_target_`. All are made with
`reduction="none"`; what an image weighs is applied afterwards. Those with `takes_label_sets` also
take (B, L) labels of 0 and 1 that do not exclude each other.
"""

from pipeline.losses.binary import BinaryCrossEntropy
from pipeline.losses.cosine import Cosine
from pipeline.losses.divergence import KullbackLeibler
from pipeline.losses.focal import Focal
from pipeline.losses.poisson import Poisson

__all__ = ["BinaryCrossEntropy", "Cosine", "Focal", "KullbackLeibler", "Poisson"]
