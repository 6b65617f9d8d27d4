"""What classes are beside their names: grades of a scale, or labels of which an image may have
several, or none (`edema|effusion`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.arrays import AnyInts, Bools

BETWEEN = "|"
NONE = "none"
"""What stands in tables for none of the labels."""


class LabelNames(tuple[str, ...]):
    """Names of labels that do not exclude each other, in place of the classes of other tasks."""

    __slots__ = ()

    def matrix(self, texts: Iterable[str]) -> Bools:
        """(N, L) which labels each text names; RuntimeError for one that is not known."""
        cells = list(texts)
        rows = {text: self._row(text) for text in dict.fromkeys(cells)}
        found = [rows[text] for text in cells]
        return np.array(found, dtype=np.bool_).reshape(len(cells), len(self))

    def texts(self, matrix: Bools) -> list[str]:
        """The text of each row (N, L), with its labels in our order."""
        return [BETWEEN.join(np.array(self, object)[row]) or NONE for row in matrix]

    def _row(self, text: str) -> Bools:
        named = set() if text == NONE else set(text.split(BETWEEN))
        if unknown := sorted(named - set(self)):
            raise RuntimeError(f"labels must be among {list(self)}, got {unknown}.")
        return np.isin(self, list(named)) if named else np.zeros(len(self), np.bool_)


class Grades(tuple[str, ...]):
    """Classes that are a scale, from its lowest grade to its highest."""

    __slots__ = ()


def matrix_of(classes: Sequence[str], labels: AnyInts) -> Bools:
    """(N, C) which classes each image has: (N,) class indices, or (N, L) of several labels."""
    if labels.ndim == 2:
        return labels.astype(np.bool_)
    one_hot: Bools = labels[:, None] == np.arange(len(classes))
    return one_hot
