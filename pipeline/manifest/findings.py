"""What a check found: one sentence with where, what, and what is allowed; one for each cause."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import UserError
from pipeline.words import and_more, counted, lines_and_more

Severity = Literal["error", "warning", "note"]
PROBLEMS_SHOWN = 50
FEWEST = 4
"""From so many on, findings of one cause are shown as one."""
EXAMPLES = 3
_VARYING = re.compile(r"""'[^']*'|"[^"]*"|\S*[\d/]\S*|\S+\.\S+""")
"""What differs between rows though the cause is the same: quoted text, numbers, paths, names."""
_PLURAL = re.compile(r"(\* \w+)s\b")
_CAUSE = re.compile(r"[:;] ")
"""What stands before a cause, or before an advice."""
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
    count: int = 1
    """How many it stands for, where findings of one cause became one; `line` is the first's."""
    private: bool = False
    """The message names patients as the CSV does, though files are to hold pseudonyms only."""

    def for_files(self) -> dict[str, Any]:
        """As it may be written into a file: a private message stays on the console."""
        return {name: value for name, value in asdict(self).items() if name != "private"} | {
            "message": WITHHELD if self.private else self.message
        }

    def __str__(self) -> str:
        has_line = self.line > 0 and self.count == 1
        return f"line {self.line}: {self.message}" if has_line else self.message


def by_cause(findings: Iterable[Finding]) -> list[Finding]:
    """The findings in the order of their lines; those with the same cause become one.

    It counts them, lists the first, and says once what their messages end with.
    """
    alike: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        cause = _PLURAL.sub(r"\1", _VARYING.sub("*", finding.message))
        alike[finding.rule, finding.severity, cause].append(finding)
    merged: list[Finding] = []
    for group in alike.values():
        group.sort(key=lambda finding: finding.line)
        merged += [_one(group)] if len(group) >= FEWEST else group
    return sorted(merged, key=lambda finding: finding.line)


def _one(group: Sequence[Finding]) -> Finding:
    """`3,000 alike: no such file`, and below it the first lines."""
    first, messages = group[0], [finding.message for finding in group]
    ending = _common_ending(messages)
    if ending == first.message:
        numbers = and_more([str(finding.line) for finding in group[:EXAMPLES]], len(group))
        lines = [f"{len(group):,} alike: {ending}", f"lines {numbers}"]
    else:
        shown = [replace(f, message=f.message.removesuffix(ending)) for f in group[:EXAMPLES]]
        lines = [f"{len(group):,} alike{ending or ', such as'}", *map(str, shown)]
        lines.append(f"and {len(group) - EXAMPLES:,} more")
    return replace(first, message="\n  ".join(lines), count=len(group))


def _common_ending(messages: Sequence[str]) -> str:
    """What all messages end with, from a colon or semicolon on; all of it where they are equal."""
    columns = zip(*(reversed(message) for message in messages), strict=False)
    same = takewhile(lambda letters: len(set(letters)) == 1, columns)
    ending = "".join(letters[0] for letters in same)[::-1]
    if ending == messages[0]:
        return ending
    start = _CAUSE.search(ending)
    return ending[start.start() :] if start else ""


def with_lines(values: Iterable[str], lines: Iterable[int], between: str = ", ") -> str:
    """Values, each with the line where it stands: 'a' (line 2), 'b' (line 7)."""
    pairs = zip(values, lines, strict=True)
    return between.join(f"{value!r} (line {line})" for value, line in pairs)


class ManifestError(UserError):
    """Every problem of a manifest at once: of `findings`, those that are errors."""

    def __init__(self, path: Path | str, findings: Sequence[Finding], hint: str = "") -> None:
        errors = [finding for finding in findings if finding.severity == "error"]
        self.problems = [str(finding) for finding in errors]
        self.findings = tuple(findings)
        lines = [f"manifest {path}: {counted(len(errors), 'problem')}"]
        lines += lines_and_more([str(finding) for finding in by_cause(errors)], PROBLEMS_SHOWN)
        super().__init__("\n".join([*lines, f"  hint: {hint}"] if hint else lines))
