"""The learning rate of every step of a real training is what its schedule says, also resumed."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from system_runs import fold_job, make_cohort
from torch import Tensor

from pipeline.training import checkpoint, fold
from pipeline.training.fold import train_fold
from pipeline.training.job import FoldJob
from pipeline.training.learner import Learner
from pipeline.training.progress import Progress

EPOCHS, PEAK = 4, 0.01


def one_cycle(num_steps: int) -> list[float]:
    """As torch has it, moved by hand."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK, total_steps=num_steps, cycle_momentum=False
    )
    found = []
    for _ in range(num_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cycle.step()
    return found


COURSES: dict[str, Callable[[int], float]] = {
    "constant": lambda _: PEAK,
    "cosine": lambda epoch: PEAK * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2,
    "step": lambda epoch: PEAK * 0.3 ** (epoch // 2),
}


@pytest.mark.parametrize(
    ("name", "warmup_epochs"),
    [("constant", 1.5), ("cosine", 0), ("step", 0), ("one_cycle", 0), ("one_cycle", 1.5)],
)
def test_a_fold_is_trained_at_the_rates_of_its_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, warmup_epochs: float
) -> None:
    settings = [f"scheduler={name}", "optimizer=gradient_descent", f"optimizer.lr={PEAK}"]
    settings += [f"training.epochs={EPOCHS}", f"training.warmup_epochs={warmup_epochs}"]
    settings += ["training.batch_size=4", "augment=none"]  # of 9 images: 4 and 5
    settings += ["scheduler.step_size=2"] * (name == "step")
    job = fold_job(make_cohort(tmp_path / "cohort", 9), tmp_path / "work", *settings)
    each = job.steps_per_epoch
    assert (len(job.rows("train")), each) == (9, 2)
    steps = range(EPOCHS * each)
    of_epochs = COURSES.get(name)
    expected = [of_epochs(s // each) for s in steps] if of_epochs else one_cycle(len(steps))
    num_warm = round(warmup_epochs * each)
    for step in range(num_warm):
        expected[step] *= (step + 1) / num_warm
    assert rates_of(job, monkeypatch) == pytest.approx(expected)


def rates_of(job: FoldJob, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Of the steps of a fold that was stopped after its second epoch, and went on."""
    torch.set_num_threads(1)
    rates: list[float] = []
    step, save = Learner.step, checkpoint.save_epoch

    def kept(learner: Learner) -> Tensor:
        (rate,) = {group["lr"] for group in learner.optimizer.param_groups}
        rates.append(rate)
        return step(learner)

    def stop(learner: Learner, progress: Progress, *rest: Any) -> None:
        save(learner, progress, *rest)
        if progress.num_epochs == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Learner, "step", kept)
    monkeypatch.setattr(fold, "save_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        train_fold(job)
    monkeypatch.setattr(fold, "save_epoch", save)
    train_fold(job)
    return rates
