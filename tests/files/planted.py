"""Copies of images as they occur in public sets: changed a little, under another patient's id."""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def _jpeg(image: Image.Image, _: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=70)
    return Image.open(file).convert(image.mode)


def _rescaled(image: Image.Image, _: np.random.Generator) -> Image.Image:
    size = [max(1, round(side * 0.9)) for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.BICUBIC)


def _cropped(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Two percent less of each axis (a pixel at least), cut off anywhere."""
    width, height = image.size
    off = [max(1, round(side * 0.02)) for side in image.size]
    left, top = (int(generator.integers(0, pixels + 1)) for pixels in off)
    return image.crop((left, top, width - off[0] + left, height - off[1] + top))


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
    "cropped by 2 %": _cropped,
    "10 % brighter": lambda image, _: ImageEnhance.Brightness(image).enhance(1.1),
    "10 % darker": lambda image, _: ImageEnhance.Brightness(image).enhance(0.9),
}
"""What is done to an image, by name."""


def texture(generator: np.random.Generator, size: int = 96) -> NDArray[np.uint8]:
    """(size, size) a smooth random picture with structure of every coarseness."""
    waves = np.fft.rfftfreq(size)[None] ** 2 + np.fft.fftfreq(size)[:, None] ** 2
    noise = np.fft.rfft2(generator.normal(size=(size, size)))
    smooth = np.fft.irfft2(noise / (waves + 2e-4) ** 0.7, (size, size))
    low, high = smooth.min(), smooth.max()
    picture: NDArray[np.uint8] = ((smooth - low) / (high - low) * 255).astype(np.uint8)
    return picture
