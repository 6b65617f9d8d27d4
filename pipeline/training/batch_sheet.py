"""A picture of what the model really sees: normalised, augmented, with labels. Imports torch only
for a network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from textwrap import wrap

import numpy as np

from pipeline.arrays import Floats32, Ints
from pipeline.config import AugmentConfig
from pipeline.config.leaf import is_baseline
from pipeline.evaluation.plots import save_figure
from pipeline.images.sampler import draw_epoch
from pipeline.label_names import BETWEEN
from pipeline.training.job import FoldJob, seed_for
from pipeline.words import one_line

MOST_CLASSES = 8
MOST_CHANNELS = 4
TILES = 6
"""Side by side, where that many fit."""
INCHES = 1.5
"""A tile is so wide and high."""
WIDTH = 100
"""Characters of a line above the tiles."""
NAME, LEAST = 28, 12
"""Characters of a line above a tile, and of them for the label of a patient with a long name."""


@dataclass(frozen=True)
class Sheet:
    """Samples in rows: as they are, and as training draws them."""

    rows: Ints
    num_images: int
    """Of a sample, which became its channels."""
    variants: dict[str, Floats32]
    """Title -> (N, C, ...)."""
    lines: tuple[str, ...]
    """Above the tiles."""


def draw_batch_sheet(job: FoldJob, path: Path) -> list[str]:
    """Write the PNG; the patients on it."""
    sheet = _network_sheet(job) if not is_baseline(job.config.model) else _baseline_sheet(job)
    table = job.manifest.table.iloc[sheet.rows]
    names = map(
        _labels if job.manifest.is_multilabel else _name, table["label"], table["patient_id"]
    )
    _draw(sheet, list(names), path)
    return sorted(set(table["patient_id"]))


def _network_sheet(job: FoldJob) -> Sheet:
    from pipeline.training.trial import augmented, open_part, plain

    part, config = open_part(job), job.config
    seed = part.seed(1)
    order = draw_epoch(job.emphasis.drawing, config.sampler.balance, np.random.default_rng(seed))
    drawn = part.rows[order]
    batch = augmented(part, drawn[: config.training.batch_size], seed).cpu().numpy()
    counts = job.manifest.num_per_class(drawn[: config.training.batch_size])
    # a class that this epoch happens not to draw is on the sheet all the same
    rows = _first_of_each_class(job, np.concatenate([drawn, part.rows]))
    still = AugmentConfig()
    variants = {"normalised": plain(part, rows).cpu().numpy()}
    if config.augment != still:
        variants |= {
            f"as trained on, {number}": augmented(part, rows, seed + number).cpu().numpy()
            for number in (1, 2)
        }
    drawn_as = ", ".join(f"{n} {c}" for n, c in zip(counts, job.manifest.classes, strict=True) if n)
    lines = (
        f"{config.name}, fold {job.fold.index}: what the network sees",
        f"first batch: {batch.shape} {batch.dtype}, mean {batch.mean():.2f}, SD {batch.std():.2f}, "
        f"from {batch.min():.2f} to {batch.max():.2f}; labels: {drawn_as} "
        f"(sampler.balance={config.sampler.balance})",
        f"augmentation: {_augmentation(config.augment)}",
    )
    return Sheet(rows, _num_images(job), variants, (*lines, *_left_out(job)))


def _baseline_sheet(job: FoldJob) -> Sheet:
    train = job.rows("train")
    seed = seed_for(job.config.training.seed, job.fold.index, 0)
    rows = _first_of_each_class(job, np.random.default_rng(seed).permutation(train))
    images = job.images.array[rows].astype(np.float32)
    lines = (
        f"{job.config.name}, fold {job.fold.index}: what the baseline's features are made of",
        f"features.kind={job.config.features.kind}; images: {images.shape[1:]} "
        f"{job.images.dtype}; a baseline has no augmentation",
    )
    return Sheet(rows, _num_images(job), {"decoded": images}, (*lines, *_left_out(job)))


def _num_images(job: FoldJob) -> int:
    return len(job.config.manifest.columns.images)


def _left_out(job: FoldJob) -> list[str]:
    num = len(job.manifest.classes)
    return [f"the first {MOST_CLASSES} of {num} classes are shown"] if num > MOST_CLASSES else []


def _first_of_each_class(job: FoldJob, drawn: Ints) -> Ints:
    """(N,) rows in the order of the classes: `images.preview` of each, the first that are drawn.

    Of another patient each, as far as there are others. Of several labels, those without any come
    last, and nobody comes twice.
    """
    has, each = job.manifest.has_class, job.config.images.preview
    unique = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
    of_patient = job.manifest.table.iloc[unique].groupby(["patient_id", "label"])
    unique = unique[np.argsort(of_patient.cumcount().to_numpy(), kind="stable")]
    groups = [*has[unique, :MOST_CLASSES].T, ~has[unique].any(axis=1)]
    found: Ints = np.concatenate([unique[group][:each] for group in groups])
    return found[np.sort(np.unique(found, return_index=True)[1])]


def _augmentation(config: AugmentConfig) -> str:
    """What differs from no augmentation, in the words of the settings."""
    usual = AugmentConfig()
    told = []
    for setting in fields(config):
        value = getattr(config, setting.name)
        if setting.name == "transforms":
            told += [str(leaf["_target_"]).rpartition(".")[2] for leaf in value]
        elif value != getattr(usual, setting.name):
            told.append(f"{setting.name}={list(value) if isinstance(value, tuple) else value}")
    return ", ".join(told) or "none"


def views(image: Floats32, num_images: int = 1) -> list[Floats32]:
    """(C, ...) -> planes: (H, W, 3) of each image in colour, else (H, W) of each channel.

    Of a volume, the middle slice along each axis. `num_images` share the channels equally.
    """
    if image.ndim == 3 and len(image) == 3 * num_images:
        return [np.moveaxis(one, 0, -1) for one in np.split(image, num_images)][:MOST_CHANNELS]
    channels = list(image[:MOST_CHANNELS])
    if image.ndim == 3:
        return channels
    return [
        np.take(channel, channel.shape[axis] // 2, axis=axis)
        for channel in channels
        for axis in range(3)
    ]


def _draw(sheet: Sheet, names: Sequence[str], path: Path) -> None:
    from matplotlib.figure import Figure

    planes = {
        title: [views(image, sheet.num_images) for image in images]
        for title, images in sheet.variants.items()
    }
    num_views = len(next(iter(planes.values()))[0])
    across = num_views * len(planes)
    samples = max(1, TILES // across)
    num_lines = -(-len(names) // samples)
    columns = samples * across
    low, high = np.percentile(
        np.concatenate([v.ravel() for v in sheet.variants.values()]), (0.5, 99.5)
    )
    scale = f"one grey scale for all tiles: {low:.2f} is black, {high:.2f} is white"
    figure = Figure(
        figsize=(max(columns * INCHES, 7), num_lines * (INCHES + 0.45) + 1.2), layout="constrained"
    )
    lines = [line for text in (*sheet.lines, scale) for line in wrap(one_line(text), WIDTH)]
    figure.suptitle("\n".join(lines), size=9, parse_math=False)
    grid = figure.subplots(num_lines, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for number, name in enumerate(names):
        line, place = divmod(number, samples)
        tiles = iter(grid[line, place * across : (place + 1) * across])
        for title, of_samples in planes.items():
            for view, plane in enumerate(of_samples[number]):
                axes = next(tiles)
                shown = ((plane - low) / max(high - low, 1e-6)).clip(0, 1)
                axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                above = one_line(name) if title == next(iter(planes)) and view == 0 else ""
                below = title if view == 0 else ""
                told = wrap(above, NAME, max_lines=4, placeholder="...") or [""]
                axes.set_title("\n".join([*told, below]), size=7, loc="left", parse_math=False)
    save_figure(figure, path)


def _name(label: str, patient: str) -> str:
    """Of a tile, no longer than it is wide; a long label leaves room for the patient."""
    label = _short(label, max(LEAST, NAME - 2 - len(patient)))
    return f"{label}: {_short(patient, NAME - 2 - len(label))}"


def _labels(labels: str, patient: str) -> str:
    """Of a tile, on several lines: they may break between labels."""
    return f"{labels.replace(BETWEEN, f' {BETWEEN} ')}: {patient}"


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."
