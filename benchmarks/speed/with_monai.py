"""The same cross-validation with MONAI's data sets and random transforms, as its guides show it.

    python benchmarks/speed/with_monai.py TASK.json Dataset
    python benchmarks/speed/with_monai.py TASK.json CacheDataset [apart]

`Dataset` reads every image in every epoch. `CacheDataset` keeps what the deterministic transforms
have made of a fold's images in memory. The random transforms run for each sample; rotation and
zoom are one `RandAffine`, or, `apart`, `RandRotate` and `RandZoom`, as most examples have them. The
loop is that of `bare.py`.
"""

import math
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(1, str(Path(__file__).parents[2]))

import monai.data
import torch
from monai import transforms
from torch import Tensor
from torch.utils.data import DataLoader, WeightedRandomSampler

from speed.loop import class_weights, fold_shape, run_folds
from speed.task import FoldRows, Task

EVAL_BATCH = {"cpu": 64, "cuda": 256}


class Loaded:
    """A fold's images through `DataLoader`s."""

    def __init__(self, kind: str, apart: bool, task: Task, fold: FoldRows) -> None:
        self.task, self.device = task, torch.device(task.device)
        fixed, random = _fixed(task, fold), _random(task, apart)
        weights = class_weights(task, fold.train)
        drawn = WeightedRandomSampler(weights.tolist(), len(weights))
        self._train = self._loader(kind, fold.train, [*fixed, *random], drawn, task.batch_size)
        size = EVAL_BATCH[task.device]
        self._val = self._loader(kind, fold.val, fixed, None, size)
        self._test = self._loader(kind, fold.test, fixed, None, size)

    def train(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self._train:
            yield self._moved(batch["image"]), self._moved(batch["label"])

    def val(self) -> Iterator[Tensor]:
        return (self._moved(batch["image"]) for batch in self._val)

    def test(self) -> Iterator[Tensor]:
        return (self._moved(batch["image"]) for batch in self._test)

    def _moved(self, values: Tensor) -> Tensor:
        return values.to(self.device, non_blocking=True)

    def _loader(
        self,
        kind: str,
        rows: list[int],
        steps: list[Any],
        sampler: WeightedRandomSampler | None,
        size: int,
    ) -> "DataLoader[dict[str, Tensor]]":
        task, compose = self.task, transforms.Compose(steps)
        samples = [{"image": task.files[row], "label": task.labels[row]} for row in rows]
        if kind == "CacheDataset":
            images = monai.data.CacheDataset(samples, compose, num_workers=1, progress=False)
        else:
            images = monai.data.Dataset(samples, compose)
        return DataLoader(
            images,
            batch_size=size,
            sampler=sampler,
            num_workers=task.loader_workers,
            pin_memory=task.device == "cuda",
            persistent_workers=task.loader_workers > 0,
        )


def _fixed(task: Task, fold: FoldRows) -> list[Any]:
    """Reading, resizing, normalising: what never differs."""
    grey = [transforms.Lambdad("image", _first_channel)] if task.num_channels == 1 else []
    return [
        transforms.LoadImaged("image"),
        transforms.EnsureChannelFirstd("image"),
        *grey,
        *(getattr(transforms, name)("image", **arguments) for name, arguments in task.transforms),
        transforms.NormalizeIntensityd(
            "image", subtrahend=fold.mean, divisor=fold.std, channel_wise=True
        ),
        transforms.ToTensord("image", track_meta=False),
    ]


def _random(task: Task, apart: bool) -> list[Any]:
    flips = [transforms.RandFlipd("image", prob=0.5, spatial_axis=a) for a in task.flip_axes]
    moves = _apart(task) if apart else [_affine(task)]
    return [*flips, *moves, transforms.ToTensord("image", track_meta=False)]


def _affine(task: Task) -> Any:
    dims = len(fold_shape(task))
    turn = math.radians(task.rotate_degrees)
    return transforms.RandAffined(
        "image",
        prob=1.0,
        rotate_range=[turn] * (1 if dims == 2 else dims),
        scale_range=[task.zoom] * dims,
        padding_mode="zeros",
        cache_grid=True,
        spatial_size=fold_shape(task),
    )


def _apart(task: Task) -> list[Any]:
    turn, zoom = math.radians(task.rotate_degrees), task.zoom
    return [
        transforms.RandRotated(
            "image", range_x=turn, range_y=turn, range_z=turn, prob=1.0, padding_mode="zeros"
        ),
        transforms.RandZoomd(
            "image", min_zoom=1 - zoom, max_zoom=1 + zoom, prob=1.0, padding_mode="constant"
        ),
    ]


def _first_channel(image: Any) -> Any:
    return image[:1]


if __name__ == "__main__":
    run_folds(Task.read(Path(sys.argv[1])), partial(Loaded, sys.argv[2], "apart" in sys.argv[3:]))
