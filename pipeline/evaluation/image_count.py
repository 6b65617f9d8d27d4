"""Does the mere number of a patient's images tell the class? Asked where the rule grows with it."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
import pandas as pd

from pipeline.evaluation.auroc import auroc_interval
from pipeline.evaluation.cases import cases_of

CHANCE = 0.5


class ImageCount(TypedDict):
    """The class that the number of images tells best, where its interval excludes chance."""

    name: str
    auroc: float
    ci_low: float
    ci_high: float
    note: str


def image_count(
    patients: pd.DataFrame, classes: Sequence[str], groups: Mapping[str, str], rule: str
) -> ImageCount | None:
    """Of a patient table with num_images, label, predicted and prob_*; None where it tells none."""
    cases = cases_of(patients, classes)
    units, _ = pd.factorize(patients["patient_id"].map(groups))
    counts = patients["num_images"].to_numpy(np.float64)[:, None]
    one_fold = np.zeros(len(patients), np.int64)  # a count has the same scale in every fold
    found: ImageCount | None = None
    for code in range(1 if len(classes) == 2 else 0, len(classes)):
        positive = (cases.against_rest(code).labels == 1)[:, None]
        interval = auroc_interval(positive, counts, one_fold, units)
        if interval is None or interval.low <= CHANCE <= interval.high:
            continue
        if found is None or abs(interval.value - CHANCE) > abs(found["auroc"] - CHANCE):
            note = (
                f"The number of images alone tells {classes[code]}: AUROC {interval}. "
                f"evaluation.aggregate={rule} grows with that number, so that part of the result "
                "may be how often patients were imaged; compare with evaluation.aggregate=mean."
            )
            found = {
                "name": classes[code],
                "auroc": interval.value,
                "ci_low": interval.low,
                "ci_high": interval.high,
                "note": note,
            }
    return found
