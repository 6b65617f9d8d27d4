"""From image predictions to those of patients, by way of slides or studies where asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.arrays import Bools, Ints
from pipeline.config import Aggregate, PatientLabel, UserError
from pipeline.evaluation.aggregation import aggregate
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.predictions import prob_columns, with_decisions
from pipeline.label_names import LabelNames
from pipeline.levels import COLUMNS, PLURALS, Level, Middle


@dataclass(frozen=True)
class Step:
    """From the cases of one level to those of the next."""

    below: Level
    level: Level
    setting: str
    """Names the rule."""
    rule: Aggregate
    """How probabilities become one."""

    @property
    def counts(self) -> str:
        """The column with how many of the level below there are."""
        return f"num_{PLURALS[self.below]}"


@dataclass(frozen=True)
class Rules:
    """How images become patients: part of `evaluation`."""

    aggregate: Aggregate = "mean"
    patient_label: PatientLabel = "same"
    middle: Middle | None = None
    middle_aggregate: Aggregate = "mean"

    @classmethod
    def of(cls, evaluation: Mapping[str, Any]) -> "Rules":
        """Of the settings of a run; an older one lacks some, which then have their defaults."""
        return cls(**{name: evaluation[name] for name in cls.__annotations__ if name in evaluation})

    @property
    def steps(self) -> tuple[Step, ...]:
        """One, or two by way of the middle; none without patients."""
        if self.patient_label == "none":
            return ()
        if self.middle is None:
            return (Step("image", "patient", "evaluation.aggregate", self.aggregate),)
        return (
            Step("image", self.middle, "evaluation.middle_aggregate", self.middle_aggregate),
            Step(self.middle, "patient", "evaluation.aggregate", self.aggregate),
        )


def by_level(
    images: pd.DataFrame, classes: Sequence[str], rules: Rules
) -> dict[Level, pd.DataFrame | None]:
    """The tables of all levels, images first; patients are None without labels of theirs.

    Above images there is one row per (fold, patient_id) or (fold, patient_id, slide): label,
    prob_*, and how many it is made of, num_images or num_slides. Each step applies its rule to
    what the step before has made, and `evaluation.patient_label` to its labels: "same" raises
    UserError where they disagree; "worst" is the label latest in `classes`; "majority" the most
    frequent, of equals the later class. Of labels that do not exclude each other all are taken
    that any case below has ("worst"), or half of them or more ("majority"). Images without the
    column label give tables without it.
    """
    tables: dict[Level, pd.DataFrame] = {"image": images}
    for step in rules.steps:
        tables[step.level] = _made(tables[step.below], classes, step, rules.patient_label)
    return {**tables, "patient": tables.get("patient")}


def judged(
    images: pd.DataFrame,
    classes: Sequence[str],
    rules: Rules,
    results: Mapping[int, Mapping[str, Any]],
) -> dict[Level, pd.DataFrame | None]:
    """`by_level` of images with decisions, all decided: as their fold's result.json says."""
    tables = by_level(images, classes, rules)
    for level, table in tables.items():
        if level != "image" and table is not None:
            folds = table.groupby("fold", sort=True)
            read = {fold: Decision.read(result, level, classes) for fold, result in results.items()}
            parts = [with_decisions(rows, classes, read[int(str(fold))]) for fold, rows in folds]
            tables[level] = pd.concat(parts, ignore_index=True)
    return tables


def _made(
    table: pd.DataFrame, classes: Sequence[str], step: Step, label_rule: PatientLabel
) -> pd.DataFrame:
    keys = ["fold", *dict.fromkeys(["patient_id", COLUMNS[step.level]])]
    table = table.sort_values([*keys, COLUMNS[step.below]], ignore_index=True)
    made = table[keys].drop_duplicates()
    starts = made.index.to_numpy()  # (P,) first row of each
    made = made.reset_index(drop=True)
    num_below = np.diff(starts, append=len(table))
    if "label" in table:
        has = _has(table["label"], classes)  # (N, C)
        counts = np.add.reduceat(has.astype(np.int64), starts)  # (P, C)
        if label_rule == "same":
            _check_one_label(counts, num_below, made[COLUMNS[step.level]], classes, step)
        made["label"] = _labels(counts, num_below, classes, label_rule)
    exclusive = not isinstance(classes, LabelNames)
    probabilities = table[prob_columns(classes)].to_numpy()
    made[prob_columns(classes)] = aggregate(probabilities, starts, step.rule, exclusive)
    made[step.counts] = num_below
    return made


def _has(labels: pd.Series, classes: Sequence[str]) -> Bools:
    """(N, C) which classes each has."""
    if isinstance(classes, LabelNames):
        return classes.matrix(labels)
    one_hot: Bools = labels.to_numpy(object)[:, None] == np.asarray(classes, dtype=object)
    return one_hot


def _labels(
    counts: Ints, num_below: Ints, classes: Sequence[str], rule: PatientLabel
) -> Sequence[str]:
    """(P,) labels, of counts (P, C) among so many (P,)."""
    if isinstance(classes, LabelNames):
        return classes.texts(2 * counts >= num_below[:, None] if rule == "majority" else counts > 0)
    votes = counts if rule == "majority" else (counts > 0).astype(np.int64)
    latest_first = votes[:, ::-1].argmax(axis=1)
    return [classes[len(classes) - 1 - code] for code in latest_first]


def _check_one_label(
    counts: Ints, num_below: Ints, names: pd.Series, classes: Sequence[str], step: Step
) -> None:
    mixed = np.flatnonzero(((counts > 0) & (counts < num_below[:, None])).any(axis=1))
    if not mixed.size:
        return
    examples = [
        f"{names.iloc[row]!r} ({', '.join(np.asarray(classes)[counts[row] > 0])})"
        for row in mixed[:3]
    ]
    rules = f"worst (the label latest in {list(classes)}), majority (the most frequent)"
    if isinstance(classes, LabelNames):
        rules = "worst (a label of any image is the patient's), majority (of half of them)"
    raise UserError(
        f"evaluation.patient_label=same: {mixed.size} of {len(names)} {PLURALS[step.level]} have "
        f"{PLURALS[step.below]} with different labels, e.g. {', '.join(examples)}. Choose "
        f"evaluation.patient_label={rules} or none (no patient-level metrics)."
    )
