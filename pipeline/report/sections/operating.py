"""Operating points: what the threshold reached on validation, and then on test."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.engine.finished import Finished
from pipeline.report.blocks import Block, Cell, Heading, Section, Words, table
from pipeline.report.numbers import number

CHOSEN = (
    "Rule: evaluation.threshold={}. The threshold of each fold comes from its validation part "
    "alone, and was then applied to its test part. What was reached on validation is optimistic: "
    "the threshold was made for it."
)
FIXED = "evaluation.threshold=fixed: the threshold is 0.5 in each fold; no part chose it."
SHOWN = ("sensitivity", "specificity")


def operating(run: Finished) -> Section | None:
    """A row for each fold, at each level; None where classes have no threshold."""
    blocks: list[Block] = []
    for level in run.levels:
        if rows := [row for fold in sorted(run.results) for row in _rows(run, fold, level)]:
            columns = ["", *["label"] * bool(run.numbers.get("multilabel")), "threshold"]
            columns += [f"{name}, {part}" for name in SHOWN for part in ("validation", "test")]
            num_words = len(columns) - 5
            blocks += [
                Heading(f"{level.capitalize()} level"),
                table(columns, rows, num_words=num_words),
            ]
    if not blocks:
        return None
    rule = run.settings["evaluation"].get("threshold", "")
    text = FIXED if rule == "fixed" else CHOSEN.format(rule)
    return Section(
        "threshold", "Operating point on validation and test", [Words(text, "muted"), *blocks]
    )


def _rows(run: Finished, fold: int, level: str) -> list[Sequence[str | Cell]]:
    result = run.results[fold]
    threshold = (result["thresholds"] or {}).get(level)
    val, test = (_metrics(result, part, level) for part in ("val", "test"))
    if isinstance(threshold, Mapping):
        return [
            [f"fold {fold}", name, number(value), *_values(val, test, f"_{name}")]
            for name, value in threshold.items()
        ]
    return (
        [] if threshold is None else [[f"fold {fold}", number(threshold), *_values(val, test, "")]]
    )


def _metrics(result: Mapping[str, Any], part: str, level: str) -> Mapping[str, float | None]:
    """Of a part and a level of one fold; nothing where an earlier version did not keep them."""
    return (result.get(part) or {}).get(level) or {}


def _values(
    val: Mapping[str, float | None], test: Mapping[str, float | None], end: str
) -> list[str]:
    return [number(of.get(f"{name}{end}")) for name in SHOWN for of in (val, test)]
