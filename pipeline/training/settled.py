"""What the folds' validation parts settle for a training that has none: how long, and by what.

The rule, and why it is this one, stand in docs/final.md. Imports no torch.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median
from typing import Any

from pipeline.config import Config, Target, UserError, schedule_limits

History = Mapping[int, Mapping[str, float | None]]
"""Epoch, from 1 -> its metrics."""
CONSTANT: Target = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0}


@dataclass(frozen=True)
class Settled:
    """What a training on everybody goes by."""

    validation: tuple[float, ...] = ()
    """After each epoch, for a schedule that watches it: the median of the folds'."""
    candidate: Mapping[str, Any] = field(default_factory=dict)
    """Of a baseline, the one that is fitted."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What `final.json` says of all this, beside what training finds out."""

    def validation_after(self, epoch: int) -> float:
        """Epochs count from 1. What watches nothing gets nan where the folds have no value."""
        return self.validation[epoch - 1] if epoch <= len(self.validation) else math.nan


def settled_epochs(chosen: Mapping[int, int]) -> int:
    """The median of the folds' chosen epochs; between two of them, the next whole one."""
    return math.ceil(median(chosen.values()))


def settled_validation(
    histories: Mapping[int, History], select_by: str, num_epochs: int
) -> tuple[float, ...]:
    """Of each epoch the median over the folds that got there: half of them or more did."""
    found = []
    for epoch in range(1, num_epochs + 1):
        values = (history.get(epoch, {}).get(select_by) for history in histories.values())
        known = [value for value in values if value is not None]
        found.append(median(known) if known else math.nan)
    return tuple(found)


def settled_candidate(
    tried: Mapping[int, Sequence[Mapping[str, Any]]],
    histories: Mapping[int, History],
    select_by: str,
    is_smaller_better: bool,
) -> Mapping[str, Any]:
    """The candidate with the best mean validation over folds, the first of equal ones.

    `tried`: fold -> its candidates, in the order of its journal. One that some fold could not try
    (more neighbours than images) is none.
    """
    values: dict[str, list[float]] = {}
    for fold, candidates in tried.items():
        for number, candidate in enumerate(candidates, 1):
            value = histories[fold].get(number, {}).get(select_by)
            if value is not None:
                values.setdefault(json.dumps(candidate), []).append(value)
    means = {name: fmean(of) for name, of in values.items() if len(of) == len(tried)}
    if not means:
        raise UserError(f"no candidate of the model has {select_by} in every fold")
    best = (min if is_smaller_better else max)(means.values())
    found: dict[str, Any] = json.loads(next(name for name, mean in means.items() if mean == best))
    return found


def stretched(config: Config, num_epochs: int) -> Config:
    """The same training in so many epochs: warm-up and schedule keep their shares of it."""
    training = config.training
    share = num_epochs / training.epochs
    shorter = replace(training, epochs=num_epochs, warmup_epochs=training.warmup_epochs * share)
    scheduler = _stretched(config.scheduler, share, num_epochs)
    return replace(config, training=shorter, scheduler=scheduler)


def _stretched(scheduler: Target, share: float, num_epochs: int) -> Target:
    """What counts epochs is scaled. What would not move the rate before the end leaves it."""
    found, limits = dict(scheduler), schedule_limits(num_epochs)
    for name in [name for name in limits if name in found and name != "patience"]:
        if isinstance(found[name], list | tuple):
            ends = [max(1, round(end * share)) for end in found[name]]
            found[name] = [end for end in ends if end <= limits[name]]
        elif isinstance(found[name], int | float):
            found[name] = max(1, round(found[name] * share))
    late = (isinstance(n := found.get(name), int) and n > most for name, most in limits.items())
    return dict(CONSTANT) if any(late) else found


def doubts(chosen: Mapping[int, int], most: int) -> Iterator[str]:
    """Why the settled number of epochs may not be the best, in lines; `most`: training.epochs."""
    at_end = sum(epoch == most for epoch in chosen.values())
    if 2 * at_end >= len(chosen):
        yield (
            f"{at_end} of {len(chosen)} folds chose their last epoch, {most}: they might have gone "
            "on to improve, and so might the final network; a run with more training.epochs would "
            "show it"
        )
