"""A chart as an SVG image: for paper, and for a browser that runs no scripts."""

import io
import warnings
from typing import Any

from pipeline.report.charts import Chart

WIDTH, HEIGHT = 4.9, 4.3  # inches: an image of 353 x 310 CSS pixels at its own size, scaled up
STYLES: dict[str, dict[str, Any]] = {
    "line": {"linestyle": "-"},
    "dashed": {"linestyle": "--"},
    "dotted": {"linestyle": ":"},
    "points": {"linestyle": "", "marker": "o", "markersize": 5},
    "rings": {"linestyle": "", "marker": "o", "markersize": 9, "fillstyle": "none"},
}
RC: Any = {
    "svg.fonttype": "none",  # letters of any script, by the browser's fonts
    "svg.hashsalt": "patientfold",  # the same chart has the same bytes
    "text.parse_math": False,  # a class name may contain $
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
MOST_IN_LEGEND = 14


def as_svg(chart: Chart) -> bytes:
    """The image; the same chart gives the same bytes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    with rc_context(RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.add_subplot()
        _draw(axes, chart)
        handles, labels = axes.get_legend_handles_labels()
        if 1 < len(labels) <= MOST_IN_LEGEND:
            many: dict[str, Any] = {"ncols": 2, "frameon": False, "fontsize": 9}
            figure.legend(handles, labels, loc="outside lower center", **many)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _draw(axes: Any, chart: Chart) -> None:
    for band in chart.bands:
        how: dict[str, Any] = {"color": band.color, "alpha": 0.18, "linewidth": 0}
        axes.fill_between(band.x, band.low, band.high, label=_short(band.name), **how)
    for line in chart.lines:
        style = {**STYLES[line.style], "color": line.color, "linewidth": line.width}
        if line.steps:
            style["drawstyle"] = "steps-pre"
        y = [float("nan") if value is None else value for value in line.y]
        label = _short(line.name) if line.in_legend else "_"
        axes.plot(line.x, y, label=label, **style)
    for bars in chart.bars:
        below = [y - low for y, low in zip(bars.y, bars.low, strict=True)]
        above = [high - y for y, high in zip(bars.y, bars.high, strict=True)]
        how = {"fmt": "o", "color": bars.color, "markersize": 5, "capsize": 3, "linewidth": 1.2}
        axes.errorbar(bars.x, bars.y, [below, above], label=_short(bars.name), **how)
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    axes.set_title(chart.title, fontsize=11)
    axes.grid(alpha=0.25)
    if chart.x_range:
        axes.set_xlim(chart.x_range)
    if chart.y_range:
        axes.set_ylim(chart.y_range)
    if chart.whole_x:
        axes.locator_params(axis="x", nbins=8, integer=True, min_n_ticks=1)


def _short(name: str) -> str:
    """A name that leaves room for others; the page has it in full. _ would hide it."""
    shown = name if len(name) <= 30 else f"{name[:27]}..."
    return f" {shown}" if shown.startswith("_") else shown
