"""Reporting guidelines: their items in our own words, and what a run fills in of each.

The items are in the CSV files beside this module, one line each. `filled_by` names functions of
`cells`; `todo` is what the author must write, blank where the run says all.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Literal

from pipeline.report.paper import cells
from pipeline.report.paper.cells import Cell
from pipeline.report.paper.facts import Facts
from pipeline.report.paper.markdown import text_table

Fill = Callable[[Facts], Cell | None]
State = Literal["filled", "in part", "open"]
TODO = "TODO(author)"


@dataclass(frozen=True)
class Item:
    """One line of a guideline."""

    number: str
    section: str
    asks_for: str
    """Paraphrased."""
    fills: tuple[Fill, ...] = ()
    """Statements on a run that answer it together."""
    todo: str = ""
    """What the author must write; "" where the run says all."""

    def answer(self, facts: Facts) -> tuple[State, str]:
        """How far the run answers it, and the cell."""
        found = [cell for fill in self.fills if (cell := fill(facts))]
        where = ", ".join(f"*{name}*" for name in dict.fromkeys(c.where for c in found) if name)
        texts = [f"{where}:" if where else "", *(_sentence(cell.text) for cell in found)]
        said = " ".join(text for text in texts if text)
        is_whole = len(found) == len(self.fills) > 0
        todo = self.todo or ("" if is_whole else self.asks_for)
        if not found:
            return "open", f"{TODO}: {todo}."
        if todo:
            said += f" {TODO}: {todo}."
        return ("in part" if TODO in said else "filled"), said


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith(('.', '**')) else '.'}"


@dataclass(frozen=True)
class Guideline:
    """A list of items, and where it was published."""

    name: str
    source: str
    file: str

    @cached_property
    def items(self) -> Sequence[Item]:
        """Its lines; AttributeError for one that names a function that `cells` does not have."""
        text = (files(__package__) / self.file).read_text(encoding="utf-8")
        return [
            Item(
                row["item"],
                row["section"],
                row["asks_for"],
                tuple(getattr(cells, name) for name in row["filled_by"].split()),
                row["todo"],
            )
            for row in csv.DictReader(text.splitlines())
        ]

    def coverage(self, facts: Facts) -> str:
        """How many items the run fills in, counted."""
        states = [item.answer(facts)[0] for item in self.items]
        return (
            f"{self.name}: {states.count('filled')} of {len(states)} items filled in from this "
            f"run, {states.count('in part')} in part, {states.count('open')} left to the author."
        )

    def blocks(self, facts: Facts) -> Iterator[str]:
        """Its heading, coverage and table."""
        yield f"## {self.name}"
        yield f"{self.coverage(facts)} {self.source}"
        rows = []
        for item in self.items:
            state, cell = item.answer(facts)
            rows.append([item.number, item.section, item.asks_for, state, cell])
        yield text_table(["item", "section", "asks for (paraphrased)", "state", "this run"], rows)


GUIDELINES = (
    Guideline(
        "CLAIM 2024",
        "Tejani and others, Radiology: Artificial Intelligence 2024, 6(4):e240300.",
        "claim_2024.csv",
    ),
    Guideline(
        "TRIPOD+AI 2024",
        "Collins and others, BMJ 2024, 385:e078378; its 27 items have 52 lines.",
        "tripod_ai_2024.csv",
    ),
    Guideline(
        "STARD-AI 2025",
        "Sounderajah and others, Nature Medicine 2025, 31:3283-3289; its 40 items have 48 lines.",
        "stard_ai_2025.csv",
    ),
)
