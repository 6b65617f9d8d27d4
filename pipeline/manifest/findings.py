"""What a check found: one sentence with where, what, and what is allowed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import UserError
from pipeline.words import counted, lines_and_more

Severity = Literal["error", "warning", "note"]
PROBLEMS_SHOWN = 50


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


class ManifestError(UserError):
    """Every problem of a manifest at once."""

    def __init__(self, path: Path | str, problems: list[str], hint: str = "") -> None:
        lines = [f"manifest {path}: {counted(len(problems), 'problem')}"]
        lines += lines_and_more(problems, PROBLEMS_SHOWN)
        lines += [f"  hint: {hint}"] if hint else []
        super().__init__("\n".join(lines))
        self.problems = problems
        self.findings: tuple[Finding, ...] = ()

    @classmethod
    def of(cls, path: Path | str, findings: Sequence[Finding], hint: str = "") -> "ManifestError":
        """The error that lists these findings; it keeps them in `findings`."""
        error = cls(path, [str(finding) for finding in findings], hint)
        error.findings = tuple(findings)
        return error
