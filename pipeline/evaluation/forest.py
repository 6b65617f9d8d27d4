"""A forest plot: differences with their intervals, one below the other."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

from pipeline.evaluation.intervals import Interval
from pipeline.evaluation.plots import save_figure

_NAME_WIDTH = 40  # characters


def plot_differences(
    rows: Sequence[tuple[str, Interval]], title: str, higher_is_better: bool, path: Path
) -> None:
    """Write a PNG: a row for each (name, interval); the line at 0 says no difference."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.9 + 0.45 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))[::-1]  # the first is on top
    for place, (_, of) in zip(places, rows, strict=True):
        clear = of.low > 0 or of.high < 0
        colour = "tab:blue" if clear else "grey"
        axes.plot([of.low, of.high], [place, place], color=colour, linewidth=2)
        axes.plot([of.value], [place], "s", color=colour, markersize=7)
        text = f"{of.value:+.3f} [{of.low:+.3f}, {of.high:+.3f}]"
        axes.annotate(text, (1.02, place), xycoords=("axes fraction", "data"), va="center")
    axes.axvline(0, color="black", linewidth=1, linestyle=":")
    names = [shorten(name, _NAME_WIDTH, placeholder=" ...") for name, _ in rows]
    axes.set_yticks(list(places), names, parse_math=False)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    sides = ("worse", "better") if higher_is_better else ("better", "worse")
    axes.set_xlabel(f"{sides[0]}  <  difference, 95 % interval over patients  >  {sides[1]}")
    axes.set_title(title, parse_math=False, fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    save_figure(figure, path)
