"""The worst mistakes: who was called positive or negative with the most confidence, and wrongly."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypedDict

import numpy as np
import pandas as pd

from pipeline.arrays import Floats
from pipeline.evaluation.metrics import Level
from pipeline.evaluation.predictions import Threshold
from pipeline.label_names import LabelNames

NUM = 6
"""Shown of each kind, of two classes."""
NUM_OF_MORE, MOST_CLASSES = 3, 8
"""Of each kind of each class or label, and of how many of these."""
Kind = Literal["false positive", "false negative", "wrong class"]


class Failure(TypedDict):
    """A wrong decision about a patient or an image of the test parts."""

    level: Level
    kind: Kind
    about: str
    """The class or label that was missed or called; of several classes the true one."""
    fold: int
    patient_id: str
    image_path: str
    """At patient level, of the patient's images the one furthest on the wrong side."""
    label: str
    predicted: str
    probability: float
    """Of the positive class or the label; of several classes, of the one that was called."""
    threshold: float | None
    """Of the fold; None of several classes, of which the most probable is called."""
    picture: str | None
    """A file beside failures.json; None where there was no image to draw."""


class Failures(TypedDict):
    """The content of failures/failures.json."""

    cases: list[Failure]
    """The worst of each level and kind first."""


def worst_failures(
    tables: Mapping[Level, pd.DataFrame | None],
    classes: Sequence[str],
    thresholds: Mapping[int, Mapping[str, Threshold]],
) -> list[Failure]:
    """Of the decided tables of both levels; `thresholds`: fold -> level -> its threshold.

    Confidence is how far a probability lies beyond its fold's threshold. A patient is shown once of
    each level and kind. Images are left out where each patient has only one.
    """
    images = tables["image"]
    assert images is not None
    found: list[Failure] = []
    for level, table in (("patient", tables.get("patient")), ("image", images)):
        if table is None or (level == "image" and found and images["patient_id"].is_unique):
            continue
        of_level: Level = "patient" if level == "patient" else "image"
        limits = {fold: by_level[level] for fold, by_level in thresholds.items()}
        for kind, about, rows, score in _wrong(table, classes, limits):
            order = np.argsort(-score, kind="stable")
            ranked = rows.iloc[order].drop_duplicates("patient_id")
            most = NUM if len(classes) == 2 and not _has_labels(classes) else NUM_OF_MORE
            for _, row in ranked.head(most).iterrows():
                found.append(_failure(of_level, kind, about, row, images, limits))
    return found


def _has_labels(classes: Sequence[str]) -> bool:
    return isinstance(classes, LabelNames)


def _wrong(
    table: pd.DataFrame, classes: Sequence[str], limits: Mapping[int, Threshold]
) -> Iterator[tuple[Kind, str, pd.DataFrame, Floats]]:
    """Kind, class, the rows that were decided so, and how far each is on the wrong side."""
    if len(classes) > 2 and not isinstance(classes, LabelNames):
        for name in classes[:MOST_CLASSES]:
            rows = table[(table["label"] == name) & (table["predicted"] != name)]
            called = [row[f"prob_{row['predicted']}"] for _, row in rows.iterrows()]
            yield "wrong class", name, rows, np.array(called, np.float64)
        return
    names = classes[:MOST_CLASSES] if isinstance(classes, LabelNames) else classes[1:]
    for name in names:
        has, called_it = (_with(table[column], name, classes) for column in ("label", "predicted"))
        beyond = table[f"prob_{name}"] - [_limit(limits[fold], name) for fold in table["fold"]]
        yield "false positive", name, table[~has & called_it], beyond[~has & called_it].to_numpy()
        yield "false negative", name, table[has & ~called_it], -beyond[has & ~called_it].to_numpy()


def _with(texts: pd.Series, name: str, classes: Sequence[str]) -> pd.Series:
    """(N,) whether each text is the class, or has the label."""
    if isinstance(classes, LabelNames):
        return pd.Series(classes.matrix(texts)[:, classes.index(name)], index=texts.index)
    return texts == name


def _limit(threshold: Threshold, name: str) -> float:
    limit = threshold[name] if isinstance(threshold, Mapping) else threshold
    assert limit is not None, "of two classes and of labels there are thresholds"
    return limit


def _failure(
    level: Level,
    kind: Kind,
    about: str,
    row: pd.Series,
    images: pd.DataFrame,
    limits: Mapping[int, Threshold],
) -> Failure:
    fold, scored = int(row["fold"]), row["predicted"] if kind == "wrong class" else about
    column = f"prob_{scored}"
    if level == "image":
        path = str(row["image_path"])
    else:
        own = images[(images["patient_id"] == row["patient_id"]) & (images["fold"] == fold)]
        furthest = own[column].idxmin() if kind == "false negative" else own[column].idxmax()
        path = str(own.loc[furthest, "image_path"])
    return {
        "level": level,
        "kind": kind,
        "about": about,
        "fold": fold,
        "patient_id": str(row["patient_id"]),
        "image_path": path,
        "label": str(row["label"]),
        "predicted": str(row["predicted"]),
        "probability": float(row[column]),
        "threshold": None if kind == "wrong class" else _limit(limits[fold], about),
        "picture": None,
    }
