"""The rules, in the order in which they are asked, and what comes of them."""

from dataclasses import dataclass
from typing import Any

from pipeline.configure.fingerprint import Fingerprint
from pipeline.configure.rules import cohort, images, training
from pipeline.configure.rules.rule import Rule

RULES: tuple[Rule, ...] = (*cohort.RULES, *images.RULES, *training.RULES)
"""A later one may ask what earlier ones chose."""


@dataclass(frozen=True)
class Decision:
    """A setting, its value, why, and which rule says so."""

    setting: str
    value: Any
    reason: str
    rule: Rule


def decide(fingerprint: Fingerprint) -> list[Decision]:
    """The settings of an experiment; of each setting, the first rule that says something."""
    chosen: dict[str, Any] = {}
    decisions = []
    for rule in RULES:
        if rule.setting in chosen:
            continue
        choice = rule.choose(fingerprint, chosen)
        if choice is not None:
            chosen[rule.setting] = choice.value
            decisions.append(Decision(rule.setting, choice.value, choice.reason, rule))
    return decisions


def table() -> str:
    """The rules as a table in Markdown, as docs/configure.md has it."""
    rows = [(f"`{rule.setting}`", rule.value, rule.when) for rule in RULES]
    lines = [("setting", "value", "when"), ("---",) * 3, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


__all__ = ["RULES", "Decision", "Rule", "decide", "table"]
