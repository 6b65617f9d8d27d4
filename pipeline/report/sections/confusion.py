"""Confusion matrices: counts, and shares of each true class."""

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.engine.finished import Finished
from pipeline.label_names import LabelNames
from pipeline.levels import PLURALS, Level
from pipeline.report.blocks import Block, Cell, Heading, Section, Table, Words, table
from pipeline.report.numbers import NONE

HOW = (
    "Test parts of all folds together, each decided with the threshold of its own fold. A row is "
    "what is true, a column what the model calls it; shares are of the row."
)


def confusion(run: Finished) -> Section | None:
    """Both levels, patients first."""
    blocks: list[Block] = []
    for level in run.levels:
        matrix = run.numbers["confusion"].get(level)
        if matrix is not None:
            heading = Heading(f"{level.capitalize()} level")
            blocks += [heading, *confusion_tables(run.classes, level, matrix)]
    return (
        Section("confusion", "Confusion matrices", [Words(HOW, "muted"), *blocks])
        if blocks
        else None
    )


def confusion_tables(
    classes: Sequence[str], level: Level, matrix: Sequence[Any]
) -> Iterator[Table]:
    """Of a level: counts (C, C), or (L, 2, 2) of labels that do not exclude each other."""
    if isinstance(classes, LabelNames):
        yield _of_labels(classes, level, matrix)
        return
    columns = [f"true {level}", *(f"called {name}" for name in classes)]
    rows: list[Sequence[str | Cell]] = []
    for name, counts in zip(classes, matrix, strict=True):
        total = sum(counts)
        rows.append([f"{name} ({total:,})", *(_cell(count, total) for count in counts)])
    yield table(columns, rows, stays=True)


def _of_labels(classes: LabelNames, level: Level, matrices: Sequence[Any]) -> Table:
    """A row for each label: those with it and without it, and how many of them are called it."""
    rows: list[Sequence[str | Cell]] = []
    for name, matrix in zip(classes, matrices, strict=True):
        (right, alarms), (missed, found) = matrix
        cells = _cell(found, found + missed), _cell(missed, found + missed)
        rows.append([name, *cells, _cell(alarms, alarms + right), _cell(right, alarms + right)])
    columns = [PLURALS[level], "with it, called it", "with it, not called it"]
    return table([*columns, "without it, called it", "without it, not called it"], rows)


def _cell(count: int, total: int) -> Cell:
    share = count / total if total else 0.0
    return Cell(f"{count:,} ({100 * share:.1f} %)" if total else f"0 ({NONE})", shade=share)
