"""The exponential moving average of a network's weights."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MovingAverage(AveragedModel):
    """As torch's, and saved as it; all weights move in one call, whose lists are made once."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._move: Any = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        super().__init__(network, multi_avg_fn=self._move)
        self._own: list[Tensor] = list(self.module.parameters())
        self._own_buffers = list(self.module.buffers())

    @torch.no_grad()
    def follow(self, weights: list[Tensor], buffers: list[Tensor]) -> None:
        """Move towards a network's weights, in the order of `parameters()`; take its buffers.

        The first time they are taken as they are.
        """
        if self.n_averaged == 0:
            torch._foreach_copy_(self._own, weights)
        else:
            self._move(self._own, weights, self.n_averaged)
        for own, buffer in zip(self._own_buffers, buffers, strict=True):
            own.copy_(buffer)
        self.n_averaged += 1
