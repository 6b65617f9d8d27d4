"""From image predictions to patient predictions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.arrays import Floats, Ints
from pipeline.config import Aggregate, PatientLabel, UserError
from pipeline.evaluation.predictions import prob_columns


def per_patient(
    table: pd.DataFrame, classes: Sequence[str], aggregate: Aggregate, patient_label: PatientLabel
) -> pd.DataFrame | None:
    """Return one row per (fold, patient_id): label, prob_*, num_images; None for label "none".

    `aggregate`: "mean" of the image probabilities; "max" lets one positive image make the patient
    positive (with more than two classes: each class's largest, scaled to sum 1).
    `patient_label`: "same" raises UserError where a patient's images disagree; "worst" is the
    label latest in `classes`; "majority" the most frequent, of equals the later class.
    """
    if patient_label == "none":
        return None
    table = table.sort_values(["fold", "patient_id", "image_path"], ignore_index=True)
    patients = table[["fold", "patient_id"]].drop_duplicates()
    starts = patients.index.to_numpy()  # (P,) first row of each patient
    patients = patients.reset_index(drop=True)
    labels = _patient_labels(table, starts, patients["patient_id"], classes, patient_label)
    probabilities = _aggregate(table[prob_columns(classes)].to_numpy(), starts, aggregate)
    patients["label"] = [classes[code] for code in labels]
    patients[prob_columns(classes)] = probabilities
    patients["num_images"] = np.diff(starts, append=len(table))
    return patients


def _aggregate(probabilities: Floats, starts: Ints, aggregate: Aggregate) -> Floats:
    """(N, C) image probabilities -> (P, C)."""
    if aggregate == "mean":
        num_images = np.diff(starts, append=len(probabilities))
        means: Floats = np.add.reduceat(probabilities, starts) / num_images[:, None]
        return means
    largest = np.maximum.reduceat(probabilities, starts)
    if largest.shape[1] == 2:
        return np.column_stack([1 - largest[:, 1], largest[:, 1]])
    scaled: Floats = largest / largest.sum(axis=1, keepdims=True)
    return scaled


def _patient_labels(
    table: pd.DataFrame, starts: Ints, names: pd.Series, classes: Sequence[str], rule: PatientLabel
) -> Ints:
    """Return a class index per patient, (P,)."""
    one_hot = table["label"].to_numpy(dtype=object)[:, None] == np.asarray(classes, dtype=object)
    counts = np.add.reduceat(one_hot.astype(np.int64), starts)  # (P, C)
    if rule == "same":
        _check_one_label(counts, names, classes)
    votes = counts if rule == "majority" else (counts > 0).astype(np.int64)
    latest_first: Ints = votes[:, ::-1].argmax(axis=1)
    return len(classes) - 1 - latest_first


def _check_one_label(counts: Ints, names: pd.Series, classes: Sequence[str]) -> None:
    mixed = np.flatnonzero((counts > 0).sum(axis=1) > 1)
    if not mixed.size:
        return
    examples = [
        f"{names.iloc[row]!r} ({', '.join(np.asarray(classes)[counts[row] > 0])})"
        for row in mixed[:3]
    ]
    raise UserError(
        f"evaluation.patient_label=same: {mixed.size} of {len(names)} patients have images with "
        f"different labels, e.g. {', '.join(examples)}. Choose evaluation.patient_label=worst (the "
        f"label latest in {list(classes)}), majority (the most frequent) or none (no patient-level "
        f"metrics)."
    )
