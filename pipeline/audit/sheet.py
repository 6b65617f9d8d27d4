"""A picture of copies, side by side, for the eye to judge."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.arrays import Floats32
from pipeline.audit.copies import Copy
from pipeline.audit.image_findings import two_labels_first
from pipeline.formats import ImageError, read_image
from pipeline.manifest import Manifest
from pipeline.words import one_line

MOST_PAIRS = 24
SIDE, GAP, LINE = 200, 12, 15  # pixels
NUM_COLUMNS = 3


def copy_sheet(
    manifest: Manifest,
    pairs: Sequence[Copy],
    spatial_dims: int,
    num_channels: int,
    places: Mapping[int, str] | None = None,
    thumbnails: NDArray[np.uint8] | None = None,
) -> Image.Image:
    """The first pairs, both images at the same size, with patients, lines, files and likeness.

    `thumbnails` (N, P, S, S) are shown of images that only the user's own reader can read.

    Near copies come first, the doubtful ones before the others: the exact ones need no eye. With
    the `places` of lines, as a `Split` has them, each image tells its own, and pairs of two places
    come before all others.
    """
    place = [(places or {}).get(line, "") for line in manifest.table["line"].tolist()]
    ranked = sorted(pairs, key=lambda pair: (pair.exact, pair.correlation))
    ranked = two_labels_first(manifest, ranked)
    shown = sorted(ranked, key=lambda p: place[p.one] == place[p.other])[:MOST_PAIRS]
    columns = min(NUM_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    width, height = 2 * SIDE + 2 + GAP, SIDE + 4 * LINE + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), _font()
    for number, pair in enumerate(shown):
        x, y = GAP + number % columns * width, GAP + number // columns * height
        how = "same pixels" if pair.exact else f"near copy, correlation {pair.correlation:.2f}"
        how += f", right {pair.orientation}" if pair.orientation else ""
        draw.text(
            (x, y),
            _fitting(how, font, 2 * SIDE),
            fill="#a40000" if pair.exact else "#8a5a00",
            font=font,
        )
        for side, row in enumerate((pair.one, pair.other)):
            left = x + side * (SIDE + 2)
            sample = manifest.table.iloc[row]
            who = f"{sample['patient_id']}, line {sample['line']}"
            what = f"{sample['label']}, in {place[row]}" if place[row] else str(sample["label"])
            for i, text in enumerate((who, what, str(sample["image_path"])), 1):
                words = _fitting(text, font, SIDE - 6)
                draw.text((left, y + i * LINE), words, fill="black", font=font)
            try:
                picture = _picture(manifest.image_files[row], spatial_dims, num_channels)
            except ImageError:
                if thumbnails is None:
                    raise
                last = 2 if spatial_dims == 3 else 0  # of a volume: along the axis of the slices
                picture = _shown(thumbnails[row, last])
            sheet.paste(picture, (left, y + 4 * LINE))
    return sheet


def _font() -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: ids may be in Greek or Cyrillic letters."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / "DejaVuSans.ttf"), 11)


def _picture(path: Path, spatial_dims: int, num_channels: int) -> Image.Image:
    """The image, or the middle slice of a volume, stretched to a square."""
    # It was decoded before, within images.most_voxels.
    image = read_image(path, spatial_dims, num_channels, most_voxels=sys.maxsize, fill=0.0)
    array = image.pixels
    plane = array if array.ndim == 3 else array[..., array.shape[-1] // 2]
    grey = _eight_bits(plane)
    return _shown(np.moveaxis(grey, 0, -1) if len(grey) == 3 else grey[0])


def _shown(array: NDArray[np.uint8]) -> Image.Image:
    """(H, W) or (H, W, 3) stretched to a square."""
    return Image.fromarray(array).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def _eight_bits(plane: Floats32) -> NDArray[np.uint8]:
    """Stretch to 0..255 between the 0.5th and the 99.5th percentile."""
    low, high = np.percentile(plane, (0.5, 99.5))
    scaled = (plane - low) / max(high - low, 1e-6)
    eight: NDArray[np.uint8] = (scaled.clip(0, 1) * 255).astype(np.uint8)
    return eight


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text on one line, its beginning cut off where it is wider: a path ends with the name."""
    shown = text = one_line(text)
    if len(text) > width:  # a letter is wider than a pixel
        text = text[-width:]
        shown = f"...{text}"
    while font.getlength(shown) > width:
        text = text[1:]
        shown = f"...{text}"
    return shown
