"""What the folds settle for a training on everybody: epochs, schedule, candidate."""

import math

import pytest

from pipeline.commands.door import load_config
from pipeline.config import UserError
from pipeline.splits import NO_FOLD, Everybody, Fold
from pipeline.training.job import seed_for
from pipeline.training.settled import (
    CONSTANT,
    Settled,
    doubts,
    settled_candidate,
    settled_epochs,
    settled_validation,
    stretched,
)

SCHEDULERS = ("constant", "cosine", "exponential", "linear", "one_cycle", "plateau", "step")
AUROC = "val/image/auroc"


@pytest.mark.parametrize(
    ("chosen", "epochs"), [([7], 7), ([3, 20, 9], 9), ([4, 5], 5), ([1, 1, 1, 30], 1)]
)
def test_epochs_are_the_median_of_the_folds(chosen: list[int], epochs: int) -> None:
    assert settled_epochs(dict(enumerate(chosen))) == epochs


def test_a_schedule_sees_the_median_of_the_folds_that_got_there() -> None:
    histories: dict[int, dict[int, dict[str, float | None]]] = {
        0: {1: {AUROC: 0.5}, 2: {AUROC: 0.9}},
        1: {1: {AUROC: 0.7}, 2: {AUROC: 0.6}, 3: {AUROC: 0.8}},
        2: {1: {AUROC: 0.6}, 2: {AUROC: None}, 3: {AUROC: 0.6}},
    }
    assert settled_validation(histories, AUROC, 3) == pytest.approx((0.6, 0.75, 0.7))
    settled = Settled(settled_validation(histories, AUROC, 3))
    assert settled.validation_after(1) == pytest.approx(0.6)
    assert settled.validation_after(3) == pytest.approx(0.7)
    assert math.isnan(Settled().validation_after(1))


def test_a_candidate_is_the_best_on_the_mean_of_all_folds() -> None:
    tried = {fold: [{"C": 0.1}, {"C": 1.0}, {"C": 9.0}] for fold in (0, 1)}
    tried[1] = tried[1][:2]  # which has too few images for the third
    histories = {
        0: {1: {AUROC: 0.8}, 2: {AUROC: 0.6}, 3: {AUROC: 1.0}},
        1: {1: {AUROC: 0.5}, 2: {AUROC: 0.75}},
    }
    assert settled_candidate(tried, histories, AUROC, is_smaller_better=False) == {"C": 1.0}
    assert settled_candidate(tried, histories, AUROC, is_smaller_better=True) == {"C": 0.1}
    histories[1][2] = {AUROC: 0.7}  # equally good: the first
    assert settled_candidate(tried, histories, AUROC, is_smaller_better=False) == {"C": 0.1}
    none = {fold: {1: {AUROC: None}} for fold in (0, 1)}
    with pytest.raises(UserError, match="no candidate of the model has val/image/auroc"):
        settled_candidate(tried, none, AUROC, is_smaller_better=False)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_schedule_that_ships_fits_into_any_number_of_epochs(scheduler: str) -> None:
    more = ["training.epochs=20", "training.warmup_epochs=4"]
    config = load_config(["experiment=demo", f"scheduler={scheduler}", *more])
    for num_epochs in range(1, 21):  # the settings refuse what outlives the training
        shorter = stretched(config, num_epochs)
        assert shorter.training.epochs == num_epochs
        assert shorter.training.warmup_epochs == pytest.approx(4 * num_epochs / 20)
    assert stretched(config, 20) == config


def test_what_counts_epochs_keeps_its_share() -> None:
    def schedule(num_epochs: int, *overrides: str) -> dict[str, object]:
        config = load_config(["experiment=demo", "training.epochs=20", *overrides])
        return stretched(config, num_epochs).scheduler

    assert schedule(8, "scheduler=cosine")["T_max"] == 8
    assert schedule(8, "scheduler=linear")["total_iters"] == 8
    assert schedule(8, "scheduler=step")["step_size"] == 2
    assert schedule(8, "scheduler=one_cycle")["total_steps"] == "@num_steps"
    assert schedule(8, "scheduler=plateau")["patience"] == 3
    assert schedule(6, "scheduler=plateau")["patience"] == 3
    assert schedule(5, "scheduler=plateau") == CONSTANT  # could not move the rate in time
    several = ["scheduler=step", "~scheduler.step_size", "++scheduler.milestones=[10,18]"]
    several += ["scheduler._target_=torch.optim.lr_scheduler.MultiStepLR"]
    assert schedule(10, *several)["milestones"] == [5, 9]
    assert schedule(2, *several)["milestones"] == [1]


def test_folds_that_chose_their_last_epoch_raise_a_doubt() -> None:
    assert list(doubts({0: 12, 1: 20, 2: 9}, 20)) == []
    (line,) = doubts({0: 20, 1: 20, 2: 9}, 20)
    assert "2 of 3 folds chose their last epoch, 20" in line
    assert "training.epochs" in line


def test_everybody_are_all_patients_of_the_folds_and_nobody_is_left_to_judge() -> None:
    sides = [frozenset({"a"}), frozenset({"b", "c"}), frozenset({"d"})]
    folds = tuple(Fold(i, sides[i], sides[i - 1], sides[i - 2]) for i in range(3))
    everybody = Everybody(folds)
    assert everybody.of("train") == {"a", "b", "c", "d"}
    assert everybody.of("val") == everybody.of("test") == frozenset()
    assert everybody.index == NO_FOLD


def test_its_draws_are_those_of_no_fold() -> None:
    of_folds = {seed_for(0, fold, 0) for fold in range(200)}
    assert seed_for(0, NO_FOLD, 0) not in of_folds
    assert seed_for(0, NO_FOLD, 0) != seed_for(0, NO_FOLD, 1)
