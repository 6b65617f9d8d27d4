"""A chart as plotly draws it on a screen: values under the pointer, lines that can be hidden."""

import html
from collections.abc import Sequence
from typing import Any

from pipeline.report.charts import Band, Bars, Chart, Line
from pipeline.report.still import MOST_IN_LEGEND
from pipeline.words import one_line

DIGITS = 5
MOST_TICKS = 8
DASHES = {"line": "solid", "dashed": "dash", "dotted": "dot"}
MARKS = {"points": "\N{BLACK CIRCLE}", "rings": "\N{WHITE CIRCLE}"}
AXIS: dict[str, Any] = {
    "zeroline": False,
    "gridcolor": "#e6eaef",
    "linecolor": "#8a94a3",
    "ticks": "outside",
    "fixedrange": True,
}
Trace = dict[str, Any]


def as_plotly(chart: Chart) -> dict[str, Any]:
    """Traces, layout and legend as JSON; of the legend, the page makes buttons.

    In traces and layout names are escaped, as plotly takes them for HTML.
    """
    x_axis = {**AXIS, "title": {"text": _escaped(chart.x_label)}}
    y_axis = {**AXIS, "title": {"text": _escaped(chart.y_label)}, "automargin": True}
    if chart.x_range:
        x_axis["range"] = list(chart.x_range)
    if chart.y_range:
        y_axis["range"] = list(chart.y_range)
    if chart.whole_x:
        longest = max((len(line.x) for line in chart.lines), default=1)
        x_axis |= {"tick0": 0, "dtick": -(-longest // MOST_TICKS)}
    layout = {
        "title": {"text": _escaped(chart.title), "font": {"size": 15}, "x": 0.5},
        "xaxis": x_axis,
        "yaxis": y_axis,
        "showlegend": False,
        "margin": {"l": 55, "r": 15, "t": 45, "b": 50},
        "hovermode": "closest",
        "plot_bgcolor": "#fff",
        "paper_bgcolor": "#fff",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#1c2430"},
        "height": 380,
    }
    data: list[Trace] = []
    legend: list[dict[str, Any]] = []
    items: list[Band | Line | Bars] = [*chart.bands, *chart.lines, *chart.bars]
    for item in items:
        made = _band(item) if isinstance(item, Band) else [_points_of(item)]
        if not isinstance(item, Line) or item.in_legend:
            numbers = [len(data) + at for at in range(len(made))]
            legend.append({**_look(item), "traces": numbers})
        data += made
    shown = legend if 1 < len(legend) <= MOST_IN_LEGEND else []
    return {"data": data, "layout": layout, "legend": shown}


def _look(item: Band | Line | Bars) -> dict[str, Any]:
    """How a legend shows it."""
    style = item.style if isinstance(item, Line) else "points"
    thick = f"{max(2.0, item.width)}px" if isinstance(item, Line) else "8px"
    mark = MARKS.get(style, "") if not isinstance(item, Band) else ""
    dash = style if style in ("dashed", "dotted") else "solid"
    color = f"{item.color}44" if isinstance(item, Band) else item.color
    return {"name": one_line(item.name), "color": color, "dash": dash, "thick": thick, "mark": mark}


def _points_of(item: Line | Bars) -> Trace:
    return _line(item) if isinstance(item, Line) else _bars(item)


def _line(line: Line) -> Trace:
    is_points = line.style in MARKS
    trace: Trace = {
        "type": "scatter",
        "mode": "markers" if is_points else "lines",
        "name": _escaped(line.name),
        "x": _rounded(line.x),
        "y": _rounded(line.y),
        "hovertemplate": _template(bool(line.notes)),
    }
    if line.notes:
        trace["text"] = [_escaped(note) for note in line.notes]
    if is_points:
        trace["marker"] = {"color": line.color, "size": 7}
        if line.style == "rings":
            trace["marker"] |= {"symbol": "circle-open", "size": 11, "line": {"width": 1.5}}
    else:
        shape = "vh" if line.steps else "linear"
        style = {"color": line.color, "width": line.width, "dash": DASHES[line.style]}
        trace["line"] = {**style, "shape": shape}
    return trace


def _bars(bars: Bars) -> Trace:
    above = [high - y for y, high in zip(bars.y, bars.high, strict=True)]
    below = [y - low for y, low in zip(bars.y, bars.low, strict=True)]
    return {
        **_line(Line(bars.name, bars.x, bars.y, bars.color, style="points", notes=bars.notes)),
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": _rounded(above),
            "arrayminus": _rounded(below),
            "thickness": 1.2,
        },
    }


def _band(band: Band) -> list[Trace]:
    """Two lines, and what is between them."""
    common = {
        "type": "scatter",
        "mode": "lines",
        "x": _rounded(band.x),
        "line": {"width": 0, "color": band.color},
        "hoverinfo": "skip",
    }
    red, green, blue = (int(band.color[at : at + 2], 16) for at in (1, 3, 5))
    filled = {"fill": "tonexty", "fillcolor": f"rgba({red}, {green}, {blue}, 0.18)"}
    return [{**common, "y": _rounded(band.low)}, {**common, "y": _rounded(band.high), **filled}]


def _template(has_notes: bool) -> str:
    values = "%{xaxis.title.text}: %{x:.3~f}<br>%{yaxis.title.text}: %{y:.3f}"
    return f"%{{fullData.name}}<br>{values}{'<br>%{text}' * has_notes}<extra></extra>"


def _escaped(text: str) -> str:
    return html.escape(one_line(text))


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else round(float(value), DIGITS) for value in values]
