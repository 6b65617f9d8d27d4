"""The whole ensemble as one network: from prepared images to calibrated probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pipeline.evaluation.recalibration import Calibration
from pipeline.images.crop import crop_of, middle_of
from pipeline.training.job import Output

TINY, NEARLY_1 = float(torch.finfo(torch.float32).tiny), 1 - 2.0**-24
"""Between which probabilities are kept before their logarithm, as in `Calibration`."""


@dataclass(frozen=True)
class Part:
    """What one member of the ensemble does to a batch; mean, SD and shift are (C,), (C,), (K,)."""

    network: nn.Module
    mean: Sequence[float]
    std: Sequence[float]
    shift: Sequence[float]
    calibration: Calibration | None


class MemberGraph(nn.Module):
    """One member: normalisation, network, probabilities, calibration."""

    mean: Tensor
    std: Tensor
    shift: Tensor
    slope: Tensor
    bias: Tensor

    def __init__(self, part: Part, output: Output, spatial_dims: int) -> None:
        super().__init__()
        self.network = part.network
        self.output = output
        self.is_calibrated = part.calibration is not None
        axes = (1, -1, *[1] * spatial_dims)
        self.register_buffer("mean", torch.tensor(list(part.mean), dtype=torch.float32).view(axes))
        self.register_buffer("std", torch.tensor(list(part.std), dtype=torch.float32).view(axes))
        self.register_buffer("shift", torch.tensor(list(part.shift), dtype=torch.float32))
        if (fit := part.calibration) is not None:
            slope = 1 / torch.tensor(fit.temperature, dtype=torch.float64)
            bias = torch.tensor(fit.bias, dtype=torch.float64)
            bias = bias + torch.tensor(fit.shift, dtype=torch.float64)
            self.register_buffer("slope", slope)
            self.register_buffer("bias", bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, ...) float32 -> (B, K) float32."""
        logits = self.network((images - self.mean) / self.std).float() + self.shift
        if self.output == "labels":
            told = logits.sigmoid()
        else:
            told = (logits if self.output == "softmax" else logsigmoid(logits)).softmax(dim=1)
        return self._calibrated(told) if self.is_calibrated else told

    def _calibrated(self, told: Tensor) -> Tensor:
        """In double precision, as `Calibration.apply`."""
        p = told.double()
        if self.output == "labels":
            p = p.clamp(TINY, NEARLY_1)
            odds = self.slope * (p.log() - (1 - p).log()) + self.bias
            return odds.sigmoid().float()
        scores = self.slope * p.clamp(TINY, 1.0).log() + self.bias
        return scores.softmax(dim=1).float()


class EnsembleGraph(nn.Module):
    """(B, C, ...) of the type that the cache has -> (M, B, K) of the members, (B, K) their mean."""

    def __init__(
        self,
        parts: Sequence[Part],
        output: Output,
        shape: Sequence[int],
        crop: tuple[int, ...] | None,
    ) -> None:
        """`shape` is (C, ...) of a prepared image, of which the networks may see the middle."""
        super().__init__()
        whole = tuple(shape[1:])
        self.members = nn.ModuleList([MemberGraph(part, output, len(whole)) for part in parts])
        self.middle = middle_of(whole, crop_of(crop, whole)) if crop else ()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        for axis, at in enumerate(self.middle, start=2):
            images = images.narrow(axis, at.start, at.stop - at.start)
        images = images.to(torch.float32)
        told = torch.stack([member(images) for member in self.members])
        return told, told.mean(dim=0)
