"""Plots as PNG files, drawn without pyplot: no global state, no display needed."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.arrays import Ints
from pipeline.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_MAX_MARKED_EPOCHS = 25
_MAX_LEGEND_ROWS = 16
_MAX_LEGEND_FOLDS = 45
_TRAIN: dict[str, Any] = {"linestyle": "-", "marker": "."}
_VAL: dict[str, Any] = {"linestyle": "--", "marker": "x", "markersize": 5}
_LABEL_WIDTH = 22  # characters
_MOST_IN_A_ROW = 3

AUROC = "val/image/auroc"
"""Shown where a loss selects."""
ACCURACIES = ("train/image/accuracy", "val/image/accuracy")

History = Mapping[int, Mapping[str, float | None]]
"""One fold's epochs in order, from 1 -> metrics, None where one cannot be computed."""


def plot_learning_curves(
    histories: Mapping[int, History],
    best_epochs: Mapping[int, int],
    select_by: str,
    path: Path,
    warning: str = "",
    unit: str = "epoch",
) -> None:
    """Draw what the epochs came to (train solid, val dashed), one colour per fold, rings for the
    chosen epochs: losses, accuracies, the selecting metric, learning rate, norm of the gradient.

    `histories` and `best_epochs` are keyed by fold. Where a loss selects, val/image/auroc stands in
    the place of the selecting metric if there is any. What no fold has gets no panel. Values far
    above all others are cut off and marked by a triangle at the upper edge, so that one spike
    flattens nothing. `warning` is written across the plot in red. `unit` is what an epoch is
    called: a baseline has candidates, and no losses of training.
    """
    known = {name for history in histories.values() for row in history.values() for name in row}
    metric = AUROC if select_by == "val/loss" and AUROC in known else select_by
    parts = "training and validation" if "train/loss" in known else "validation"
    panels = {
        "loss": (f"{parts} loss", ["train/loss", "val/loss"]),
        "accuracy": (f"{parts} accuracy", ACCURACIES),
        metric: ("validation" + f", chooses the {unit}" * (metric == select_by), [metric]),
        "train/lr": ("learning rate at the epoch's start", ["train/lr"]),
        "train/grad_norm": ("norm of the gradient, mean of an epoch", ["train/grad_norm"]),
    }
    always = ("loss", metric)
    shown = {n: panel for n, panel in panels.items() if n in always or known & set(panel[1])}
    title = "Learning curves" if unit == "epoch" else f"{unit.capitalize()}s"
    _draw(shown, histories, best_epochs, path, title, warning, unit)


def plot_speed(histories: Mapping[int, History], path: Path) -> None:
    """Draw the images per second of each fold's epochs; apart, for no two runs agree in them."""
    panels = {"images/s": ("training", ["train/images_per_s"])}
    _draw(panels, histories, {}, path, "Speed")


def _draw(
    panels: Mapping[str, tuple[str, Sequence[str]]],
    histories: Mapping[int, History],
    best_epochs: Mapping[int, int],
    path: Path,
    title: str,
    warning: str = "",
    unit: str = "epoch",
) -> None:
    """Draw panels, label of the axis -> (title, metrics), in one row of three or in two rows."""
    from matplotlib.figure import Figure

    rows = [list(panels)[:_MOST_IN_A_ROW], list(panels)[_MOST_IN_A_ROW:]]
    rows = [row for row in rows if row]
    figure = Figure(figsize=(5.5 * max(map(len, rows)), 4.2 * len(rows)), layout="constrained")
    width = math.lcm(*map(len, rows))
    grid = figure.add_gridspec(len(rows), width)
    colors = colors_of(len(histories))
    for number, row in enumerate(rows):
        span = width // len(row)
        for at, label in enumerate(row):
            axes = figure.add_subplot(grid[number, at * span : (at + 1) * span])
            heading, metrics = panels[label]
            for (fold, history), color in zip(sorted(histories.items()), colors, strict=True):
                for metric in metrics:
                    style = _VAL if len(metrics) > 1 and metric.startswith("val/") else _TRAIN
                    best = best_epochs.get(fold) if metric == metrics[-1] else None
                    _curve(axes, history, metric, {"color": color, **style}, best)
            _label_axes(axes, label, unit)
            _cut_spikes(axes)
            axes.set_title(heading)
    figure.suptitle(title)
    both = any("train/loss" in row for history in histories.values() for row in history.values())
    _fold_legend(figure, sorted(histories), colors, _kinds(unit, both) if best_epochs else [])
    save_figure(figure, path, warning)


def plot_confusion(
    matrix: Ints, classes: Sequence[str], title: str, path: Path, warning: str = ""
) -> None:
    """Draw counts and row percentages of a confusion matrix (C, C), rows = true.

    `warning` is written across the plot in red.
    """
    from matplotlib.figure import Figure

    size = len(classes)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = matrix / np.maximum(totals, 1)
    figure = Figure(figsize=(size, size))  # an inch a cell; saving makes room for the labels
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [shortened(name) for name in classes]
    ticks = np.arange(size)
    # `parse_math`: a class name may contain $
    axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(ticks, names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title("\n".join(wrap(title, 24 + 8 * size)), parse_math=False)
    for (row, column), count in np.ndenumerate(matrix):
        share = f"{shares[row, column]:.1%}" if totals[row, 0] else "\N{EN DASH}"
        color = "white" if shares[row, column] > 0.7 else "black"
        axes.text(column, row, f"{count}\n{share}", color=color, ha="center", va="center")
    save_figure(figure, path, warning)


def _curve(
    axes: Axes,
    history: History,
    metric: str,
    style: Mapping[str, Any],
    best_epoch: int | None = None,
) -> None:
    """Draw a metric over epochs, with gaps where it is missing; a ring marks the best epoch."""
    epochs = list(history)
    values = np.array([row.get(metric) for row in history.values()], float)  # None becomes nan
    (line,) = axes.plot(epochs, values, linewidth=1.3, **style)
    if len(epochs) > _MAX_MARKED_EPOCHS:
        line.set_marker("")
    if best_epoch in epochs:
        best = values[epochs.index(best_epoch)]
        axes.plot(best_epoch, best, "o", markersize=10, fillstyle="none", color=style["color"])


def _label_axes(axes: Axes, metric: str, unit: str) -> None:
    axes.set_xlabel(unit)
    axes.set_ylabel(metric)
    axes.locator_params(axis="x", nbins=10, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    axes.grid(alpha=0.3)
    if not any(np.isfinite(line.get_ydata()).any() for line in axes.lines):
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "cannot be computed", transform=axes.transAxes, ha="center")


def _cut_spikes(axes: Axes) -> None:
    """End the axis a little above what most epochs have; a triangle stands for what is higher."""
    lines = list(axes.lines)
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in lines])
    values = values[np.isfinite(values)]
    if not values.size:
        return
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    top = high + max(3 * (high - low), abs(middle) / 2)
    if values.max() <= top:
        return
    for line in lines:
        epochs, losses = (np.asarray(data, float) for data in line.get_data())
        if (above := epochs[losses > top]).size:  # a line without points spoils the layout
            axes.plot(above, np.full(len(above), top), "^", color=line.get_color(), clip_on=False)
    axes.set_xlabel(f"{axes.get_xlabel()} (triangles: far above)")
    axes.set_ylim(values.min() - 0.05 * (top - values.min()), top)


def shortened(name: str) -> str:
    """The name of a class in up to three lines."""
    return "\n".join(wrap(name, _LABEL_WIDTH, max_lines=3, placeholder=" ..."))


def colors_of(num: int) -> list[Any]:
    """A colour for each of so many folds, or classes."""
    from matplotlib import colormaps

    if num <= 10:
        return [colormaps["tab10"](index) for index in range(num)]
    return list(colormaps["turbo"](np.linspace(0.05, 0.95, num)))


def _kinds(unit: str, has_both_parts: bool) -> list[Line2D]:
    """What the marks of a curve mean, for the legend."""
    from matplotlib.lines import Line2D

    ring: dict[str, Any] = {"marker": "o", "fillstyle": "none", "ls": ""}
    chosen = Line2D([], [], label=f"chosen {unit}", color="black", **ring)
    parts = [
        Line2D([], [], label="train", color="black", **_TRAIN),
        Line2D([], [], label="val, beside train", color="black", **_VAL),
    ]
    return [*parts, chosen] if has_both_parts else [chosen]


def _fold_legend(
    figure: Figure, folds: Sequence[int], colors: Sequence[Any], kinds: Sequence[Line2D]
) -> None:
    from matplotlib.lines import Line2D

    if len(folds) > _MAX_LEGEND_FOLDS:
        folds, colors = [], []
    handles = [
        *kinds,
        *(
            Line2D([], [], label=f"fold {fold}", color=color, linewidth=2.5)
            for fold, color in zip(folds, colors, strict=True)
        ),
    ]
    num_columns = -(-len(handles) // _MAX_LEGEND_ROWS)
    figure.legend(handles=handles, loc="outside right upper", ncols=num_columns, frameon=False)


def save_figure(figure: Figure, path: Path, warning: str = "") -> None:
    """Write a PNG whole; `warning` stands across it in red."""
    if warning:
        style: dict[str, Any] = {"color": "red", "alpha": 0.45, "weight": "bold", "rotation": 15}
        figure.text(0.5, 0.5, warning, ha="center", va="center", size=24, zorder=10, **style)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # a letter that the font lacks is a box: a warning for each of them helps nobody
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        # "tight": nothing is cut off. No software tag: the same plot has the same bytes
        how: dict[str, Any] = {"bbox_inches": "tight", "metadata": {"Software": None}}
        figure.savefig(buffer, format="png", dpi=130, **how)
    write_whole(path, buffer.getvalue())
