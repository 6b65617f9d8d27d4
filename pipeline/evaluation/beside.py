"""A test on new patients beside the cross-validation: both values, and how far they lie apart."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from pipeline.evaluation.intervals import Interval
from pipeline.evaluation.summary import MetricEntry, Summary
from pipeline.levels import PLURALS, Level


class Beside(TypedDict):
    """One metric; what cannot be computed is None, and `missing` says why."""

    value: float | None
    """On the new patients."""
    ci_low: float | None
    ci_high: float | None
    cv_value: float | None
    """Of the cross-validation."""
    cv_low: float | None
    cv_high: float | None
    difference: float | None
    """New less cross-validated, with its 95 % interval."""
    difference_low: float | None
    difference_high: float | None
    missing: str


class Point(TypedDict):
    """What came of the decisions on one class."""

    threshold: float
    reached: dict[str, float | int | None]


class UnlikeImages(TypedDict):
    """Of the images that are unlike anything in training."""

    num_images: int
    num_patients: int
    compared: bool
    """False where the run keeps nothing to compare with."""
    without: dict[str, MetricEntry] | None
    """The metrics of the first level without these images; None where there are none, or no others.
    """


class External(Summary):
    """metrics.json of an external test."""

    run_dir: str
    key: str
    plan_hash: str
    network: str
    """`folds`: the ensemble of all folds' networks; `final`."""
    num_networks: int
    beside: dict[Level, dict[str, Beside]]
    points: dict[Level, dict[str, Point]]
    unlike: UnlikeImages
    undefined: dict[str, str]
    """Of the first level: metric -> why it cannot be computed."""


def beside(
    new: Mapping[str, MetricEntry], crossed: Mapping[str, MetricEntry], level: Level
) -> dict[str, Beside]:
    """Every metric that both have, of one level.

    The patients are others, so that the distances to the bounds are joined without a correlation
    (Newcombe 1998; Zou and Donner 2008).
    """
    return {
        name: _beside(entry, crossed[name], level) for name, entry in new.items() if name in crossed
    }


def _beside(new: MetricEntry, crossed: MetricEntry, level: Level) -> Beside:
    one, other = _interval(new), _interval(crossed)
    found = None if one is None or other is None else apart(one, other)
    missing = ""
    if new["value"] is None:
        missing = undefined(new, level)
    elif crossed["value"] is None:
        missing = "the cross-validation has no value"
    elif found is None:
        missing = "one of the two has no interval"
    return {
        "value": new["value"],
        "ci_low": new["ci_low"],
        "ci_high": new["ci_high"],
        "cv_value": crossed["value"],
        "cv_low": crossed.get("ci_low"),
        "cv_high": crossed.get("ci_high"),
        "difference": None if found is None else found.value,
        "difference_low": None if found is None else found.low,
        "difference_high": None if found is None else found.high,
        "missing": missing,
    }


def undefined(entry: MetricEntry, level: Level) -> str:
    """Why a metric of the new patients has no value."""
    if entry["num_positive"] == 0:
        return f"not defined: no {level} has the class"
    return (
        f"not defined for these {PLURALS[level]}: a class is missing among labels or decisions, or "
        "there are too few"
    )


def apart(one: Interval, other: Interval) -> Interval:
    """`one` less `other`, of different patients, with its 95 % interval."""
    value = one.value - other.value
    below = float(np.hypot(one.value - one.low, other.high - other.value))
    above = float(np.hypot(one.high - one.value, other.value - other.low))
    return Interval(value, value - below, value + above)


def _interval(entry: MetricEntry) -> Interval | None:
    ends: Sequence[float | None] = (entry["value"], entry.get("ci_low"), entry.get("ci_high"))
    known = [end for end in ends if end is not None]
    return Interval(*known) if len(known) == len(ends) else None
