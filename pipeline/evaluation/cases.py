"""Cases, images or patients, as they were judged: what every metric is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from pipeline.arrays import AnyFloats, AnyInts, Bools, Ints
from pipeline.evaluation.predictions import prob_columns
from pipeline.label_names import LabelNames


@dataclass(frozen=True)
class Cases:
    """N images or patients of C classes, judged. Of two classes, the last is the positive one."""

    labels: AnyInts
    """(N,) class indices."""
    predicted: AnyInts
    """(N,) class indices."""
    probabilities: AnyFloats
    """(N, C)."""

    def __post_init__(self) -> None:
        expected = (len(self.labels), self.num_classes)
        if self.probabilities.shape != expected or self.predicted.shape != self.labels.shape:
            raise RuntimeError(
                f"Expected probabilities of shape {expected} and as many decisions, got "
                f"{self.probabilities.shape} and {len(self.predicted)}."
            )
        largest = max(self.labels.max(initial=0), self.predicted.max(initial=0))
        if largest >= self.num_classes:
            raise RuntimeError(f"Expected labels below {self.num_classes}, got {largest}.")

    @property
    def num_classes(self) -> int:
        return int(self.probabilities.shape[-1])

    def at(self, rows: Ints | slice) -> Cases:
        """The cases with these numbers, as often as each is named."""
        return Cases(self.labels[rows], self.predicted[rows], self.probabilities[rows])

    @cached_property
    def confusion(self) -> Ints:
        """(C, C) counts: row = true class, column = predicted class."""
        size = self.num_classes
        cells = np.bincount(self.labels * size + self.predicted, minlength=size * size)
        return cells.astype(np.int64).reshape(size, size)

    def against_rest(self, target: int) -> Cases:
        """The same cases with two classes: all others, and `target`."""
        score = self.probabilities[:, target]
        labels, predicted = self.labels == target, self.predicted == target
        return Cases(1 * labels, 1 * predicted, np.column_stack([1 - score, score]))


@dataclass(frozen=True)
class LabelCases:
    """N images or patients, judged by L labels that do not exclude each other."""

    labels: Bools
    """(N, L) which labels each has."""
    predicted: Bools
    """(N, L)."""
    probabilities: AnyFloats
    """(N, L)."""

    def __post_init__(self) -> None:
        shapes = {self.labels.shape, self.predicted.shape, self.probabilities.shape}
        if len(shapes) > 1:
            raise RuntimeError(f"Expected three arrays of one shape, got {sorted(shapes)}.")

    @property
    def num_classes(self) -> int:
        return int(self.labels.shape[1])

    def at(self, rows: Ints | slice) -> LabelCases:
        """The cases with these numbers, as often as each is named."""
        return LabelCases(self.labels[rows], self.predicted[rows], self.probabilities[rows])

    @property
    def confusion(self) -> Ints:
        """(L, 2, 2) counts of each label: without and with it, called without and with it."""
        each = [self.against_rest(code).confusion for code in range(self.num_classes)]
        return np.array(each, np.int64)

    def against_rest(self, target: int) -> Cases:
        """The cases of one label: without, and with it."""
        score = self.probabilities[:, target]
        labels, predicted = (1 * of[:, target] for of in (self.labels, self.predicted))
        return Cases(labels, predicted, np.column_stack([1 - score, score]))


def cases_of(table: pd.DataFrame, classes: Sequence[str]) -> Cases | LabelCases:
    """The cases of a table with label, predicted and prob_*."""
    if isinstance(classes, LabelNames):
        has, called = (classes.matrix(table[name]) for name in ("label", "predicted"))
        return LabelCases(has, called, table[prob_columns(classes)].to_numpy())
    label, predicted = (_codes(table[name], classes) for name in ("label", "predicted"))
    return Cases(label, predicted, table[prob_columns(classes)].to_numpy())


def one_by_one(cases: Cases | LabelCases, classes: Sequence[str]) -> list[tuple[str, Cases]]:
    """The positive class of two; or every class against the rest, and every label."""
    if isinstance(cases, Cases) and cases.num_classes == 2:
        return [(classes[1], cases)]
    return [(name, cases.against_rest(code)) for code, name in enumerate(classes)]


def num_per_class(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, int]:
    """How many rows carry each label, zeros included."""
    if isinstance(classes, LabelNames):
        counts = classes.matrix(table["label"]).sum(axis=0)
    else:
        counts = np.bincount(_codes(table["label"], classes), minlength=len(classes))
    return dict(zip(classes, counts.tolist(), strict=True))


def _codes(names: pd.Series, classes: Sequence[str]) -> Ints:
    codes = pd.Index(classes).get_indexer(pd.Index(names)).astype(np.int64)
    if (codes < 0).any():
        unknown = sorted(set(names) - set(classes))
        raise RuntimeError(f"{names.name} must be among {list(classes)}, got {unknown}.")
    return codes
