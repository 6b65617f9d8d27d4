"""The run folder's files as MLflow metrics: (name, value) pairs without gaps."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

LEVELS = ("patient", "image")


class Point(NamedTuple):
    """One value of one metric."""

    name: str
    value: float
    time: float  # unix seconds
    step: int


def epoch_points(records: Sequence[Mapping[str, Any]]) -> list[Point]:
    """The epoch records' metrics, stamped with the journal's own time and without the nulls.

    The same record always gives the same points: the server drops a point it already has.
    """
    return [
        Point(name, value, record["time"], record["epoch"])
        for record in records
        if record["event"] == "epoch"
        for name, value in numbers(record["metrics"])
    ]


def result_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """A fold's final metrics: test/<level>/..., best/val/<level>/..., threshold/<level>, ..."""
    return {
        **_by_level("test", result.get("test") or {}),
        **_by_level("best/val", result.get("val") or {}),
        **dict(numbers(result.get("thresholds") or {}, "threshold/")),
        **{
            name: value
            for name, value in numbers(result)
            if name in ("best_epoch", "num_epochs", "seconds", "num_parameters")
        },
    }


def summary_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The cross-validation's final metrics, under the folds' names, plus _ci_low and _ci_high."""
    return _by_level("test", metrics)


def _by_level(part: str, levels: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for level in LEVELS
        for name, value in numbers(levels.get(level) or {}, f"{part}/{level}/")
    }


def numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The finite numbers among the values; {"value", "ci_low", "ci_high"} gives up to three."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            for key, ending in (("value", ""), ("ci_low", "_ci_low"), ("ci_high", "_ci_high")):
                yield from numbers({name + ending: value.get(key)}, prefix)
        elif type(value) in (int, float) and math.isfinite(value):
            yield prefix + name, float(value)
