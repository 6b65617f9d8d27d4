"""Plots as PNG files, drawn without pyplot: no global state, no display needed."""

from __future__ import annotations

import io
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

_MAX_MARKED_EPOCHS = 25
_MAX_LEGEND_ROWS = 16
_MAX_LEGEND_FOLDS = 45
_TRAIN: dict[str, Any] = {"linestyle": "-", "marker": "."}
_VAL: dict[str, Any] = {"linestyle": "--", "marker": "x", "markersize": 5}
_LABEL_WIDTH = 22  # characters

AUROC = "val/image/auroc"
"""Shown where a loss selects."""

History = Mapping[int, Mapping[str, float | None]]
"""One fold's epochs in order, from 1 -> metrics, None where one cannot be computed."""


def plot_learning_curves(
    histories: Mapping[int, History],
    best_epochs: Mapping[int, int],
    select_by: str,
    path: Path,
    warning: str = "",
) -> None:
    """Draw losses (train solid, val dashed) and the selecting metric, one colour per fold.

    `histories` and `best_epochs` are keyed by fold. Where a loss selects, the second panel shows
    val/image/auroc if there is any. Losses far above all others are cut off and marked by a
    triangle at the upper edge, so that one spike flattens nothing. `warning` is written across the
    plot in red.
    """
    from matplotlib.figure import Figure

    has_auroc = any(AUROC in row for history in histories.values() for row in history.values())
    metric = AUROC if select_by == "val/loss" and has_auroc else select_by
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    losses, selection = figure.subplots(1, 2)
    colors = _fold_colors(len(histories))
    for (fold, history), color in zip(sorted(histories.items()), colors, strict=True):
        best = best_epochs.get(fold)
        _curve(losses, history, "train/loss", {"color": color, **_TRAIN})
        _curve(losses, history, "val/loss", {"color": color, **_VAL}, best)
        _curve(selection, history, metric, {"color": color, **_VAL, "linestyle": "-"}, best)
    _label_axes(losses, "loss")
    _label_axes(selection, metric)
    _cut_spikes(losses)
    losses.set_title("training and validation loss")
    selection.set_title("validation" + ", chooses the epoch" * (metric == select_by))
    figure.suptitle("Learning curves")
    _fold_legend(figure, sorted(histories), colors)
    save(figure, path, warning)


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
    names = [
        "\n".join(wrap(name, _LABEL_WIDTH, max_lines=3, placeholder=" ...")) for name in classes
    ]
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
    save(figure, path, warning)


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


def _label_axes(axes: Axes, metric: str) -> None:
    axes.set_xlabel("epoch")
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
        above = epochs[losses > top]
        axes.plot(above, np.full(len(above), top), "^", color=line.get_color(), clip_on=False)
    axes.set_xlabel("epoch (triangles: far above)")
    axes.set_ylim(values.min() - 0.05 * (top - values.min()), top)


def _fold_colors(num_folds: int) -> list[Any]:
    from matplotlib import colormaps

    if num_folds <= 10:
        return [colormaps["tab10"](index) for index in range(num_folds)]
    return list(colormaps["turbo"](np.linspace(0.05, 0.95, num_folds)))


def _fold_legend(figure: Figure, folds: Sequence[int], colors: Sequence[Any]) -> None:
    from matplotlib.lines import Line2D

    if len(folds) > _MAX_LEGEND_FOLDS:
        folds, colors = [], []
    handles = [
        Line2D([], [], label="train", color="black", **_TRAIN),
        Line2D([], [], label="val", color="black", **_VAL),
        Line2D([], [], label="chosen epoch", color="black", marker="o", fillstyle="none", ls=""),
        *(
            Line2D([], [], label=f"fold {fold}", color=color, linewidth=2.5)
            for fold, color in zip(folds, colors, strict=True)
        ),
    ]
    num_columns = -(-len(handles) // _MAX_LEGEND_ROWS)
    figure.legend(handles=handles, loc="outside right upper", ncols=num_columns, frameon=False)


def save(figure: Figure, path: Path, warning: str) -> None:
    """Write a figure as PNG, with `warning` across it in red."""
    if warning:
        style: dict[str, Any] = {"color": "red", "alpha": 0.45, "weight": "bold", "rotation": 15}
        figure.text(0.5, 0.5, warning, ha="center", va="center", size=24, zorder=10, **style)
    buffer = io.BytesIO()
    # "tight": nothing is cut off. No software tag: the same plot has the same bytes
    figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight", metadata={"Software": None})
    write_whole(path, buffer.getvalue())
