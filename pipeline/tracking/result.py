"""A fold's result.json and the run's metrics.json as metrics of MLflow, without gaps."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import FORMER_METRICS
from pipeline.files import read_json
from pipeline.tracking.journal import VERSION

LEVELS = ("patient", "image")
SINGLE = ("best_epoch", "num_epochs", "seconds", "num_parameters")


def read_result(path: Path) -> dict[str, Any]:
    """The content of a done fold's result.json, whatever version wrote it: epochs count from 1."""
    result = read_json(path)
    if "version" in result:
        return result
    changed = {"version": VERSION, "best_epoch": result["best_epoch"] + 1}
    if "select_by" in result:
        name = result["select_by"]
        changed["select_by"] = FORMER_METRICS.get(name, name)
    return result | changed


def result_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """A fold's final metrics: test/<level>/..., best/val/<level>/..., threshold/<level>, ..."""
    return {
        **summary_metrics(result.get("test") or {}),
        **summary_metrics(result.get("val") or {}, "best/val"),
        **dict(numbers(result.get("thresholds") or {}, "threshold/")),
        **dict(numbers({name: result.get(name) for name in SINGLE})),
    }


def summary_metrics(levels: Mapping[str, Any], part: str = "test") -> dict[str, float]:
    """Metrics of both levels under one name for folds and run, plus _ci_low and _ci_high."""
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
