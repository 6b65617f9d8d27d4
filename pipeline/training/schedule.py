"""The learning rate's course: warm-up first, then the schedule that the config names."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

WARMUP = "warmup"
"""In a saved state, beside what the schedule itself saves."""


class Schedule:
    """Moves the optimizer's learning rates after its steps and epochs.

    While it warms up, a step's rates are a growing share of what the schedule gives: 1/n, 2/n, ...
    Without warm-up the schedule's own rates are left as they are.
    """

    def __init__(
        self,
        inner: LRScheduler | ReduceLROnPlateau,
        optimizer: Optimizer,
        num_warmup_steps: int,
        is_stepwise: bool,
    ) -> None:
        """`is_stepwise`: the schedule moves after every optimizer step, not after every epoch."""
        self.inner = inner
        self.optimizer = optimizer
        self.num_warmup_steps = num_warmup_steps
        self.is_stepwise = is_stepwise
        self.num_steps = 0
        self.lrs = self._shown()
        """What the schedule gives, without warm-up."""
        self._warm_up()

    def after_step(self) -> None:
        self.num_steps += 1
        if self.is_stepwise:
            self._move()
        elif self.num_steps <= self.num_warmup_steps:
            self._warm_up()

    def after_epoch(self, select_value: float) -> None:
        if not self.is_stepwise:
            self._move(select_value)

    def state_dict(self) -> dict[str, Any]:
        own = {"num_steps": self.num_steps, "lrs": self.lrs}
        return {**self.inner.state_dict(), WARMUP: own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Also takes the state of a schedule alone, as it was saved before there was warm-up."""
        own = state.get(WARMUP, {"num_steps": 0, "lrs": self._shown()})
        self.inner.load_state_dict({name: of for name, of in state.items() if name != WARMUP})
        self.num_steps, self.lrs = own["num_steps"], list(own["lrs"])

    def _move(self, *value: float) -> None:
        self._show(self.lrs)  # schedules go on from what they find
        if isinstance(self.inner, ReduceLROnPlateau):
            self.inner.step(*value)
        else:
            self.inner.step()
        self.lrs = self._shown()
        self._warm_up()

    def _warm_up(self) -> None:
        if self.num_steps < self.num_warmup_steps:
            share = (self.num_steps + 1) / self.num_warmup_steps
            self._show([lr * share for lr in self.lrs])
        elif self.num_steps == self.num_warmup_steps:
            self._show(self.lrs)

    def _shown(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _show(self, lrs: list[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr
