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
        num_sharing: int = 1,
    ) -> "BatchSource":
        """`num_sharing`: processes that share a GPU's memory, each with its own copy."""
        fitted = torch.tensor([normalisation.mean, normalisation.std], device=device)
        mean, std = fitted.view(2, 1, -1, *[1] * len(images.spatial_shape))
        return cls(_placed(images.array, device, num_sharing), mean, std, device, crop)

    @classmethod
    def of(cls, array: NDArray[np.generic], device: torch.device) -> "BatchSource":
        """Of an array (N, ...) that is taken as it is."""
        mean, std = torch.zeros(1, device=device), torch.ones(1, device=device)
        return cls(_placed(array, device), mean, std, device)

    @property
    def is_far(self) -> bool:
        """Whether each batch has to be brought to the GPU."""
        return self.device.type == "cuda" and not self.pixels.is_cuda

    def describe(self) -> str:
        """Where the images lie, in a line."""
        size = f"{self.pixels.nbytes / 1e9:.1f} GB of images"
        if self.device.type == "cpu":
            return f"{size}: mapped from the cache"
        place = "gathered from the cache batch by batch" if self.is_far else "kept there"
        return f"{size} for {self.device}: {place}"

    def on_cpu(self) -> "BatchSource":
        """The same source for loader workers, which must not touch a GPU."""
        cpu = torch.device("cpu")
        return BatchSource(self.pixels.cpu(), self.mean.cpu(), self.std.cpu(), cpu, self.crop)

    def gather(self, rows: Tensor) -> Tensor:
        """(B,) row numbers on the CPU -> (B, C, ...) float32 on the device, mean 0 and SD 1."""
        return self.normalised(middle(self.pick(rows), self.crop))

    def pick(self, rows: Tensor) -> Tensor:
        """(B,) row numbers on the CPU -> (B, C, ...) as they are in the cache, on the device."""
        if self.is_far:  # from pinned memory the copy runs beside the network
            shape = (len(rows), *self.pixels.shape[1:])
            pinned = torch.empty(shape, dtype=self.pixels.dtype, pin_memory=True)
            torch.index_select(self.pixels, 0, rows, out=pinned)
            return pinned.to(self.device, non_blocking=True)
        return self.pixels.index_select(0, rows.to(self.pixels.device))

    def normalised(self, picked: Tensor) -> Tensor:
        """(B, C, ...) of what was picked -> float32, mean 0 and SD 1."""
        return picked.to(torch.float32).sub_(self.mean).div_(self.std)


def middle(images: Tensor, crop: tuple[int, ...] | None) -> Tensor:
    """(B, C, ...) -> what is evaluated of each: a view of its central crop."""
    if crop:
        whole = tuple(images.shape[2:])
        for axis, at in enumerate(middle_of(whole, crop_of(crop, whole)), start=2):
            images = images.narrow(axis, at.start, at.stop - at.start)
    return images


def _placed(array: NDArray[np.generic], device: torch.device, num_sharing: int = 1) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # read-only memory; nobody writes into it
        pixels = torch.from_numpy(array)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        fits = pixels.nbytes * num_sharing < GPU_SHARE * free
        pixels = pixels.to(device) if fits else pixels
    return pixels
