"""What the images look like: a sample of the files is read once."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.arrays import Floats
from pipeline.configure.thumbnails import Likeness, likeness, thumbnail
from pipeline.errors import UserError
from pipeline.formats import DICOM, ImageError, StoredImage, read_as_stored
from pipeline.formats.dicom_file import open_dicom
from pipeline.formats.files import format_of, series_files
from pipeline.formats.table import COLOUR
from pipeline.images.transforms import no_hounsfield
from pipeline.manifest import Manifest
from pipeline.words import and_more, counted, one_line

MOST_FILES, FEWEST_FILES = 200, 16
"""Files that are read: so many, or as soon as MOST_VALUES are read, the smaller number."""
MOST_VALUES = 10**9
LARGE = 95
"""Percentile of the sizes that a crop must hold."""
SAME_SPACING = 0.05
"""Pixel sizes that differ by less than this share count as the same."""
COLOURED = 0.01
"""Grey that was stored as lossy colour differs between channels by less than this share of 255."""
HOUNSFIELD = ((-3100.0, -500.0), (200.0, 33000.0))
"""Between which values the smallest and the largest of an image are in Hounsfield units: air is
-1000, dense bone 1000 and more."""


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Of the files that were read; D axes."""

    num_read: int
    num_files: int
    formats: tuple[str, ...]
    """The commonest first."""
    modality: str
    """Of DICOM, e.g. CT; "" where no file says it."""
    spatial_dims: int
    num_channels: int
    has_unlike_files: bool
    """A sample has several files, and not all of them have as many channels."""
    has_colour_model: bool
    """Three channels are red, green and blue by what the files say, though they may be grey."""
    is_colour: bool
    """Three channels that differ; of volumes with a colour model."""
    bit_depth: int
    """The largest."""
    median_shape: tuple[int, ...]
    """(D,)"""
    num_shapes: int
    spacing: tuple[float, ...] | None
    """(D,) the median, in mm; None where a file does not say it."""
    spacing_varies: bool
    extent: tuple[float, ...]
    """(D,) the 95th percentile of the images' sides in mm; in pixels where there is no spacing."""
    lowest: float
    """The median of the images' smallest values; `highest` of their largest."""
    highest: float
    likeness: Likeness

    @property
    def no_hounsfield(self) -> str:
        """Why the preset of CT would refuse the images; "" when it would not."""
        return no_hounsfield(self.bit_depth, self.lowest, self.highest)

    @property
    def is_hounsfield(self) -> bool:
        """Deeper than a picture, with the values of a CT."""
        (air, fat), (bone, most) = HOUNSFIELD
        return self.bit_depth > 8 and air <= self.lowest <= fat and bone <= self.highest <= most


class _Seen(NamedTuple):
    """What is kept of one file."""

    format: str
    modality: str
    image: StoredImage
    """Without its pixels."""
    shape: tuple[int, ...]
    num_channels: int
    is_colour: bool
    low: float
    high: float
    thumbnail: Floats


def pixels_of(manifest: Manifest, progress: Callable[[int, int], None]) -> Pixels:
    """Read a sample of the files, the same in every run; `progress(done, total)` is called.

    Raises:
        UserError: when files cannot be read, or pictures and volumes are mixed.
    """
    files = [file for row in _sampled(len(manifest)) for file in manifest.image_sets[row]]
    seen, problems, num_values = list[_Seen](), list[str](), 0
    for number, file in enumerate(files, start=1):
        try:
            seen.append(_look(file))
            num_values += seen[-1].num_channels * int(np.prod(seen[-1].shape))
        except (ImageError, OSError) as error:
            problems.append(f"{one_line(str(file))}: {error}")
        progress(number, len(files))
        if num_values > MOST_VALUES and number >= FEWEST_FILES:
            progress(len(files), len(files))
            break
    if problems:
        most = f"{len(problems)} of {counted(number, 'image')} that were tried cannot be read"
        raise UserError(f"{most}:\n  {and_more(problems[:5], len(problems), chr(10) + '  ')}")
    return _together(seen, len(manifest), len(manifest.image_columns))


def _sampled(num_rows: int) -> list[int]:
    """Rows to look at: all, or some at random, the same ones always."""
    if num_rows <= MOST_FILES:
        return list(range(num_rows))
    drawn: list[int] = np.random.default_rng(0).permutation(num_rows)[:MOST_FILES].tolist()
    return drawn


def _look(path: Path) -> _Seen:
    known, image = format_of(path), read_as_stored(path)
    pixels = image.pixels[np.isfinite(image.pixels)]
    if not pixels.size:
        raise ImageError("holds no finite value")
    low, high = float(pixels.min()), float(pixels.max())
    return _Seen(
        known.name,
        _modality(path) if known is DICOM else "",
        image._replace(pixels=image.pixels[..., :0]),
        image.pixels.shape[1:],
        len(image.pixels),
        _is_colour(image),
        low,
        high,
        thumbnail(np.nan_to_num(image.pixels.mean(axis=0), nan=low, posinf=high, neginf=low)),
    )


def _is_colour(image: StoredImage) -> bool:
    """Do three channels differ? Volumes must say that they are a colour, and no time points or
    sequences; arrays of pictures cannot say it.
    """
    pixels, is_volume = image.pixels, image.pixels.ndim == 4
    if len(pixels) != 3 or (is_volume and image.channels != COLOUR):
        return False
    others = np.abs(pixels[1:] - pixels[:1]).mean()
    return bool(others > COLOURED * max(float(np.abs(pixels).max()), 1.0))


def _modality(path: Path) -> str:
    files = series_files(path) or [path]
    with files[0].open("rb") as file:
        data = open_dicom(file, stop_before_pixels=True, specific_tags=["Modality"])
    return str(data.get("Modality") or "")


def _together(seen: Sequence[_Seen], num_rows: int, num_columns: int) -> Pixels:
    numbers = Counter(len(one.shape) for one in seen)
    if len(numbers) > 1:
        raise UserError(
            f"{numbers[2]} of the images that were tried are pictures, {numbers[3]} are volumes; "
            "a network takes one kind: leave the others out"
        )
    (dims,) = numbers
    spacings = [one.image.spacing for one in seen]
    known = np.array([spacing[:dims] for spacing in spacings if spacing is not None])
    shapes = np.array([one.shape for one in seen], float)
    has_all = len(known) == len(seen)
    median = np.median(known, axis=0) if has_all else np.ones(dims)
    sides = shapes * (known if has_all else 1.0)
    num_channels = Counter(one.num_channels for one in seen)
    has_unlike_files = num_columns > 1 and len(num_channels) > 1
    return Pixels(
        num_read=len(seen),
        num_files=num_rows * num_columns,
        formats=tuple(name for name, _ in Counter(one.format for one in seen).most_common()),
        modality=Counter(one.modality for one in seen).most_common(1)[0][0],
        spatial_dims=dims,
        num_channels=num_channels.most_common(1)[0][0],
        has_unlike_files=has_unlike_files,
        has_colour_model=all(one.image.channels == COLOUR for one in seen if one.num_channels == 3),
        is_colour=not has_unlike_files and any(one.is_colour for one in seen),
        bit_depth=max(one.image.bit_depth for one in seen),
        median_shape=tuple(np.median(shapes, axis=0).astype(int).tolist()),
        num_shapes=len({one.shape for one in seen}),
        spacing=tuple(np.round(median, 4).tolist()) if has_all else None,
        spacing_varies=has_all and bool((np.abs(known / median - 1) > SAME_SPACING).any()),
        extent=tuple(np.percentile(sides, LARGE, axis=0).tolist()),
        lowest=float(np.median([one.low for one in seen])),
        highest=float(np.median([one.high for one in seen])),
        likeness=likeness([one.thumbnail for one in seen]),
    )
