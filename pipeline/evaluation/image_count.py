"""Does the number of images alone tell the class? Asked where the rule grows with it."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
import pandas as pd

from pipeline.evaluation.aggregation import grows
from pipeline.evaluation.auroc import auroc_interval
from pipeline.evaluation.cases import cases_of
from pipeline.evaluation.patients import Step
from pipeline.levels import PLURALS

CHANCE = 0.5


class ImageCount(TypedDict):
    """The class that the number of images tells best, where its interval excludes chance."""

    name: str
    auroc: float
    ci_low: float
    ci_high: float
    note: str


def image_count(
    table: pd.DataFrame | None, classes: Sequence[str], groups: Mapping[str, str], step: Step
) -> ImageCount | None:
    """Of what a step has made, decided: how well the number that each was made of tells a class.

    None where it tells none, or where the rule does not grow with it.
    """
    if table is None or not grows(step.rule):
        return None
    cases = cases_of(table, classes)
    units, _ = pd.factorize(table["patient_id"].map(groups))
    counts = table[step.counts].to_numpy(np.float64)[:, None]
    one_fold = np.zeros(len(table), np.int64)  # a count has the same scale in every fold
    found: ImageCount | None = None
    for code in range(1 if len(classes) == 2 else 0, len(classes)):
        positive = (cases.against_rest(code).labels == 1)[:, None]
        interval = auroc_interval(positive, counts, one_fold, units)
        if interval is None or interval.low <= CHANCE <= interval.high:
            continue
        if found is None or abs(interval.value - CHANCE) > abs(found["auroc"] - CHANCE):
            below, level = PLURALS[step.below], PLURALS[step.level]
            of_middle = "" if level == "patients" else f" of the {level}"
            note = (
                f"The number of {below}{of_middle} alone tells {classes[code]}: AUROC {interval}. "
                f"{step.setting}={step.rule} grows with that number, so that part of the result "
                f"may be how often patients were imaged; compare with {step.setting}=mean."
            )
            found = {
                "name": classes[code],
                "auroc": interval.value,
                "ci_low": interval.low,
                "ci_high": interval.high,
                "note": note,
            }
    return found
