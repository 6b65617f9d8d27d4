"""An image beside itself with its heat map; of a volume, three central slices."""

from pathlib import Path

import numpy as np

from pipeline.arrays import Floats32
from pipeline.evaluation.plots import save_figure
from pipeline.training.batch_sheet import views

STRENGTH = 0.55
"""Opacity of the strongest heat; none lets the image through."""
INCHES = 2.6
COLOURS = "inferno"


def draw_heat_map(image: Floats32, heat: Floats32, title: str, bar: str, path: Path) -> None:
    """Write the PNG of an image (C, ...) and what speaks for a class in it, (...) from 0.

    The scale ends at the image's own strongest place: maps of two images cannot be compared.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    planes = views(image)[: 1 if image.ndim == 3 else 3]
    heats = views(heat[None])
    low, high = np.percentile(np.concatenate([p.ravel() for p in planes]), (0.5, 99.5))
    most = float(heat.max())
    columns = 2 if len(planes) == 1 else len(planes)
    rows = 1 if len(planes) == 1 else 2
    figure = Figure(figsize=(columns * INCHES + 1.1, rows * INCHES + 0.9), layout="constrained")
    figure.suptitle(title, size=9, parse_math=False)
    grid = figure.subplots(rows, columns, squeeze=False)
    for number, (plane, of_plane) in enumerate(zip(planes, heats, strict=False)):
        shown = ((plane - low) / max(float(high - low), 1e-6)).clip(0, 1)
        plain, over = (
            (grid[0, 0], grid[0, 1]) if len(planes) == 1 else (grid[0, number], grid[1, number])
        )
        strength = of_plane / most if most > 0 else np.zeros_like(of_plane)
        for axes in (plain, over):
            axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_axis_off()
        over.imshow(strength, cmap=COLOURS, vmin=0, vmax=1, alpha=STRENGTH * strength**0.5)
    colours = ScalarMappable(Normalize(0, 1), COLOURS)
    scale = figure.colorbar(colours, ax=list(grid[-1]), fraction=0.05, pad=0.02)
    scale.set_ticks([0, 1], labels=["nothing", "most"])
    scale.set_label(bar, size=8, parse_math=False)
    save_figure(figure, path)
