"""Networks of our own; MONAI's come by `_target_`."""

from pipeline.models.init import initialise
from pipeline.models.lenet5 import LeNet5

__all__ = ["LeNet5", "initialise"]
