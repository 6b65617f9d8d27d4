"""From image predictions to patient predictions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.arrays import Ints
from pipeline.config import Aggregate, PatientLabel, UserError
from pipeline.evaluation.aggregation import aggregate
from pipeline.evaluation.predictions import prob_columns
from pipeline.label_names import LabelNames


def per_patient(
    table: pd.DataFrame, classes: Sequence[str], rule: Aggregate, patient_label: PatientLabel
) -> pd.DataFrame | None:
    """Return one row per (fold, patient_id): label, prob_*, num_images; None for label "none".

    `rule`: how image probabilities become the patient's (`evaluation.aggregate`).
    `patient_label`: "same" raises UserError where a patient's images disagree; "worst" is the
    label latest in `classes`; "majority" the most frequent, of equals the later class. Of labels
    that do not exclude each other a patient has those of any image ("worst"), or of half of its
    images or more ("majority").
    """
    if patient_label == "none":
        return None
    table = table.sort_values(["fold", "patient_id", "image_path"], ignore_index=True)
    patients = table[["fold", "patient_id"]].drop_duplicates()
    starts = patients.index.to_numpy()  # (P,) first row of each patient
    patients = patients.reset_index(drop=True)
    names, probabilities = patients["patient_id"], table[prob_columns(classes)].to_numpy()
    if isinstance(classes, LabelNames):
        patients["label"] = _sets(table["label"], starts, names, classes, patient_label)
    else:
        labels = _patient_labels(table, starts, names, classes, patient_label)
        patients["label"] = [classes[code] for code in labels]
    exclusive = not isinstance(classes, LabelNames)
    patients[prob_columns(classes)] = aggregate(probabilities, starts, rule, exclusive)
    patients["num_images"] = np.diff(starts, append=len(table))
    return patients


def _sets(
    labels: pd.Series, starts: Ints, names: pd.Series, classes: LabelNames, rule: PatientLabel
) -> list[str]:
    """The labels of each patient, as text."""
    counts = np.add.reduceat(classes.matrix(labels).astype(np.int64), starts)  # (P, L)
    num_images = np.diff(starts, append=len(labels))[:, None]
    mixed = ((counts > 0) & (counts < num_images)).any(axis=1)
    if rule == "same" and mixed.any():
        raise UserError(
            f"evaluation.patient_label=same: {mixed.sum()} of {len(names)} patients have images "
            f"with different labels, e.g. {names.iloc[int(mixed.argmax())]!r}. Choose "
            "evaluation.patient_label=worst (a label of any image is the patient's), majority (of "
            "half of them) or none (no patient-level metrics)."
        )
    return classes.texts(2 * counts >= num_images if rule == "majority" else counts > 0)


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
