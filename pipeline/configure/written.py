"""The experiment as a YAML file, with the reason beside each line."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.configure.rules import Decision
from pipeline.words import one_line

Line = tuple[Any, str]
"""A value and its reason."""
HEADER = """\
# @package _global_
# Written by `patientfold configure`, and yours to change: it is not written again. The rules are a
# table in docs/configure.md; `patientfold cv --help` explains every setting."""
ORDER = (
    *("manifest", "split", "images", "augment", "model", "features", "loss", "sampler"),
    *("optimizer", "scheduler", "training", "evaluation"),
)
"""Of the sections: as an experiment is thought of, not as the rules are asked."""
NO_GROUP = "default"
"""The manifest that has no file of its own."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is written."""

    name: str
    group: str
    """The file in conf/manifest/ that says the rest of the manifest; or `NO_GROUP`."""
    manifest: Mapping[str, Line]
    """`columns.patient` -> its value and reason; "" for one that was given."""
    decisions: Sequence[Decision]
    seen: Sequence[str]
    warnings: Sequence[str]

    def text(self) -> str:
        """The whole file."""
        decisions = sorted(self.decisions, key=lambda d: ORDER.index(d.setting.partition(".")[0]))
        words = [decision for decision in decisions if "." not in decision.setting]
        values = [decision for decision in decisions if "." in decision.setting]
        groups = {"manifest": (self.group, "what the columns mean")}
        groups |= {decision.setting: (decision.value, decision.reason) for decision in words}
        if self.group == NO_GROUP:
            del groups["manifest"]
        settings = {f"manifest.{name}": line for name, line in self.manifest.items()}
        settings |= {decision.setting: (decision.value, decision.reason) for decision in values}
        lines = [
            HEADER,
            "#",
            "# What was seen:",
            *(f"#   {one_line(line)}" for line in self.seen),
            *["# Look at this before you believe the results:"] * bool(self.warnings),
            *(f"#   - {one_line(warning)}" for warning in self.warnings),
            "defaults:",
            *(_line(f"  - override /{name}", *line) for name, line in groups.items()),
            "",
            _line("name", self.name, "of the folder in runs/ and the MLflow experiment"),
            *_nested(settings),
        ]
        return "\n".join(lines) + "\n"


def _nested(settings: Mapping[str, Line], depth: int = 0) -> Iterator[str]:
    """`a.b` -> `a:` and, below it, `b: value  # reason`."""
    first: dict[str, dict[str, Line]] = {}
    for name, line in settings.items():
        head, _, rest = name.partition(".")
        first.setdefault(head, {})[rest] = line
    for head, inner in first.items():
        indent = "  " * depth
        if "" in inner:
            yield _line(f"{indent}{head}", *inner[""])
        else:
            yield f"{indent}{head}:"
            yield from _nested(inner, depth + 1)


def _line(name: str, value: Any, reason: str) -> str:
    text = value if _is_plain(value) else json.dumps(value, ensure_ascii=False)
    return f"{name}: {text}  # {one_line(reason)}" if reason else f"{name}: {text}"


def _is_plain(value: Any) -> bool:
    """Is it a word that YAML leaves a text, unlike no and null?"""
    return isinstance(value, str) and value.isidentifier() and yaml.safe_load(value) == value
