"""Plots of what probabilities are worth: a reliability diagram, and a decision curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.arrays import AnyInts
from pipeline.evaluation.cases import Cases, LabelCases, one_by_one
from pipeline.evaluation.plots import colors_of, save_figure, shortened
from pipeline.evaluation.reliability import reliability
from pipeline.evaluation.utility import decision_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMED = 16
"""Classes that a legend has room for."""
NUM_BARS = 20


def plot_reliability(
    cases: Cases | LabelCases,
    units: AnyInts,
    classes: Sequence[str],
    title: str,
    path: Path,
    warning: str = "",
) -> None:
    """Draw observed shares over predicted probabilities, and below how many cases have which.

    Of two classes that of the positive one, with intervals; of more, and of labels, a line each.
    `units` (N,): patients or leakage groups. `warning` is written across the plot in red.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 6.2), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="as predicted")
    each = one_by_one(cases, classes)
    for (name, of), color in zip(each, colors_of(len(each)), strict=True):
        found = reliability(of, units)
        style: dict[str, Any] = {"color": color, "marker": "o", "markersize": 4, "linewidth": 1.3}
        axes.plot(found.predicted, found.observed, label=name, **style)
        if len(each) == 1:
            reach = np.abs([found.low - found.observed, found.high - found.observed])
            axes.errorbar(found.predicted, found.observed, reach, color=color, linewidth=1, ls="")
        counted: dict[str, Any] = {"bins": NUM_BARS, "range": (0, 1), "color": color}
        filled = "stepfilled" if len(each) == 1 else "step"
        below.hist(of.probabilities[:, 1], histtype=filled, alpha=0.7, **counted)
    positive = shortened(each[0][0]) if len(each) == 1 else "the class"
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_ylabel(f"share that is {positive}", parse_math=False)
    below.set_xlabel(f"predicted probability of {positive}", parse_math=False)
    below.set_ylabel("cases")
    below.locator_params(axis="y", nbins=3, integer=True)
    _finish(axes, len(each), "upper left")
    below.grid(alpha=0.3)
    said = "\nbars: 95 % intervals over patients" if len(each) == 1 else ""
    figure.suptitle(title + said, parse_math=False)
    save_figure(figure, path, warning)


def plot_decision_curve(
    cases: Cases | LabelCases,
    units: AnyInts,
    classes: Sequence[str],
    title: str,
    path: Path,
    warning: str = "",
) -> None:
    """Draw the net benefit of deciding by the model, of treating all and of treating nobody.

    Of two classes with a band; of more, and of labels, a line each, dotted for treating all.
    `units` (N,): patients or leakage groups. `warning` is written across the plot in red.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    each = one_by_one(cases, classes)
    top = 0.0
    for (name, of), color in zip(each, colors_of(len(each)), strict=True):
        found = decision_curve(of, units)
        is_one = len(each) == 1
        label = "decide by the model" if is_one else name
        axes.plot(found.thresholds, found.model, color=color, linewidth=1.8, label=label)
        all_of_them: dict[str, Any] = {"color": "dimgrey", "linestyle": "--", "label": "treat all"}
        if not is_one:
            all_of_them = {"color": color, "linestyle": ":", "linewidth": 1}
        else:
            axes.fill_between(found.thresholds, found.low, found.high, color=color, alpha=0.2)
        axes.plot(found.thresholds, found.treat_all, **all_of_them)
        top = max(top, float((found.high if is_one else found.model).max()))
    axes.axhline(0, color="black", linewidth=1, label="treat nobody")
    axes.set(xlim=(0, 1), ylim=(-0.25 * top - 0.01, 1.05 * top + 0.01))
    positive = shortened(each[0][0]) if len(each) == 1 else "the class"
    axes.set_xlabel(f"probability of {positive} from which one would treat", parse_math=False)
    axes.set_ylabel("net benefit (true positives per case)")
    _finish(axes, len(each), "upper right")
    said = "band: 95 % interval over patients" if len(each) == 1 else "dotted: treat all"
    figure.suptitle(f"{title}\n{said}", parse_math=False)
    save_figure(figure, path, warning)


def _finish(axes: Axes, num: int, place: Literal["upper left", "upper right"]) -> None:
    axes.grid(alpha=0.3)
    if num > MOST_NAMED:
        return
    legend = axes.legend(loc=place, fontsize="small", framealpha=0.8)
    for text in legend.get_texts():
        text.set_text(shortened(text.get_text()))
        text.set_parse_math(False)  # a class may be called $x$
