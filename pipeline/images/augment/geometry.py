"""Flips, turns, rotation, zoom, shift and crop: one affine map per image, one pass over a batch.

Where only flips, quarter turns and a crop are asked for, pixels are moved and nothing is
interpolated.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.arrays import Bools, Floats, Ints
from pipeline.config import AugmentConfig
from pipeline.images.augment.draws import Draws
from pipeline.images.crop import crop_of


@dataclass(frozen=True)
class Moves:
    """What moves pixels and keeps their values: a crop, then flips, then a transposition."""

    corners: Ints
    """(B, dims) where each crop begins."""
    sides: tuple[int, ...]
    """Of the crop."""
    flips: Bools
    """(B, dims)"""
    transposed: Bools
    """(B,) whether the last two axes change places; only where they are equal."""


def interpolates(config: AugmentConfig) -> bool:
    return bool(config.rotate_degrees or config.zoom or config.shift)


def draw_moves(config: AugmentConfig, draws: Draws, whole: tuple[int, ...]) -> Moves:
    """For images whose sides are `whole`.

    A turn by 90 degrees is a flip and a transposition, by 180 degrees two flips; with unequal sides
    only these are drawn.
    """
    dims = len(whole)
    sides = crop_of(config.crop, whole)
    corners = np.zeros((len(draws), dims), np.int64)
    if sides != whole:
        room = np.array(whole) - np.array(sides) + 1
        corners = (draws.uniform("crop", dims) * room).astype(np.int64)
    flips = np.zeros((len(draws), dims), bool)
    if config.flip_axes:
        axes = list(config.flip_axes)
        flips[:, axes] = draws.uniform("flip_axes", dims)[:, axes] < 0.5
    transposed = np.zeros(len(draws), bool)
    if config.rotate90:
        turns = (draws.uniform("rotate90")[:, 0] * 4).astype(np.int64)
        if sides[-1] != sides[-2]:
            turns = turns // 2 * 2
        transposed = turns % 2 == 1
        flips[:, -1] ^= (turns == 1) | (turns == 2)
        flips[:, -2] ^= (turns == 2) | (turns == 3)
    return Moves(corners, sides, flips, transposed)


def moved(images: Tensor, moves: Moves) -> Tensor:
    """(B, C, ...) of any type -> (B, C, *moves.sides), a copy.

    A processor copies each image once, in its new order; on a GPU a pass over the batch costs less
    than a call for each image.
    """
    move = _moved_one_by_one if images.device.type == "cpu" else _moved_at_once
    return move(images, moves)


def _moved_one_by_one(images: Tensor, moves: Moves) -> Tensor:
    pixels = images.numpy()
    found: NDArray[Any] = np.empty((*pixels.shape[:2], *moves.sides), pixels.dtype)
    # NumPy has views that run backwards, torch has not
    last = np.array(moves.sides) - 1
    begin = np.where(moves.flips, moves.corners + last, moves.corners).tolist()
    end = np.where(moves.flips, moves.corners - 1, moves.corners + last + 1).tolist()
    step = np.where(moves.flips, -1, 1).tolist()
    for one, is_transposed in enumerate(moves.transposed.tolist()):
        axes = [
            slice(b, None if e < 0 else e, s)  # before the first pixel there is no number
            for b, e, s in zip(begin[one], end[one], step[one], strict=True)
        ]
        view = pixels[one][:, *axes]
        found[one] = view.swapaxes(-1, -2) if is_transposed else view
    return torch.from_numpy(found)


def _moved_at_once(images: Tensor, moves: Moves) -> Tensor:
    images = cropped(images, moves)
    shape, device = (-1, *[1] * (images.ndim - 1)), images.device
    for axis, chosen in enumerate(moves.flips.T):
        if chosen.any():
            at = torch.from_numpy(chosen.copy()).to(device, non_blocking=True).view(shape)
            images = torch.where(at, images.flip(2 + axis), images)
    if moves.transposed.any():
        at = torch.from_numpy(moves.transposed).to(device, non_blocking=True).view(shape)
        images = torch.where(at, images.transpose(-2, -1), images)
    return images


def cropped(images: Tensor, moves: Moves) -> Tensor:
    """(B, C, ...) -> (B, C, *moves.sides), in one pass."""
    if images.shape[2:] == moves.sides:
        return images
    windows = images
    for axis, side in enumerate(moves.sides):
        windows = windows.unfold(2 + axis, side, 1)  # (B, C, corners..., sides...)
    corners = torch.from_numpy(moves.corners).to(images.device, non_blocking=True).unbind(dim=1)
    at = torch.arange(len(images), device=images.device)
    return windows.movedim(1, 1 + len(moves.sides))[(at, *corners)]


def draw_matrices(
    config: AugmentConfig, draws: Draws, moves: Moves, whole: tuple[int, ...]
) -> Floats:
    """(B, dims, dims + 1) from the places of the new pixels to those of the old.

    In the coordinates of `grid_sample`: axes from the last to the first, from -1 to 1 along each
    side. First the moves, then rotation and zoom about the middle, then the shift along each axis.
    """
    sides = np.array(moves.sides[::-1], float)
    dims = len(sides)
    limit, num_angles = math.radians(config.rotate_degrees), 1 if dims == 2 else 3
    matrix = _rotation(draws.within(limit, "rotate_degrees", num_angles), dims)
    matrix *= sides[None, None, :] / sides[None, :, None]  # turn in pixels, sides are unequal
    matrix /= 1 + draws.within(config.zoom, "zoom")[:, :, None]
    shift = draws.within(2 * config.shift, "shift", dims)[:, :, None]
    theta = np.concatenate([matrix, shift], axis=2)
    swapped = theta[moves.transposed]
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    theta[moves.transposed] = swapped
    theta *= np.where(moves.flips, -1.0, 1.0)[:, ::-1, None]
    if moves.sides != whole:
        all_of = np.array(whole[::-1], float)
        theta *= (sides / all_of)[:, None]
        theta[:, :, -1] += (2 * moves.corners[:, ::-1] + sides) / all_of - 1
    return theta


def _rotation(angles: Floats, dims: int) -> Floats:
    """(B, A) angles -> (B, dims, dims): one in 2D, one about each axis in 3D."""
    matrix = np.broadcast_to(np.eye(dims), (len(angles), dims, dims)).copy()
    planes = [(0, 1)] if dims == 2 else [(0, 1), (0, 2), (1, 2)]
    for angle, (i, j) in zip(angles.T, planes, strict=True):
        turn = np.broadcast_to(np.eye(dims), matrix.shape).copy()
        turn[:, i, i] = turn[:, j, j] = np.cos(angle)
        turn[:, i, j], turn[:, j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def resampled(images: Tensor, matrices: Floats, sides: tuple[int, ...]) -> Tensor:
    """(B, C, ...) float32 -> (B, C, *sides), linearly; what comes from outside is 0."""
    theta = torch.from_numpy(matrices.astype(np.float32)).to(images.device, non_blocking=True)
    return F.grid_sample(images, _grid(theta, sides), padding_mode="zeros", align_corners=False)


def _grid(theta: Tensor, sides: tuple[int, ...]) -> Tensor:
    """(B, *sides, dims), as `affine_grid` gives it, in less time: a sum of one term per axis."""
    dims, by_coordinate = len(sides), theta.transpose(0, 1)  # (dims, B, dims + 1)
    grid = by_coordinate[:, :, -1].reshape(dims, -1, *[1] * dims)
    for axis, side in enumerate(sides):
        middles = torch.linspace(1 / side - 1, 1 - 1 / side, side, device=theta.device)
        term = by_coordinate[:, :, dims - 1 - axis, None] * middles  # (dims, B, side)
        grid = grid + term.view(dims, -1, *[1] * axis, side, *[1] * (dims - 1 - axis))
    return grid.movedim(0, -1)
