"""What a check found: one sentence with where, what, and what is allowed."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import UserError
from pipeline.words import counted, lines_and_more

Severity = Literal["error", "warning", "note"]
PROBLEMS_SHOWN = 50
WITHHELD = "the message names patients or files: it is shown on the console only"


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
    private: bool = False
    """The message names patients as the CSV does, though files are to hold pseudonyms only."""

    def for_files(self) -> dict[str, Any]:
        """As it may be written into a file: a private message stays on the console."""
        return {name: value for name, value in asdict(self).items() if name != "private"} | {
            "message": WITHHELD if self.private else self.message
        }

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message


def with_lines(values: Iterable[str], lines: Iterable[int], between: str = ", ") -> str:
    """Values, each with the line where it stands: 'a' (line 2), 'b' (line 7)."""
    pairs = zip(values, lines, strict=True)
    return between.join(f"{value!r} (line {line})" for value, line in pairs)


class ManifestError(UserError):
    """Every problem of a manifest at once: of `findings`, those that are errors."""

    def __init__(self, path: Path | str, findings: Sequence[Finding], hint: str = "") -> None:
        self.problems = [str(finding) for finding in findings if finding.severity == "error"]
        self.findings = tuple(findings)
        lines = [f"manifest {path}: {counted(len(self.problems), 'problem')}"]
        lines += lines_and_more(self.problems, PROBLEMS_SHOWN)
        super().__init__("\n".join([*lines, f"  hint: {hint}"] if hint else lines))
