"""Copies of images as they occur in public sets: changed a little, under another patient's id."""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFont
from scipy.ndimage import zoom

Change = Callable[[Image.Image, np.random.Generator], Image.Image]
Volume = NDArray[np.float32]


def _jpeg(image: Image.Image, _: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=70)
    return Image.open(file).convert(image.mode)


def _rescaled(image: Image.Image, _: np.random.Generator) -> Image.Image:
    size = [max(1, round(side * 0.9)) for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.BICUBIC)


def _cropped(share: float) -> Change:
    """So much less of each axis (a pixel at least), cut off anywhere."""

    def crop(image: Image.Image, generator: np.random.Generator) -> Image.Image:
        width, height = image.size
        off = [max(1, round(side * share)) for side in image.size]
        left, top = (int(generator.integers(0, pixels + 1)) for pixels in off)
        return image.crop((left, top, width - off[0] + left, height - off[1] + top))

    return crop


def _white(image: Image.Image) -> int | tuple[int, int, int]:
    return 255 if image.mode == "L" else (255, 255, 255)


def _with_arrows(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Two white arrows, each as long as a quarter of the picture, anywhere."""
    image = image.copy()
    draw, size = ImageDraw.Draw(image), np.array(image.size)
    for tip in generator.uniform(0.2, 0.8, (2, 2)) * size:
        angle = generator.uniform(0, 2 * np.pi)
        along = np.array([np.cos(angle), np.sin(angle)]) * size.min() / 4
        across = np.array([-along[1], along[0]])
        tail, neck = tip - along, tip - 0.35 * along
        width = max(1, round(size.min() / 50))
        draw.line([*tail, *neck], fill=_white(image), width=width)
        corners = (tip, neck + 0.2 * across, neck - 0.2 * across)
        draw.polygon([tuple(corner) for corner in corners], fill=_white(image))
    return image


def _with_text(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Two lines of white letters, each a twelfth as high as the picture, anywhere."""
    image = image.copy()
    draw, (width, height) = ImageDraw.Draw(image), image.size
    font = ImageFont.load_default(size=max(6, min(image.size) / 12))
    for words in ("R 12:47 kV", "Case 31-B"):
        place = generator.uniform(0.0, 0.5) * width, generator.uniform(0.0, 0.9) * height
        draw.text(place, words, fill=_white(image), font=font)
    return image


CHANGES: dict[str, Change] = {
    "exact": lambda image, _: image.copy(),
    "flipped left to right": lambda image, _: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "flipped top to bottom": lambda image, _: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned by 90 degrees": lambda image, _: image.transpose(Image.Transpose.ROTATE_90),
    "turned by 180 degrees": lambda image, _: image.transpose(Image.Transpose.ROTATE_180),
    "turned by 270 degrees": lambda image, _: image.transpose(Image.Transpose.ROTATE_270),
    "transposed": lambda image, _: image.transpose(Image.Transpose.TRANSPOSE),
    "JPEG quality 70": _jpeg,
    "rescaled by 0.9": _rescaled,
    "cropped by 2 %": _cropped(0.02),
    "cropped by 10 %": _cropped(0.1),
    "arrows drawn in": _with_arrows,
    "text drawn in": _with_text,
    "10 % brighter": lambda image, _: ImageEnhance.Brightness(image).enhance(1.1),
    "10 % darker": lambda image, _: ImageEnhance.Brightness(image).enhance(0.9),
}
"""What is done to an image, by name."""


def _volume_rescaled(volume: Volume, _: np.random.Generator) -> Volume:
    scale = [1.0, *(round(0.9 * size) / size for size in volume.shape[1:])]
    # grid_mode: the whole volume is shown, not only what lies between the outer voxels' centres.
    return np.asarray(
        zoom(volume, scale, order=1, grid_mode=True, mode="nearest"), dtype=np.float32
    )


def _volume_cropped(volume: Volume, generator: np.random.Generator) -> Volume:
    """Two percent less of each axis (a voxel at least), cut off anywhere."""
    for axis, size in enumerate(volume.shape[1:], start=1):
        off = max(1, round(size * 0.02))
        start = int(generator.integers(0, off + 1))
        volume = np.take(volume, range(start, size - off + start), axis=axis)
    return volume


def _with_noise(volume: Volume, generator: np.random.Generator) -> Volume:
    sigma = 0.01 * (volume.max() - volume.min())
    return volume + generator.normal(0, sigma, volume.shape).astype(np.float32)


VOLUME_CHANGES: dict[str, Callable[[Volume, np.random.Generator], Volume]] = {
    "exact": lambda volume, _: volume,
    "flipped along the first axis": lambda volume, _: volume[:, ::-1],
    "flipped along the last axis": lambda volume, _: volume[..., ::-1],
    "turned by 90 degrees in plane": lambda volume, _: np.rot90(volume, axes=(2, 3)),
    "turned by 90 degrees out of plane": lambda volume, _: np.rot90(volume, axes=(1, 2)),
    "axes in another order": lambda volume, _: np.transpose(volume, (0, 3, 1, 2)),
    "rescaled by 0.9": _volume_rescaled,
    "cropped by 2 %": _volume_cropped,
    "10 % brighter": lambda volume, _: volume * np.float32(1.1),
    "noise of 1 % of the range": _with_noise,
}
"""What is done to a volume (C, D, H, W), by name."""


def texture(generator: np.random.Generator, size: int = 96) -> NDArray[np.uint8]:
    """(size, size) a smooth random picture with structure of every coarseness."""
    waves = np.fft.rfftfreq(size)[None] ** 2 + np.fft.fftfreq(size)[:, None] ** 2
    noise = np.fft.rfft2(generator.normal(size=(size, size)))
    smooth = np.fft.irfft2(noise / (waves + 2e-4) ** 0.7, (size, size))
    low, high = smooth.min(), smooth.max()
    picture: NDArray[np.uint8] = ((smooth - low) / (high - low) * 255).astype(np.uint8)
    return picture
