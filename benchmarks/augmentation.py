"""What each augmentation costs: milliseconds per image on one thread, and against the least.

The least is one `affine_grid` and one `grid_sample` of the batch, of images that are normalised.
Every row is repeated in turn with it, in one process; what counts is the processor's time, and of
the repeats the median. `python benchmarks/augmentation.py`
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor

from pipeline.config import AugmentConfig
from pipeline.images.augment import Augmented
from pipeline.images.batches import BatchSource

NUM_REPEATS = 15
SHAPES = {
    "64 x 64": (64, 1, 64, 64),
    "3 x 48 x 48": (64, 3, 48, 48),
    "48 x 48 x 48": (8, 1, 48, 48, 48),
}
"""Of a batch."""


def settings() -> dict[str, dict[str, Any]]:
    """By name: the presets that ship, and what they do not have."""
    presets = {}
    for name in ("histology", "light", "volume"):
        loaded = OmegaConf.to_container(OmegaConf.load(f"conf/augment/{name}.yaml"))
        assert isinstance(loaded, dict)
        presets[f"augment={name}"] = {str(key): value for key, value in loaded.items()}
    return {
        "augment=none": {},
        **presets,
        "flips and quarter turns": {"flip_axes": (0, 1), "rotate90": True},
        "rotation, zoom and shift": {"rotate_degrees": 10, "zoom": 0.1, "shift": 0.05},
        "crop to three quarters": {},
        "contrast and brightness": {"contrast": 0.1, "brightness": 0.1},
        "noise": {"noise": 0.05},
        "cutout": {"cutout": 0.3},
        "mixup": {"mixup": 0.2},
    }


def seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def affine(images: Tensor, theta: Tensor) -> Tensor:
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def main() -> None:
    torch.set_num_threads(1)
    for name, shape in SHAPES.items():
        array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        source = BatchSource.of(array, torch.device("cpu"))
        rows, dims = np.arange(len(array)), len(shape) - 2
        images = source.gather(torch.from_numpy(rows))
        theta = torch.eye(dims, dims + 1).repeat(len(rows), 1, 1)
        theta += 0.05 * torch.randn(theta.shape, generator=torch.Generator().manual_seed(0))
        calls: dict[str, Callable[[], object]] = {"one affine map": partial(affine, images, theta)}
        for what, chosen in settings().items():
            if what.startswith("crop"):
                chosen = {"crop": tuple(side * 3 // 4 for side in shape[2:])}
            drawn = Augmented(source, AugmentConfig(**chosen), rows, seed=0)
            calls[what] = partial(drawn.at, rows)
        found: dict[str, list[float]] = {what: [] for what in calls}
        for _ in range(NUM_REPEATS + 1):
            for what, call in calls.items():
                found[what].append(seconds(call))
        least = median(found["one affine map"][1:])
        print(f"\n| {name} | ms per image | of one affine map |\n|---|---|---|")
        for what, times in found.items():
            middle = median(times[1:])
            print(f"| {what} | {1000 * middle / len(rows):.4f} | {middle / least:.2f} |")


if __name__ == "__main__":
    main()
