"""What a rule is: one row of the table in docs/configure.md."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.configure.fingerprint import Fingerprint

Chosen = Mapping[str, Any]
"""Setting -> value, of the rules before."""


class Choice(NamedTuple):
    """What a rule says of a setting, and why, with the numbers of this set."""

    value: Any
    reason: str


Choose = Callable[[Fingerprint, Chosen], Choice | None]
"""None: the rule says nothing of this set."""


@dataclass(frozen=True)
class Rule:
    """Of the rules of one setting, the first that says something counts."""

    setting: str
    """`images.size`; or a group, `images`, whose value is a word: a file in conf/images/."""
    value: str
    """What it chooses, in words."""
    when: str
    choose: Choose

    @property
    def name(self) -> str:
        """Of the function that makes the choice."""
        return self.choose.__name__


def rule(setting: str, value: str, when: str = "always") -> Callable[[Choose], Rule]:
    """Make a `Rule` of a function."""
    return lambda choose: Rule(setting, value, when, choose)
