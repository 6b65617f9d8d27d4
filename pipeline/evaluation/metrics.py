"""Metrics of one table of predictions. What cannot be computed is None, never nan."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.predictions import prob_columns


def metrics(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, float | None]:
    """Return ranking and decision metrics of a table with label, prob_* and predicted."""
    probabilities = table[prob_columns(classes)].to_numpy()
    return {
        **ranking_metrics(_codes(table["label"], classes), probabilities, classes),
        **decision_metrics(confusion(table, classes), classes),
    }


def ranking_metrics(
    labels: NDArray[np.integer[Any]],
    probabilities: NDArray[np.floating[Any]],
    classes: Sequence[str],
) -> dict[str, float | None]:
    """Return auroc and average_precision of class indices (N,) and probabilities (N, C).

    Binary: of the last class. More classes: the plain mean over classes of one against the rest.
    None where a class is missing from the labels.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    if probabilities.shape != (len(labels), len(classes)):
        raise RuntimeError(
            f"Expected probabilities of shape {(len(labels), len(classes))}, "
            f"got {probabilities.shape}."
        )
    counts = np.bincount(labels, minlength=len(classes))
    if len(counts) > len(classes):
        raise RuntimeError(f"Expected labels below {len(classes)}, got {labels.max()}.")
    if not counts.all():
        return {"auroc": None, "average_precision": None}
    targets = [1] if len(classes) == 2 else range(len(classes))
    pairs = [(labels == target, probabilities[:, target]) for target in targets]
    return {
        "auroc": float(np.mean([roc_auc_score(*pair) for pair in pairs])),
        "average_precision": float(np.mean([average_precision_score(*pair) for pair in pairs])),
    }


def decision_metrics(matrix: NDArray[np.int64], classes: Sequence[str]) -> dict[str, float | None]:
    """Return the metrics of a confusion matrix (C, C), rows = true.

    Binary: balanced_accuracy, sensitivity, specificity. More classes: balanced_accuracy,
    accuracy, and sensitivity_<class>, specificity_<class> for each class.
    """
    hits = np.diag(matrix)
    sensitivities = [_ratio(hit, row.sum()) for hit, row in zip(hits, matrix, strict=True)]
    present = [value for value in sensitivities if value is not None]
    complete = len(present) == len(classes)  # else the mean would be over fewer classes
    balanced = {"balanced_accuracy": float(np.mean(present)) if complete else None}
    if len(classes) == 2:
        return balanced | {"sensitivity": sensitivities[1], "specificity": sensitivities[0]}
    result = balanced | {"accuracy": _ratio(hits.sum(), matrix.sum())}
    for index, name in enumerate(classes):
        others = np.delete(matrix, index, axis=0)
        result[f"sensitivity_{name}"] = sensitivities[index]
        result[f"specificity_{name}"] = _ratio(others.sum() - others[:, index].sum(), others.sum())
    return result


def confusion(table: pd.DataFrame, classes: Sequence[str]) -> NDArray[np.int64]:
    """Return counts (C, C): row = true class, column = predicted class."""
    size = len(classes)
    cells = _codes(table["label"], classes) * size + _codes(table["predicted"], classes)
    return np.bincount(cells, minlength=size * size).astype(np.int64).reshape(size, size)


def num_per_class(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, int]:
    """Return how many rows carry each label, zeros included."""
    counts = np.bincount(_codes(table["label"], classes), minlength=len(classes))
    return dict(zip(classes, counts.tolist(), strict=True))


def _codes(names: pd.Series, classes: Sequence[str]) -> NDArray[np.int64]:
    codes = pd.Index(classes).get_indexer(pd.Index(names)).astype(np.int64)
    if (codes < 0).any():
        unknown = sorted(set(names) - set(classes))
        raise RuntimeError(f"{names.name} must be among {list(classes)}, got {unknown}.")
    return codes


def _ratio(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None
