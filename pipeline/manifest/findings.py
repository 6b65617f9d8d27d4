"""What a check found: one sentence with where, what, and what is allowed."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found in a manifest, a split or the images."""

    rule: str
    """Short name, snake_case: slice_ids, two_sites, ..."""
    severity: Severity
    """error: stops the command | warning: look at it | note: good to know."""
    message: str
    line: int = 0
    """Line of the CSV; 0 when it concerns no single line."""

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message
