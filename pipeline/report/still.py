"""A chart as an SVG image: for paper, and for a browser that runs no scripts."""

import html
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from pipeline.report.charts import GREY, INK, Band, Bars, Chart, Line
from pipeline.words import one_line

WIDTH, HEIGHT = 480, 400
LEFT, RIGHT, TOP, BOTTOM = 62, 468, 34, 346
"""Of the area that is drawn in."""
NUM_TICKS, ROW, LETTERS = 6, 18, 28
MOST_IN_LEGEND = 14
DASHES = {"line": "", "dashed": ' stroke-dasharray="7 5"', "dotted": ' stroke-dasharray="2 3"'}
FONT = 'font-family="system-ui, sans-serif" font-size="13"'
Range = tuple[float, float]


def as_svg(chart: Chart) -> bytes:
    """The image; the same chart gives the same bytes."""
    items: list[Band | Line | Bars] = [*chart.bands, *chart.lines, *chart.bars]
    named = [item for item in items if not isinstance(item, Line) or item.in_legend]
    named = named if 1 < len(named) <= MOST_IN_LEGEND else []
    height = HEIGHT + ROW * -(-len(named) // 2)
    axes = _Axes.of(chart)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
        f'<clipPath id="a"><rect x="{LEFT}" y="{TOP - 5}" width="{RIGHT - LEFT + 5}" '
        f'height="{BOTTOM - TOP + 10}"/></clipPath>',
        *_frame(chart, axes),
        '<g clip-path="url(#a)">',
        *(part for band in chart.bands for part in _band(band, axes)),
        *(part for line in chart.lines for part in _line(line, axes)),
        *(part for bars in chart.bars for part in _bars(bars, axes)),
        "</g>",
        *_legend(named),
        "</svg>",
    ]
    return "".join(parts).encode()


class _Axes:
    """From values to places in the image."""

    def __init__(self, x: Range, y: Range, whole_x: bool) -> None:
        self.x, self.y, self.whole_x = x, y, whole_x

    @classmethod
    def of(cls, chart: Chart) -> "_Axes":
        xs = [x for line in chart.lines for x in line.x if x is not None]
        ys = [y for line in chart.lines for y in line.y if y is not None]
        spreads: list[Band | Bars] = [*chart.bands, *chart.bars]
        for spread in spreads:
            xs, ys = [*xs, *spread.x], [*ys, *spread.low, *spread.high]
        return cls(chart.x_range or _around(xs), chart.y_range or _around(ys), chart.whole_x)

    def at(self, x: float, y: float) -> str:
        return f"{self.across(x):.1f} {self.up(y):.1f}"

    def across(self, x: float) -> float:
        return LEFT + (RIGHT - LEFT) * (x - self.x[0]) / (self.x[1] - self.x[0])

    def up(self, y: float) -> float:
        share = (y - self.y[0]) / (self.y[1] - self.y[0])
        return BOTTOM - (BOTTOM - TOP) * min(max(share, -9.0), 9.0)


def _around(values: Sequence[float]) -> Range:
    """From the smallest to the largest, with some room."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.04 * (high - low) or 0.5
    return low - room, high + room


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Some 6 round numbers from low to high: 1, 2 or 5 times a power of ten apart."""
    rough = (high - low) / NUM_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * of for of in (1, 2, 5, 10) if power * of >= rough * 0.999)
    step = max(1.0, step) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _frame(chart: Chart, axes: _Axes) -> Iterator[str]:
    """Title, labels, ticks and a grid."""
    for value in ticks(*axes.x, whole=axes.whole_x):
        x = axes.across(value)
        yield _rule(x, TOP, x, BOTTOM)
        yield _text(x, BOTTOM + 17, f"{value:,g}", "middle")
    for value in ticks(*axes.y):
        y = axes.up(value)
        yield _rule(LEFT, y, RIGHT, y)
        yield _text(LEFT - 7, y + 4, f"{value:,g}", "end")
    for x, y in ((LEFT, TOP), (RIGHT, BOTTOM)):
        yield f'<path d="M{LEFT} {BOTTOM}L{x} {y}" stroke="{GREY}"/>'
    yield _text((LEFT + RIGHT) / 2, 20, chart.title, "middle", size=14)
    yield _text((LEFT + RIGHT) / 2, BOTTOM + 37, chart.x_label, "middle")
    turned = f' transform="rotate(-90 15 {(TOP + BOTTOM) / 2})"'
    yield _text(15, (TOP + BOTTOM) / 2, chart.y_label, "middle", turned)


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#e6eaef"/>'


def _text(
    x: float, y: float, text: str, anchor: str = "start", turned: str = "", size: int = 13
) -> str:
    shown = one_line(text)
    shown = html.escape(shown if len(shown) <= 60 else f"{shown[:57]}...")
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
    return f'<text {where} fill="{INK}"{turned}>{shown}</text>'


def _line(line: Line, axes: _Axes) -> Iterator[str]:
    known = [
        (x, y) if x is not None and y is not None else None
        for x, y in zip(line.x, line.y, strict=True)
    ]
    if line.style in ("points", "rings"):
        yield from (_point(of, line, axes) for of in known if of is not None)
        return
    path = ""
    for before, of in pairwise([None, *known]):
        if of is None:
            continue
        if before is None:
            path += f"M{axes.at(*of)}"
        elif line.steps:
            path += f"L{axes.at(before[0], of[1])}L{axes.at(*of)}"
        else:
            path += f"L{axes.at(*of)}"
    style = f'stroke="{line.color}" stroke-width="{line.width}"{DASHES[line.style]}'
    yield f'<path d="{path}" fill="none" {style} stroke-linejoin="round"/>'


def _point(point: tuple[float, float], line: Line, axes: _Axes) -> str:
    x, y = axes.at(*point).split(" ")
    if line.style == "rings":
        return f'<circle cx="{x}" cy="{y}" r="6" fill="none" stroke="{line.color}"/>'
    return f'<circle cx="{x}" cy="{y}" r="3.5" fill="{line.color}"/>'


def _band(band: Band, axes: _Axes) -> Iterator[str]:
    there = [axes.at(x, y) for x, y in zip(band.x, band.low, strict=True)]
    back = [axes.at(x, y) for x, y in zip(band.x, band.high, strict=True)]
    yield f'<path d="M{"L".join([*there, *reversed(back)])}Z" fill="{band.color}" opacity="0.18"/>'


def _bars(bars: Bars, axes: _Axes) -> Iterator[str]:
    points = Line(bars.name, bars.x, bars.y, bars.color, "points")
    for x, low, high in zip(bars.x, bars.low, bars.high, strict=True):
        across, bottom, top = axes.across(x), axes.up(low), axes.up(high)
        ends = "".join(f"M{across - 4:.1f} {y:.1f}h8" for y in (bottom, top))
        path = f"M{across:.1f} {bottom:.1f}V{top:.1f}{ends}"
        yield f'<path d="{path}" fill="none" stroke="{bars.color}" stroke-width="1.2"/>'
    yield from _line(points, axes)


def _legend(items: Sequence[Band | Line | Bars]) -> Iterator[str]:
    """In two columns below the chart."""
    for number, item in enumerate(items):
        x, y = (LEFT, LEFT + 210)[number % 2], HEIGHT + 8 + ROW * (number // 2)
        style = item.style if isinstance(item, Line) else "points"
        if isinstance(item, Band):
            where = f'x="{x}" y="{y - 10}" width="24" height="10"'
            yield f'<rect {where} fill="{item.color}" opacity="0.25"/>'
        elif style in ("points", "rings"):
            fill = item.color if style == "points" else "none"
            where = f'cx="{x + 12}" cy="{y - 5}" r="4"'
            yield f'<circle {where} fill="{fill}" stroke="{item.color}"/>'
        else:
            width = max(1.5, item.width) if isinstance(item, Line) else 2
            look = f'stroke="{item.color}" stroke-width="{width}"{DASHES[style]}'
            yield f'<path d="M{x} {y - 5}h24" {look}/>'
        name = item.name if len(item.name) <= LETTERS else f"{item.name[: LETTERS - 3]}..."
        yield _text(x + 30, y, name)
