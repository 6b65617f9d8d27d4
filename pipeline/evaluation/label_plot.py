"""A plot of labels that do not exclude each other: how well each of them is recognised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from pipeline.evaluation.plots import save_figure
from pipeline.evaluation.summary import MetricEntry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = ("auroc", "average_precision", "sensitivity", "specificity")
_LABEL_WIDTH = 22  # characters


def plot_labels(
    entries: Mapping[str, MetricEntry],
    labels: Sequence[str],
    title: str,
    path: Path,
    warning: str = "",
) -> None:
    """Draw a row for each label: its metrics, those of the folds, and what chance would give.

    `warning` is written across the plot in red.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.8 + 0.4 * len(labels)), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True)
    rows = np.arange(len(labels))[::-1]  # the first label is on top
    for axes, metric in zip(panels, PANELS, strict=True):
        for row, name in zip(rows, labels, strict=True):
            _draw(axes, row, entries[f"{metric}_{name}"])
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.6, len(labels) - 0.4), title=metric)
        axes.grid(alpha=0.3)
    panels[0].axvline(0.5, color="grey", linestyle=":", label="chance")
    chance = [entries[f"prevalence_{name}"]["value"] for name in labels]
    panels[1].plot(np.array(chance, float), rows, "|", color="grey", markersize=16)
    names = [
        "\n".join(wrap(name, _LABEL_WIDTH, max_lines=2, placeholder=" ...")) for name in labels
    ]
    panels[0].set_yticks(rows, names, parse_math=False)  # a label may contain $
    figure.suptitle(f"{title}\ndots: folds; line: over folds; grey: chance", parse_math=False)
    save_figure(figure, path, warning)


def _draw(axes: Axes, row: int, entry: MetricEntry) -> None:
    """The folds' values as dots, the one over folds as a line; what is missing is left out."""
    of_folds = np.array(entry["per_fold"], float)  # None becomes nan
    axes.plot(of_folds, np.full(len(of_folds), row), "o", color="tab:blue", alpha=0.4, markersize=5)
    axes.plot(np.array([entry["value"]], float), [row], "|", color="tab:blue", markersize=16, mew=3)
