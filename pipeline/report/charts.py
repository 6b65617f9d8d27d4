"""A chart as data: drawn once for paper (still.py) and once for a screen (moving.py)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Values = Sequence[float | None]
BLUE, INK, GREY = "#1f5f8b", "#1c2430", "#8a94a3"
PALETTE = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
    *("#8a5a00", "#6a3d9a", "#4d4d4d", "#a6a000"),
)
"""Told apart also by who does not see red and green alike (Okabe and Ito); on white."""


def color_of(number: int) -> str:
    """Of a fold or class; after ten they repeat."""
    return PALETTE[number % len(PALETTE)]


@dataclass(frozen=True)
class Line:
    """x, y (N,); None is a gap."""

    name: str
    x: Values
    y: Values
    color: str
    style: Literal["line", "dashed", "dotted", "points", "rings"] = "line"
    width: float = 1.5
    steps: bool = False
    """Each y holds from the x before to its own."""
    in_legend: bool = True
    notes: Sequence[str] = ()
    """(N,) shown beside the values on a screen."""


@dataclass(frozen=True)
class Band:
    """From low to high over x, (N,)."""

    name: str
    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    color: str


@dataclass(frozen=True)
class Bars:
    """Points with an interval each, (N,)."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    color: str
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    bands: Sequence[Band] = ()
    bars: Sequence[Bars] = ()
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    whole_x: bool = False
    """x counts something."""
    in_words: str = ""
    """For who cannot see it."""

    def __post_init__(self) -> None:
        for line in self.lines:
            assert len(line.x) == len(line.y), f"{self.title}: {line.name}"
