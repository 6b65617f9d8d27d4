"""The least that a cross-validation can cost: tensors in memory, and one resampling to augment.

    python benchmarks/speed/bare.py TASK.json [none]

No manifest, plan, checkpoint, metric, journal or tracking; with `none`, no augmentation either.
"""

import math
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(1, str(Path(__file__).parents[2]))

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from speed.loop import class_weights, run_folds, split
from speed.task import FoldRows, Task

EVAL_BATCH = {"cpu": 64, "cuda": 256}


class InMemory:
    """A fold's images, gathered from one array in memory (on a GPU: its own)."""

    def __init__(self, pixels: Tensor, augmented: bool, task: Task, fold: FoldRows) -> None:
        self.task, self.fold, self.augmented = task, fold, augmented
        self.device = torch.device(task.device)
        self.pixels = pixels.to(self.device)
        self.labels = torch.tensor(task.labels, device=self.device)
        fitted = torch.tensor([fold.mean, fold.std], device=self.device)
        self.mean, self.std = fitted.view(2, 1, -1, *[1] * (pixels.ndim - 2))
        self.weights = class_weights(task, fold.train)

    def train(self) -> Iterator[tuple[Tensor, Tensor]]:
        rows = torch.tensor(self.fold.train)
        drawn = torch.multinomial(self.weights, len(rows), replacement=True)
        for batch in split(rows[drawn].to(self.device), self.task.batch_size):
            images = self._gather(batch)
            yield (augment(images, self.task) if self.augmented else images), self.labels[batch]

    def val(self) -> Iterator[Tensor]:
        return self._all(self.fold.val)

    def test(self) -> Iterator[Tensor]:
        return self._all(self.fold.test)

    def _all(self, rows: list[int]) -> Iterator[Tensor]:
        there = torch.tensor(rows, device=self.device)
        return map(self._gather, torch.split(there, EVAL_BATCH[self.task.device]))

    def _gather(self, rows: Tensor) -> Tensor:
        return self.pixels.index_select(0, rows).float().sub_(self.mean).div_(self.std)


def augment(images: Tensor, task: Task) -> Tensor:
    """Flips, rotations about every axis and one zoom, as one resampling; sides of one length or
    small angles, for which a turn in units of the sides is near enough.
    """
    size, dims, device = len(images), images.ndim - 2, images.device
    matrix = torch.eye(dims, device=device).repeat(size, 1, 1)
    limit = math.radians(task.rotate_degrees)
    for i, j in [(0, 1)] if dims == 2 else [(0, 1), (0, 2), (1, 2)]:
        angle = (torch.rand(size, device=device) * 2 - 1) * limit
        turn = torch.eye(dims, device=device).repeat(size, 1, 1)
        turn[:, i, i] = turn[:, j, j] = angle.cos()
        turn[:, i, j], turn[:, j, i] = -angle.sin(), angle.sin()
        matrix = matrix @ turn
    matrix = matrix / (1 + (torch.rand(size, 1, 1, device=device) * 2 - 1) * task.zoom)
    signs = torch.ones(size, dims, device=device)
    for axis in task.flip_axes:  # theta's first column is the last axis
        signs[:, dims - 1 - axis] = torch.randint(2, (size,), device=device) * 2.0 - 1
    theta = torch.cat([matrix * signs[:, None], torch.zeros(size, dims, 1, device=device)], dim=2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def main() -> None:
    task = Task.read(Path(sys.argv[1]))
    pixels = torch.from_numpy(np.load(task.pixels))
    run_folds(task, partial(InMemory, pixels, "none" not in sys.argv[2:]))


if __name__ == "__main__":
    main()
