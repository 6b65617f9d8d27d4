"""Random augmentation of a whole batch at once, on its device, for 2D and 3D."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.config import AugmentConfig


def augment_batch(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Change every image of (B, C, H, W) or (B, C, D, H, W) float32 in its own random way.

    Expects normalised images: what moves in from outside is 0, the mean of the train part.
    `generator` lives on the images' device, so that nothing waits for a transfer.
    """
    for axis in config.flip_axes:
        chosen = torch.rand(len(images), device=images.device, generator=generator) < 0.5
        images = _flip_chosen(images, 2 + axis, chosen)
    if config.rotate90:
        images = _quarter_turns(images, generator)
    if config.rotate_degrees or config.zoom or config.shift:
        images = _affine(images, config, generator)
    if config.contrast or config.brightness:
        images = _intensity(images, config, generator)
    if config.noise:
        noise = torch.randn(images.shape, device=images.device, generator=generator)
        images = noise.mul_(config.noise).add_(images)
    return images


def _uniform(shape: tuple[int, ...], limit: float, generator: torch.Generator) -> Tensor:
    """Draws from -limit to limit, on the generator's device."""
    draws = torch.rand(shape, device=generator.device, generator=generator)
    return draws.mul_(2).sub_(1).mul_(limit)


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1)"""
    return values.view(-1, *[1] * (images.ndim - 1))


def _flip_chosen(images: Tensor, dim: int, chosen: Tensor) -> Tensor:
    return torch.where(_per_image(chosen, images), images.flip(dim), images)


def _quarter_turns(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turns in the plane of the last two axes; with unequal sides only by 180 degrees.

    A turn by 90 degrees is a transposition and a flip, by 180 degrees two flips.
    """
    turns = torch.randint(4, (len(images),), device=images.device, generator=generator)
    if images.shape[-1] == images.shape[-2]:
        turned = _per_image(turns % 2 == 1, images)
        images = torch.where(turned, images.transpose(-2, -1), images)
    else:
        turns = turns // 2 * 2
    images = _flip_chosen(images, -2, (turns == 1) | (turns == 2))
    return _flip_chosen(images, -1, (turns == 2) | (turns == 3))


def _affine(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Rotation and shift along every axis, one zoom factor; linear interpolation."""
    num_images, dims, device = len(images), images.ndim - 2, images.device
    matrix = _rotation(num_images, dims, math.radians(config.rotate_degrees), generator)
    # affine_grid's coordinates run from -1 to 1 along sides of unequal length: turn in pixels.
    sides = torch.tensor(images.shape[2:][::-1], dtype=torch.float32, device=device)
    matrix = matrix * (sides[None, None, :] / sides[None, :, None])
    zoom = 1 + _uniform((num_images, 1, 1), config.zoom, generator)
    shift = _uniform((num_images, dims, 1), 2 * config.shift, generator)
    theta = torch.cat([matrix / zoom, shift], dim=2)  # (B, dims, dims + 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def _rotation(num_images: int, dims: int, limit: float, generator: torch.Generator) -> Tensor:
    """(B, dims, dims): one angle in 2D, one about each axis in 3D."""
    eye = torch.eye(dims, device=generator.device).repeat(num_images, 1, 1)
    matrix = eye
    for i, j in [(0, 1)] if dims == 2 else [(0, 1), (0, 2), (1, 2)]:
        angle = _uniform((num_images,), limit, generator)
        turn = eye.clone()
        turn[:, i, i] = turn[:, j, j] = angle.cos()
        turn[:, i, j], turn[:, j, i] = -angle.sin(), angle.sin()
        matrix = matrix @ turn
    return matrix


def _intensity(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    factor = 1 + _uniform((len(images),), config.contrast, generator)
    offset = _uniform((len(images),), config.brightness, generator)
    return torch.addcmul(_per_image(offset, images), images, _per_image(factor, images))
