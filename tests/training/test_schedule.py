"""The learning rate moves as its schedule says, with a warm-up, and across a resume."""

import math
from functools import cache
from pathlib import Path

import pytest
import torch

from pipeline.commands.door import load_config
from pipeline.config import ConfigError
from pipeline.targets import build
from pipeline.training.schedule import Schedule

EPOCHS, STEPS = 8, 4  # optimizer steps in an epoch
VALUES = [
    0.5,
    0.6,
    0.6,
    0.6,
    0.6,
    0.6,
    0.6,
    0.6,
]  # of the validation metric: nothing new after the 2nd
PEAK = 0.1


@cache
def leaf(name):
    scheduler = TARGETS.get(name, [f"scheduler={name}"])
    overrides = ["manifest=demo", f"training.epochs={EPOCHS}", *scheduler, f"optimizer.lr={PEAK}"]
    return load_config(overrides).scheduler


def made(name, warmup_epochs=0.0):
    parameters = [torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)]
    optimizer = torch.optim.SGD([{"params": [p]} for p in parameters], lr=PEAK)
    facts = {"num_steps": EPOCHS * STEPS, "select_mode": "max"}
    inner = build("scheduler", leaf(name), facts, optimizer=optimizer)
    stepwise = "@num_steps" in leaf(name).values()
    return Schedule(inner, optimizer, round(warmup_epochs * STEPS), stepwise)


def rates(schedule, first=0, end=EPOCHS):
    """The rate of each step of some epochs."""
    found = []
    for epoch in range(first, end):
        for _ in range(STEPS):
            assert len({group["lr"] for group in schedule.optimizer.param_groups}) == 1
            found.append(schedule.optimizer.param_groups[0]["lr"])
            schedule.optimizer.step()
            schedule.after_step()
        schedule.after_epoch(VALUES[epoch])
    return found


def one_cycle(step):
    """Smith and Topin 2018, in torch's form: up over 30 % of the steps, then down, both cosine."""
    top, last = 0.3 * EPOCHS * STEPS - 1, EPOCHS * STEPS - 1
    low, end = PEAK / 25, PEAK / 25 / 1e4
    if step <= top:
        return PEAK + (low - PEAK) / 2 * (1 + math.cos(math.pi * step / top))
    return end + (PEAK - end) / 2 * (1 + math.cos(math.pi * (step - top) / (last - top)))


MILESTONES = "milestones"
"""No file of ours: a class of torch in place of that of scheduler=step."""
TARGETS = {
    MILESTONES: [
        "scheduler=step",
        "~scheduler.step_size",
        "scheduler._target_=torch.optim.lr_scheduler.MultiStepLR",
        "+scheduler.milestones=[2,3,7]",
        "scheduler.gamma=0.5",
    ]
}
COURSES = {
    "constant": lambda *_: PEAK,
    "linear": lambda epoch, _: PEAK * (1 + (0.01 - 1) * epoch / EPOCHS),
    "exponential": lambda epoch, _: PEAK * 0.9**epoch,
    "step": lambda epoch, _: PEAK * 0.3 ** (epoch // 5),
    "plateau": lambda epoch, _: PEAK * (0.3 if epoch > 5 else 1),
    "cosine": lambda epoch, _: PEAK * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2,
    "one_cycle": lambda _, step: one_cycle(step),
    MILESTONES: lambda epoch, _: PEAK * 0.5 ** sum(epoch >= at for at in (2, 3, 7)),
}


def course(name):
    return [COURSES[name](step // STEPS, step) for step in range(EPOCHS * STEPS)]


def test_every_schedule_has_its_course_here():
    files = (Path(__file__).parents[2] / "conf" / "scheduler").glob("*.yaml")
    assert {file.stem for file in files} == COURSES.keys() - TARGETS


@pytest.mark.slow
@pytest.mark.parametrize("name", COURSES)
def test_the_rate_moves_as_the_schedule_says(name):
    assert rates(made(name)) == pytest.approx(course(name))


@pytest.mark.parametrize("name", COURSES)
def test_a_warm_up_rises_to_what_the_schedule_gives(name):
    num = 6  # one epoch and a half
    expected = [lr * min(1, (step + 1) / num) for step, lr in enumerate(course(name))]
    assert rates(made(name, warmup_epochs=1.5)) == pytest.approx(expected)


@pytest.mark.parametrize("warmup_epochs", [0.0, 2.5])
@pytest.mark.parametrize("stop", [1, 2, 4])
@pytest.mark.parametrize("name", COURSES)
def test_it_goes_on_where_it_was_saved(name, stop, warmup_epochs):
    whole = rates(made(name, warmup_epochs))
    before, after = made(name, warmup_epochs), made(name, warmup_epochs)
    found = rates(before, 0, stop)
    after.optimizer.load_state_dict(before.optimizer.state_dict())  # as a checkpoint does
    after.load_state_dict(before.state_dict())
    assert found + rates(after, stop) == whole


def test_a_state_saved_before_there_was_warm_up_is_taken():
    before, after = made("cosine"), made("cosine")
    whole = rates(before, 0, 3)
    after.optimizer.load_state_dict(before.optimizer.state_dict())
    after.load_state_dict(before.inner.state_dict())
    assert whole + rates(after, 3) == pytest.approx(course("cosine"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["scheduler.T_max=30"], "scheduler.T_max=30 outlives training.epochs=6"),
        (["scheduler=step", "scheduler.step_size=7"], "scheduler.step_size=7 outlives"),
        (["scheduler=step", "scheduler.step_size=6"], "set scheduler.step_size to 5 or less"),
        (["scheduler=linear", "scheduler.total_iters=20"], "scheduler.total_iters=20 outlives"),
        (
            ["scheduler=one_cycle", "scheduler.total_steps=7"],
            "7 outlives .*; .*='@num_steps' counts",
        ),
        (
            [*TARGETS[MILESTONES], "scheduler.milestones=[2,6]"],
            r"scheduler.milestones=\[2, 6\] outlives .* set scheduler.milestones to 5 or less",
        ),
        (["scheduler=plateau", "scheduler.patience=4"], "set scheduler.patience to 3 or less"),
        (["training.warmup_epochs=6"], "training.warmup_epochs=6 must be less than"),
    ],
)
def test_what_the_training_ends_before_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(["manifest=demo", "training.epochs=6", *overrides])


def test_the_advised_step_moves_the_rate_and_the_whole_length_suits_a_cosine():
    for override in ("scheduler.step_size=5", "scheduler=cosine", "scheduler=plateau"):
        load_config(["manifest=demo", "training.epochs=6", "scheduler=step", override])
    with pytest.raises(ConfigError, match=r"step_size=1 outlives .*; take more epochs"):
        load_config(
            ["manifest=demo", "training.epochs=1", "scheduler=step", "scheduler.step_size=1"]
        )
    with pytest.raises(ConfigError, match=r"patience=3 outlives .*; take more epochs"):
        load_config(["manifest=demo", "training.epochs=2", "scheduler=plateau"])
