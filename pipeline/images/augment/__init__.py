"""Random changes of training images: drawn per image, made on whole batches, in 2D and 3D."""

from pipeline.images.augment.augmented import Augmented

__all__ = ["Augmented"]
