"""The tables of what an ensemble predicts: of images, and of what they make: studies, patients."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.arrays import AnyFloats, Floats
from pipeline.ensemble.ensemble import NO_FOLD, mean_of
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.patients import Rules, by_level
from pipeline.evaluation.predictions import as_float32, prob_columns, with_decisions
from pipeline.levels import PLURALS, Level

SPREAD = ("lowest", "highest", "sd")
"""Of a class's probabilities by the folds' networks: the smallest, the largest, and their SD. No
interval: networks that share most of their patients agree where all of them are wrong."""


def image_table(
    samples: pd.DataFrame, members: AnyFloats, classes: Sequence[str], middle: str | None
) -> pd.DataFrame:
    """(N) images with their mean probabilities; `members` (M, N, K) are those of each network.

    With the label where it is known, and the study or slide where the run has that level.
    """
    known = ["label"] * bool((samples["label"] != "").all())
    names = ["patient_id", "image_path", *known, *([middle] if middle else [])]
    table = samples[names].reset_index(drop=True)
    table.insert(0, "fold", NO_FOLD)
    table[prob_columns(classes)] = as_float32(mean_of(members))
    return table


def level_tables(
    images: pd.DataFrame,
    members: AnyFloats,
    classes: Sequence[str],
    rules: Rules,
    decisions: Mapping[Level, Decision],
) -> dict[Level, pd.DataFrame]:
    """The table of each level that is decided, with the spread between the networks.

    An image's mean comes first, and then the rule that makes patients of images, as in `unlock`;
    the spread is between what the rule makes of each network's own probabilities.
    """
    tables = _levels(images, classes, rules)
    spreads = _spreads(images, members, classes, rules)
    found = {}
    for level, decision in decisions.items():
        decided = with_decisions(tables[level], classes, decision).drop(columns="fold")
        for name, values in zip(SPREAD, spreads[level], strict=True):
            columns = [f"{name}_{of}" for of in classes]
            decided[columns] = values
        found[level] = decided
    return found


def _spreads(
    images: pd.DataFrame, members: AnyFloats, classes: Sequence[str], rules: Rules
) -> dict[Level, tuple[Floats, Floats, Floats]]:
    """Of each level the smallest, the largest and the SD (N, K) of the networks' probabilities.

    The SD is that of a sample (M - 1); of one network there is none, nan.
    """
    columns = prob_columns(classes)
    each: dict[Level, list[Floats]] = {}
    for member in members:
        own = images.assign(**dict(zip(columns, np.asarray(member).T, strict=True)))
        for level, table in _levels(own, classes, rules).items():
            each.setdefault(level, []).append(table[columns].to_numpy())
    found = {}
    for level, values in each.items():
        stacked = np.stack(values)
        none = np.full(stacked.shape[1:], np.nan)
        sd = stacked.std(axis=0, ddof=1) if len(stacked) > 1 else none
        found[level] = stacked.min(axis=0), stacked.max(axis=0), sd
    return found


def _levels(
    images: pd.DataFrame, classes: Sequence[str], rules: Rules
) -> dict[Level, pd.DataFrame]:
    found = by_level(images, classes, rules)
    return {level: table for level, table in found.items() if table is not None}


def file_name(level: Level) -> str:
    """predictions.csv of images; patients.csv, studies.csv, slides.csv of the others."""
    return "predictions.csv" if level == "image" else f"{PLURALS[level]}.csv"


def as_text(table: pd.DataFrame, classes: Sequence[str]) -> str:
    """As the file holds it: probabilities as float32, so that the same ones have the same bytes."""
    numbers = [*prob_columns(classes), *(f"{name}_{of}" for name in SPREAD for of in classes)]
    table = table.astype(dict.fromkeys(numbers, np.float32))
    return table.to_csv(index=False, float_format="%.9g", lineterminator="\n")
