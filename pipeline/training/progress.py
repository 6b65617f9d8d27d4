"""How far a fold has come. Imports no torch."""

import math
from dataclasses import dataclass

from pipeline.tracking.journal import EpochEnded


@dataclass(frozen=True)
class Progress:
    """How far a fold has come. Epochs count from 1."""

    num_epochs: int = 0
    best_epoch: int = 0
    best_value: float = math.nan
    last: EpochEnded | None = None
    """The journal's line of the last epoch."""

    @property
    def is_best(self) -> bool:
        """Whether the last epoch is the best one."""
        return self.best_epoch == self.num_epochs

    @property
    def epochs_since_best(self) -> int:
        return self.num_epochs - self.best_epoch

    def after(self, value: float, mode: str) -> "Progress":
        """With one more epoch, which reached `value`; the first of equal ones stays the best."""
        epoch = self.num_epochs + 1
        better = value < self.best_value if mode == "min" else value > self.best_value
        if epoch == 1 or better:
            return Progress(epoch, epoch, value)
        return Progress(epoch, self.best_epoch, self.best_value)

    def unjudged(self) -> "Progress":
        """With one more epoch of a training without validation: the last one is kept."""
        return Progress(self.num_epochs + 1, self.num_epochs + 1)
