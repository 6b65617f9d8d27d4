"""Over- and under-fitting, where most folds' curves show it: the rule of docs/optimizers.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median_low
from typing import Literal, TypedDict

import numpy as np

from pipeline.arrays import Floats
from pipeline.evaluation.plots import ACCURACIES, History

LEAST_EPOCHS = 5
"""Fewer make no curve."""
LEARNED = 0.1
"""Share of its first value by which a training loss falls that has learned something."""
CLUELESS = 0.1
"""Training accuracy that went at most so far from guessing to all right has learned nothing."""
RISES, FALLS = 0.2, 0.1
"""By these shares of what the training loss fell does a loss rise again, or fall on."""

Kind = Literal["over-fitting", "under-fitting", "too few epochs"]
NOTES: Mapping[Kind, str] = {
    "over-fitting": "after epoch {} the validation loss rises while the training loss still falls; "
    "try augmentation, weight decay, a smaller network or training.patience",
    "under-fitting": "the training images themselves are not learned; try another optimizer.lr, "
    "more epochs or a larger network",
    "too few epochs": "under-fitting: the losses of training and validation were still falling at "
    "the end; try more training.epochs",
}


class Fit(TypedDict):
    """What more than half of the folds show."""

    kind: Kind
    folds: list[int]
    note: str


def fits(histories: Mapping[int, History], guesses: Mapping[int, float]) -> list[Fit]:
    """What the curves of all folds show, at most one kind.

    `guesses` has each fold's training accuracy of always naming the class that is drawn most.
    """
    curves = {fold: _Curves.of(history, guesses[fold]) for fold, history in histories.items()}
    shown = {fold: curve.kind for fold, curve in sorted(curves.items()) if curve is not None}
    for kind, note in NOTES.items():
        folds = [fold for fold, found in shown.items() if found == kind]
        if 2 * len(folds) > len(histories):
            lowest = median_low(c.lowest + 1 for f in folds if (c := curves[f]) is not None)
            text = f"{kind} in {len(folds)} of {len(histories)} folds: {note.format(lowest)}"
            return [{"kind": kind, "folds": folds, "note": text}]
    return []


@dataclass(frozen=True)
class _Curves:
    """A fold's losses, as running medians of three epochs, which no single spike moves."""

    train: Floats
    val: Floats
    accuracy: float | None
    """Of training, in the last three epochs."""
    guess: float

    @classmethod
    def of(cls, history: History, guess: float) -> "_Curves | None":
        """None where there are too few epochs, or no losses: a baseline has none."""
        rows = list(history.values())
        losses = [[row.get(name) for row in rows] for name in ("train/loss", "val/loss")]
        if len(rows) < LEAST_EPOCHS or any(value is None for of in losses for value in of):
            return None
        last = [row.get(ACCURACIES[0]) for row in rows[-3:]]
        right = [value for value in last if value is not None]
        train, val = (_smooth(np.array(values, float)) for values in losses)
        return cls(train, val, float(np.median(right)) if right else None, guess)

    @property
    def lowest(self) -> int:
        """Where the validation loss is smallest."""
        return int(self.val.argmin())

    @property
    def kind(self) -> Kind | None:
        train, val, lowest = self.train, self.val, self.lowest
        fall = float(train[0] - train[-1])
        if fall <= LEARNED * abs(train[0]):
            is_clueless = self.accuracy is not None and (
                self.accuracy <= self.guess + CLUELESS * (1 - self.guess)
            )
            return "under-fitting" if is_clueless else None
        if val[-1] - val[lowest] > RISES * fall and train[lowest] - train[-1] > FALLS * fall:
            return "over-fitting"
        quarter = max(2, len(train) // 4)
        falls_on = min(of[-1 - quarter] - of[-1] for of in (train, val)) > FALLS * fall
        return "too few epochs" if falls_on and lowest >= len(val) - quarter else None


def _smooth(values: Floats) -> Floats:
    """Median of each epoch and its neighbours; at the ends, of the first or last three."""
    windows = np.lib.stride_tricks.sliding_window_view(values, 3)
    inner: Floats = np.median(windows, axis=1)
    return np.concatenate([inner[:1], inner, inner[-1:]])
