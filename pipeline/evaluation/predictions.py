"""Prediction tables, gathered by sample index.

Columns: fold, patient_id, image_path, label, prob_<class>... in class order, predicted.
Probabilities are float64 columns that hold float32 values: what a file gives back is bit for bit
what was written, and sums over a patient's images do not depend on their order.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SAMPLE_COLUMNS = ["patient_id", "image_path", "label"]
_SUM_TOLERANCE = 1e-4


def prob_columns(classes: Sequence[str]) -> list[str]:
    """One column a class, in class order."""
    return [f"prob_{name}" for name in classes]


def prediction_table(
    samples: pd.DataFrame,
    probabilities: NDArray[np.floating[Any]],
    indices: NDArray[np.integer[Any]],
    classes: Sequence[str],
    fold: int,
) -> pd.DataFrame:
    """Give every sample of a part its probabilities; rows sorted by (patient_id, image_path).

    `probabilities` is (N, C), `indices` (N,) says to which sample (0..N-1) each row belongs, in
    any order. RuntimeError unless every sample occurs exactly once, with probabilities that are
    finite and sum to 1.
    """
    _check_exactly_once(indices, len(samples), fold)
    if probabilities.shape != (len(samples), len(classes)):
        raise RuntimeError(
            f"Fold {fold}: expected probabilities of shape {(len(samples), len(classes))}, "
            f"got {probabilities.shape}."
        )
    if problem := probability_problem(probabilities):
        raise RuntimeError(f"Fold {fold}: {problem}.")
    if unknown := sorted(set(samples["label"]) - set(classes)):
        raise RuntimeError(f"Fold {fold}: labels must be among {list(classes)}, got {unknown}.")
    table = samples[SAMPLE_COLUMNS].reset_index(drop=True)
    table.insert(0, "fold", fold)
    table[prob_columns(classes)] = as_float32(probabilities[np.argsort(indices)])
    return _sorted(table)


def with_decisions(
    table: pd.DataFrame, classes: Sequence[str], threshold: float | None
) -> pd.DataFrame:
    """Add `predicted`: positive where the positive class reaches `threshold`.

    With more than two classes `threshold` is None and the most probable class is predicted (of
    equals the first). Binary: the positive class is the last one.
    """
    if (threshold is None) != (len(classes) > 2):
        raise RuntimeError(
            f"Expected a threshold for 2 classes only, got {threshold} for {classes}."
        )
    probabilities = table[prob_columns(classes)].to_numpy()  # (N, C)
    if threshold is None:
        chosen = probabilities.argmax(axis=1)
    else:
        chosen = (probabilities[:, 1] >= threshold).astype(np.int64)
    return table.assign(predicted=np.asarray(classes, dtype=object)[chosen].astype(str))


def gather_folds(
    tables: Sequence[pd.DataFrame], samples: pd.DataFrame, times_tested: Mapping[str, int]
) -> pd.DataFrame:
    """Join the folds' test tables into one out-of-fold table, in the order of one fold's table.

    RuntimeError unless every sample was predicted in exactly as many folds as `times_tested` says
    of its patient, with the label it has in `samples`.
    """
    gathered = pd.concat(tables, ignore_index=True)
    times = samples["patient_id"].map(times_tested).fillna(0).astype(int)
    expected = samples.loc[samples.index.repeat(times)]
    surplus = gathered.value_counts(SAMPLE_COLUMNS).sub(
        expected.value_counts(SAMPLE_COLUMNS), fill_value=0
    )
    missing, extra = (sorted(surplus.index[side]) for side in (surplus < 0, surplus > 0))
    folds = gathered.groupby("patient_id")["fold"].nunique()
    wrong = folds[folds != folds.index.map(lambda patient: times_tested.get(patient, 0))]
    problems = []
    if missing:
        problems.append(f"{len(missing)} of {len(expected)} have no prediction, e.g. {missing[0]}")
    if extra:
        problems.append(f"{len(extra)} predicted twice or not a sample, e.g. {extra[0]}")
    if len(wrong):
        problems.append(
            f"{len(wrong)} patient(s) tested in another number of folds, e.g. {wrong.index[0]!r}"
        )
    if problems:
        raise RuntimeError(
            f"Expected every sample tested as often as the plan says: {'; '.join(problems)}."
        )
    return _sorted(gathered)


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(["patient_id", "image_path"], ignore_index=True)


def as_float32(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Round to float32 in [0, 1], kept in float64."""
    return probabilities.astype(np.float32).clip(0, 1).astype(np.float64)


def _check_exactly_once(indices: NDArray[np.integer[Any]], num_samples: int, fold: int) -> None:
    known = indices[(indices >= 0) & (indices < num_samples)]
    counts = np.bincount(known, minlength=num_samples)
    problems = []
    if (missing := np.flatnonzero(counts == 0)).size:
        problems.append(f"{missing.size} have no prediction, e.g. {missing[0]}")
    if (doubled := np.flatnonzero(counts > 1)).size:
        problems.append(f"{doubled.size} have more than one, e.g. {doubled[0]}")
    if unknown := sorted(set(indices.tolist()) - set(range(num_samples))):
        problems.append(f"{len(unknown)} unknown index(es), e.g. {unknown[0]}")
    if problems:
        raise RuntimeError(
            f"Fold {fold}: each of {num_samples} samples must be predicted exactly once: "
            f"{'; '.join(problems)}."
        )


def probability_problem(probabilities: NDArray[np.floating[Any]]) -> str | None:
    """Say what is wrong with probabilities (N, C), if anything is."""
    values = probabilities.astype(np.float64)  # (N, C)
    with np.errstate(invalid="ignore"):  # inf - inf is nan, and nan fails every comparison
        sums_to_1 = np.abs(values.sum(axis=1) - 1) <= _SUM_TOLERANCE
    sound = sums_to_1 & (values >= -_SUM_TOLERANCE).all(axis=1)
    if not (bad := np.flatnonzero(~sound)).size:
        return None
    return (
        f"probabilities must lie in [0, 1] and sum to 1, not so in {bad.size} of {len(values)} "
        f"rows, e.g. row {bad[0]}: {values[bad[0]].tolist()}"
    )
