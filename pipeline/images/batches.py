"""Batches: one gather from the packed array, normalised, on the device."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.images.crop import crop_of, middle_of
from pipeline.images.packed import Normalisation, PackedImages

GPU_SHARE = 0.5
"""Largest share of a GPU's free memory that the packed array may take."""


@dataclass(frozen=True)
class BatchSource:
    """The packed array where gathering is cheapest: on the GPU when it fits, else memory-mapped.

    `mean` and `std` are (1, C, 1, ...) on the device.
    """

    pixels: Tensor
    mean: Tensor
    std: Tensor
    device: torch.device
    crop: tuple[int, ...] | None = None
    """Sides of what the network sees of an image, as `augment.crop`."""

    @classmethod
    def open(
        cls,
        images: PackedImages,
        normalisation: Normalisation,
        device: torch.device,
        crop: tuple[int, ...] | None = None,
    ) -> "BatchSource":
        fitted = torch.tensor([normalisation.mean, normalisation.std], device=device)
        mean, std = fitted.view(2, 1, -1, *[1] * len(images.spatial_shape))
        return cls(_placed(images.array, device), mean, std, device, crop)

    @classmethod
    def of(cls, array: NDArray[np.generic], device: torch.device) -> "BatchSource":
        """Of an array (N, ...) that is taken as it is."""
        mean, std = torch.zeros(1, device=device), torch.ones(1, device=device)
        return cls(_placed(array, device), mean, std, device)

    def on_cpu(self) -> "BatchSource":
        """The same source for loader workers, which must not touch a GPU."""
        cpu = torch.device("cpu")
        return BatchSource(self.pixels.cpu(), self.mean.cpu(), self.std.cpu(), cpu, self.crop)

    def gather(self, rows: Tensor) -> Tensor:
        """(B,) row numbers on the CPU -> (B, C, ...) float32 on the device, mean 0 and SD 1."""
        picked = self.pick(rows)
        if self.crop:
            whole = tuple(picked.shape[2:])
            for axis, at in enumerate(middle_of(whole, crop_of(self.crop, whole)), start=2):
                picked = picked.narrow(axis, at.start, at.stop - at.start)
        return self.normalised(picked)

    def pick(self, rows: Tensor) -> Tensor:
        """(B,) row numbers on the CPU -> (B, C, ...) as they are in the cache, on the device."""
        picked = self.pixels.index_select(0, rows.to(self.pixels.device))
        return picked.to(self.device, non_blocking=True)

    def normalised(self, picked: Tensor) -> Tensor:
        """(B, C, ...) of what was picked -> float32, mean 0 and SD 1."""
        return picked.to(torch.float32).sub_(self.mean).div_(self.std)


def _placed(array: NDArray[np.generic], device: torch.device) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # read-only memory; nobody writes into it
        pixels = torch.from_numpy(array)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        pixels = pixels.to(device) if pixels.nbytes < GPU_SHARE * free else pixels
    return pixels
