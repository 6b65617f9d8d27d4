"""What a metric would be without a model: by chance, or by calling everybody the same."""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from pipeline.arrays import AnyInts
from pipeline.evaluation.cases import Cases, LabelCases
from pipeline.evaluation.summary import MetricEntry

Verdict = Literal["better", "not distinguishable", "worse", "unknown"]


def _half(_: list[Cases], __: AnyInts) -> float:
    return 0.5


def _nothing(_: list[Cases], __: AnyInts) -> float:
    return 0.0


def _prevalence(targets: list[Cases], folds: AnyInts) -> float:
    """Mean over folds and targets, as an average precision is: what a random order comes to."""
    shares = [(of.labels[folds == fold] > 0).mean() for of in targets for fold in np.unique(folds)]
    return float(np.mean(shares))


FLOORS: Mapping[str, tuple[str, Callable[[list[Cases], AnyInts], float]]] = {
    "auroc": ("a random order", _half),
    "average_precision": ("a random order: the prevalence", _prevalence),
    "balanced_accuracy": ("everybody called the same", _half),
    "accuracy": ("everybody called the most frequent class", _half),
    "mcc": ("everybody called the same", _nothing),
    "brier_skill": ("everybody given the prevalence", _nothing),
}
"""Metric -> what has this value without a model, and the value."""


def floor_of(name: str, cases: Cases | LabelCases, folds: AnyInts) -> tuple[str, float] | None:
    """In words, and the value for cases (N,) in `folds` (N,); None of a metric without one."""
    if name not in FLOORS:
        return None
    words, value = FLOORS[name]
    if isinstance(cases, Cases) and cases.num_classes > 2:
        if name == "balanced_accuracy":
            return words, 1 / cases.num_classes
        if name == "accuracy":
            return words, float(np.bincount(cases.labels).max() / len(cases.labels))
    codes = range(1, 2) if _is_binary(cases) else range(cases.num_classes)
    return words, value([cases.against_rest(code) for code in codes], folds)


def against(entry: MetricEntry, floor: float) -> Verdict:
    """Better or worse than the floor where the whole interval is."""
    low, high = entry.get("ci_low"), entry.get("ci_high")
    if low is None or high is None:
        return "unknown"
    if low > floor:
        return "better"
    return "worse" if high < floor else "not distinguishable"


def _is_binary(cases: Cases | LabelCases) -> bool:
    return isinstance(cases, Cases) and cases.num_classes == 2
