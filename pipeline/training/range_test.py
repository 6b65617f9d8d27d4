"""The range test: the learning rate rises by a factor a step, and the loss is watched.

Smith 2017, Cyclical learning rates for training neural networks. Where the smoothed loss falls
steepest is what the course of fast.ai and its `lr_find` suggest.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from pipeline.arrays import Floats
from pipeline.config import LrFindConfig
from pipeline.evaluation.plots import save_figure
from pipeline.training.job import FoldJob
from pipeline.training.trial import begin_trial, losses_of_steps

SPREAD = 3.0
"""SD of the smoothing, in steps."""
MEMORY = 0.9
"""Of the running mean that tells whether the loss runs away."""
RUNAWAY = 3.0
"""It does when it has risen from its least by so many times the first loss."""
LEAST_FALL = 0.05
"""Share of the first loss that it must fall by for a suggestion."""
NOISE = 5.0
"""Nor may it be noise: so many standard errors of the smoothed loss."""


@dataclass(frozen=True)
class RangeTest:
    """(N,) learning rates, and the loss at each."""

    rates: Floats
    losses: Floats
    smoothed: Floats
    ran_away: bool
    suggestion: float | None
    """Where the loss falls steepest; None where it does not fall."""

    @property
    def setting(self) -> str | None:
        """The suggestion as it is written on a command line."""
        return None if self.suggestion is None else f"optimizer.lr={self.suggestion:.1e}"


def range_test(job: FoldJob) -> RangeTest:
    """Train the fold's network on its train part, at rates from lowest to highest."""
    asked = job.config.lr_find
    learner, part = begin_trial(job)
    steps = losses_of_steps(learner, part)
    rates, losses = rates_of(asked), []
    first = least = mean = math.nan
    ran_away = False
    for number, rate in enumerate(rates):
        for group in learner.optimizer.param_groups:
            group["lr"] = float(rate)
        loss = next(steps)
        if number == 0:
            first = least = mean = loss
        mean = MEMORY * mean + (1 - MEMORY) * loss
        if not math.isfinite(loss) or mean > least + RUNAWAY * abs(first):
            ran_away = True
            break
        least = min(least, mean)
        losses.append(loss)
    return judged(rates[: len(losses)], np.array(losses), ran_away)


def rates_of(asked: LrFindConfig) -> Floats:
    """(N,) each by the same factor larger than the one before."""
    rates: Floats = np.geomspace(asked.lowest, asked.highest, asked.steps)
    return rates


def judged(rates: Floats, losses: Floats, ran_away: bool) -> RangeTest:
    """Smooth the losses, both ways so that nothing lags behind, and look for the steepest fall."""
    smoothed: Floats = gaussian_filter1d(losses, SPREAD, mode="nearest") if len(losses) else losses
    suggestion = None
    if len(losses) >= 2:
        bottom = int(smoothed.argmin())
        fall = smoothed[: bottom + 1].max() - smoothed[bottom]
        window = 2 * math.sqrt(math.pi) * SPREAD  # steps that a smoothed value is the mean of
        error = (losses - smoothed)[: bottom + 1].std() / math.sqrt(window)
        if bottom > 0 and fall > max(LEAST_FALL * abs(smoothed[0]), NOISE * error):
            slopes = np.gradient(smoothed, np.log(rates))[: bottom + 1]
            suggestion = float(rates[slopes.argmin()])
    return RangeTest(rates, losses, smoothed, ran_away, suggestion)


def plot_range_test(found: RangeTest, title: str, path: Path) -> None:
    """Draw the loss over the learning rate, with the suggestion marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(found.rates, found.losses, ".", color="0.7", markersize=4, label="of each step")
    axes.semilogx(found.rates, found.smoothed, color="tab:blue", label="smoothed")
    if found.suggestion is not None:
        axes.axvline(found.suggestion, color="tab:red", linestyle="--", label=found.setting)
    if found.smoothed.size:
        # to the top of what it falls from, or most of a curve that does not fall; what runs away is
        # cut off
        fall = found.smoothed[: int(found.smoothed.argmin()) + 1]
        low, high = found.losses.min(), max(fall.max(), np.quantile(found.smoothed, 0.75))
        room = max(high - low, 1e-3 * max(abs(high), 1e-9))
        axes.set_ylim(low - 0.1 * room, high + 0.5 * room)
    axes.set_xlabel("optimizer.lr")
    axes.set_ylabel("training loss")
    axes.set_title(title, parse_math=False)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    save_figure(figure, path)
