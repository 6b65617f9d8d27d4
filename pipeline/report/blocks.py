"""What a section is made of. The template says how each block looks, and escapes every text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pipeline.levels import Level
from pipeline.report.charts import Chart

Tone = Literal["plain", "muted", "good", "doubt", "bad"]


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    kind: ClassVar = "words"
    text: str
    tone: Tone = "plain"
    """doubt and bad stand in a box of their own."""


@dataclass(frozen=True)
class Heading:
    kind: ClassVar = "heading"
    text: str


@dataclass(frozen=True)
class Cell:
    """Of a table."""

    text: str
    tone: Tone = "plain"
    shade: float | None = None
    """0 to 1: how dark its ground is, in a matrix."""


@dataclass(frozen=True)
class Column:
    name: str
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """On a narrow page each row becomes lines; its first cell is their heading."""

    kind: ClassVar = "table"
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    stays: bool = False
    """Rows stay rows on a narrow page: for a matrix, and for two or three short columns."""


@dataclass(frozen=True)
class Charts:
    """Side by side where there is room."""

    kind: ClassVar = "charts"
    charts: Sequence[Chart]


@dataclass(frozen=True)
class Picture:
    """A PNG."""

    png: bytes
    title: str
    lines: Sequence[str] = ()
    """Below it."""


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side."""

    kind: ClassVar = "gallery"
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Step:
    """A box of a flow diagram."""

    title: str
    lines: Sequence[str] = ()
    aside: Sequence[str] = ()
    """What leaves the flow after this box."""


@dataclass(frozen=True)
class Flow:
    """Boxes from top to bottom with arrows between them."""

    kind: ClassVar = "flow"
    steps: Sequence[Step]


@dataclass(frozen=True)
class Headline:
    """The one number of the page."""

    kind: ClassVar = "headline"
    name: str
    value: str
    interval: str
    of: str
    """How many patients."""


@dataclass(frozen=True)
class Folded:
    """What is there for who wants it: open on paper, closed on a screen."""

    kind: ClassVar = "folded"
    title: str
    blocks: "Sequence[Block]"


Block = Words | Heading | Table | Charts | Gallery | Flow | Headline | Folded


@dataclass(frozen=True)
class Section:
    """A chapter of the page."""

    key: str
    """Its anchor in the page: letters only."""
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


def charts_of_levels(charts: Mapping[Level, Sequence[Chart]]) -> list[Block]:
    """Side by side where a level has one; else each level's below a heading of its own."""
    if all(len(of_level) == 1 for of_level in charts.values()):
        return [Charts([of_level[0] for of_level in charts.values()])]
    return [
        block
        for level, of_level in charts.items()
        for block in (Heading(f"{level.capitalize()} level"), Charts(of_level))
    ]


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Cell]],
    note: str = "",
    num_words: int = 1,
    stays: bool = False,
) -> Table:
    """A table of texts; the first `num_words` columns hold words, the others numbers."""
    named = [Column(name, at >= num_words) for at, name in enumerate(columns)]
    cells = [[of if isinstance(of, Cell) else Cell(of) for of in row] for row in rows]
    assert all(len(row) == len(columns) for row in cells)
    return Table(named, cells, note, stays)
