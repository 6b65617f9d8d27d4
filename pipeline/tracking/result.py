"""A fold's result.json and the run's metrics.json as metrics of MLflow, without gaps."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pipeline.config import FORMER_METRICS
from pipeline.files import read_json
from pipeline.tracking.journal import VERSION

SINGLE = ("best_epoch", "num_epochs", "seconds", "num_parameters")
ENDINGS = {"value": "", "ci_low": "_ci_low", "ci_high": "_ci_high"}


def read_result(path: Path) -> dict[str, Any]:
    """The content of a done fold's result.json, whatever version wrote it: epochs count from 1."""
    result = read_json(path)
    if "version" not in result:  # written when epochs counted from 0
        name = result["select_by"]
        result["version"], result["best_epoch"] = VERSION, result["best_epoch"] + 1
        result["select_by"] = FORMER_METRICS.get(name, name)
    return result


def result_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """A fold's final metrics: test/<level>/..., best/val/<level>/..., threshold/<level>, ..."""
    parts = {"test": result.get("test"), "best/val": result.get("val")}
    single = {name: result.get(name) for name in SINGLE}
    return dict(numbers({**parts, "threshold": result.get("thresholds"), **single}))


def summary_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """The run's, under the names that a fold's have, plus _ci_low and _ci_high."""
    return dict(numbers({f"test/{level}": summary.get(level) for level in ("patient", "image")}))


def validation_metrics(results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """val/<level>/... of the chosen epochs: the mean over folds, and the extremes (_min, _max).

    What one fold lacks is missing. The metric that chose the epochs is among them.
    """
    folds = [
        dict(numbers({"val": result.get("val"), result["select_by"]: result["select_value"]}))
        for result in results
    ]
    shared = [name for name in folds[0] if all(name in fold for fold in folds)] if folds else []
    values = {name: [fold[name] for fold in folds] for name in shared}
    ways = (("", fmean), ("_min", min), ("_max", max))
    return {name + end: way(values[name]) for end, way in ways for name in shared}


def numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The finite numbers among the values, at any depth; an interval gives up to three."""
    for name, value in values.items():
        if isinstance(value, Mapping) and "value" in value:
            bounds = {name + ending: value.get(key) for key, ending in ENDINGS.items()}
            yield from numbers(bounds, prefix)
        elif isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}/")
        elif type(value) in (int, float) and math.isfinite(value):
            yield prefix + name, float(value)
