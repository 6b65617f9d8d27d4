"""How the cases of a fold are decided, and on what that was chosen: never on the test part."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from pipeline.arrays import AnyFloats, Bools
from pipeline.evaluation.operating_points import OperatingPoint
from pipeline.evaluation.thresholds import choose_threshold
from pipeline.label_names import LabelNames

ALLOWED = ("val", "none")
"""Parts that a threshold may be chosen on; none: it is fixed beforehand."""
UNKNOWN = "unknown"
"""Rule of a threshold that an earlier version chose; it did not write the rule down."""
Values = float | Mapping[str, float] | None
"""As in result.json: of the positive class | of each label | of no class, of several."""


@dataclass(frozen=True)
class Threshold:
    """From which probability on a case is called positive."""

    value: float
    rule: str
    """As `evaluation.threshold`."""
    part: str
    """That it was chosen on: val, or none."""
    reached: OperatingPoint | None
    """On the validation part; None where an earlier version did not write it down."""

    def __post_init__(self) -> None:
        if self.part not in ALLOWED:
            raise RuntimeError(
                f"A threshold is chosen on the validation part or fixed beforehand, not chosen on "
                f"the part {self.part!r}."
            )

    @classmethod
    def chosen(cls, positive: Bools, scores: AnyFloats, rule: str, part: str) -> Threshold:
        """By a rule, on the cases (N,) of a part. One class alone leaves nothing to choose from."""
        one_class = positive.all() or not positive.any()
        rule = "fixed" if one_class else rule
        value = choose_threshold(positive, scores, rule)
        reached = OperatingPoint.of(positive, scores >= value)
        return cls(value, rule, "none" if rule == "fixed" else part, reached)


@dataclass(frozen=True)
class Decision:
    """How the cases of one fold and level are decided. Nothing else makes decisions."""

    fold: int
    classes: Sequence[str]
    thresholds: Mapping[str, Threshold]
    """Of the positive class, of two; of each label, where they do not exclude each other. Of
    several classes there is none: the most probable is called."""

    def __post_init__(self) -> None:
        if list(self.thresholds) != (wanted := decided(self.classes)):
            raise RuntimeError(
                f"Expected thresholds for {wanted} of {list(self.classes)}, got "
                f"{list(self.thresholds)}."
            )

    @classmethod
    def read(cls, result: Mapping[str, Any], level: str, classes: Sequence[str]) -> Decision:
        """Of a level, from a fold's result.json, also of one that says no more than thresholds."""
        values: Values = result["thresholds"][level]
        by_name = {classes[1]: values} if isinstance(values, float | int) else values or {}
        known = (result.get("operating_points") or {}).get(level) or {}
        thresholds = {
            name: Threshold(value, UNKNOWN, "val", None)
            if name not in known
            else Threshold(
                value,
                known[name]["rule"],
                known[name]["fitted_on"],
                OperatingPoint.read(known[name]["val"]),
            )
            for name, value in by_name.items()
        }
        return cls(result["fold"], classes, thresholds)

    @classmethod
    def median(cls, decisions: Sequence[Decision], fold: int) -> Decision:
        """For what the models of all folds judge together: the median of their thresholds."""
        first = decisions[0]
        each = {name: [of.thresholds[name].value for of in decisions] for name in first.thresholds}
        thresholds = {
            name: replace(threshold, value=float(median(each[name])), reached=None)
            for name, threshold in first.thresholds.items()
        }
        return cls(fold, first.classes, thresholds)

    @property
    def values(self) -> Values:
        """As result.json has them."""
        found = {name: threshold.value for name, threshold in self.thresholds.items()}
        if isinstance(self.classes, LabelNames):
            return found
        return next(iter(found.values()), None)


def decided(classes: Sequence[str]) -> list[str]:
    """The classes that have a threshold."""
    if isinstance(classes, LabelNames):
        return list(classes)
    return [classes[1]] if len(classes) == 2 else []


def asked_for(rule: str) -> tuple[str, float] | None:
    """What a rule asks for, ("sensitivity", 0.9); None where it is no share of one class."""
    found = re.fullmatch(r"(sensitivity|specificity)([0-9.]+)", rule)
    return None if found is None else (found[1], float(found[2]))
