"""Over- and under-fitting are named where most folds' curves show them, and nowhere else."""

import numpy as np
import pytest

from pipeline.evaluation.fit import fits

EPOCHS = np.arange(1, 31)
NOISE = 0.015


def falling(
    start: float, end: float, speed: float = 6.0, epochs: np.ndarray = EPOCHS
) -> np.ndarray:
    return end + (start - end) * np.exp(-epochs / speed)


SLOW = np.linspace(0.7, 0.4, 30)
CURVES = {
    "good": (falling(0.8, 0.2), falling(0.8, 0.3), 0.9, None),
    "a gap, but no rise": (falling(0.8, 0.05), falling(0.8, 0.4), 0.99, None),
    "over": (falling(0.8, 0.05), falling(0.9, 0.35, 3) + 0.012 * EPOCHS, 0.99, "over-fitting"),
    "over from the start": (falling(0.8, 0.05), 0.5 + 0.02 * EPOCHS, 0.99, "over-fitting"),
    "rises, as training does": (0.4 + 0.02 * EPOCHS, 0.4 + 0.02 * EPOCHS, 0.8, None),
    "rises, but training fell no further": (
        falling(2.0, 0.2, 2),
        np.maximum(falling(0.8, 0.35, 3), 0.03 * EPOCHS),
        0.95,
        None,
    ),
    "nothing learned": (np.full(30, 0.69), np.full(30, 0.7), 0.52, "under-fitting"),
    "gets worse": (0.7 + 0.01 * EPOCHS, 0.7 + 0.01 * EPOCHS, 0.5, "under-fitting"),
    "all learned in the first epoch": (np.full(30, 0.2), np.full(30, 0.3), 0.95, None),
    "stopped too early": (SLOW, SLOW + 0.1, 0.8, "too few epochs"),
    "only training still falls": (SLOW, falling(0.8, 0.5), 0.8, None),
}


def history(train, val, accuracy, seed=0, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    losses = [scale * (of + rng.normal(0, NOISE, len(of))) + shift for of in (train, val)]
    return {
        epoch: {"train/loss": a, "val/loss": b, "train/image/accuracy": accuracy}
        for epoch, a, b in zip(range(1, len(train) + 1), *losses, strict=True)
    }


def kinds(histories, guess=0.5):
    return [found["kind"] for found in fits(histories, dict.fromkeys(histories, guess))]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", CURVES)
def test_each_kind_is_named_through_noise(name, seed):
    train, val, accuracy, kind = CURVES[name]
    folds = {fold: history(train, val, accuracy, 5 * seed + fold) for fold in range(5)}
    assert kinds(folds) == ([kind] if kind else [])


@pytest.mark.parametrize("name", ["good", "over", "stopped too early"])
def test_the_unit_of_the_loss_does_not_count(name):
    train, val, accuracy, kind = CURVES[name]
    for scale in (0.01, 100.0):
        folds = {f: history(train, val, accuracy, f, scale) for f in range(5)}
        assert kinds(folds) == ([kind] if kind else [])
    below_zero = {f: history(train, val, accuracy, f, shift=-0.8) for f in range(5)}
    assert kinds(below_zero) == ([kind] if kind else [])


@pytest.mark.parametrize("value", [40.0, 0.0])
@pytest.mark.parametrize("epoch", [1, 2, 15, 29, 30])
@pytest.mark.parametrize("name", ["good", "only training still falls"])
def test_one_spike_names_nothing(name, epoch, value):
    train, val, accuracy, _ = CURVES[name]
    for metric in ("train/loss", "val/loss"):
        folds = {fold: history(train, val, accuracy, fold) for fold in range(5)}
        for rows in folds.values():
            rows[epoch][metric] = value
        assert kinds(folds) == []


@pytest.mark.parametrize(("num_over", "named"), [(0, False), (2, False), (3, True), (5, True)])
def test_most_folds_decide_and_are_named(num_over, named):
    folds = {
        fold: history(*CURVES["over" if fold < num_over else "good"][:3], fold) for fold in range(5)
    }
    found = fits(folds, dict.fromkeys(folds, 0.5))
    assert len(found) == named
    for fit in found:
        assert fit["folds"] == list(range(num_over))
        assert fit["note"].startswith(f"over-fitting in {num_over} of 5 folds: after epoch ")
        assert 4 <= int(fit["note"].split("epoch ")[1].split()[0]) <= 14


def test_half_of_the_folds_are_not_most():
    folds = {f: history(*CURVES["over" if f < 2 else "good"][:3], f) for f in range(4)}
    assert kinds(folds) == []


def test_few_epochs_and_baselines_show_nothing():
    train, val, accuracy, _ = CURVES["stopped too early"]
    for num_epochs in (1, 2, 4):
        assert kinds({0: history(train[:num_epochs], val[:num_epochs], accuracy)}) == []
    assert kinds({0: history(train[::6], val[::6], accuracy)}) == ["too few epochs"]
    assert kinds({0: {epoch: {"val/loss": 1 / epoch} for epoch in range(1, 9)}}) == []


def test_an_accuracy_that_guessing_reaches_is_no_learning():
    """Of classes drawn 95 to 5, whoever always says the first is right in 95 %."""
    train, val, *_ = CURVES["nothing learned"]
    for accuracy, expected in ((0.951, ["under-fitting"]), (0.97, [])):
        folds = {fold: history(train, val, accuracy, fold) for fold in range(5)}
        assert kinds(folds, guess=0.95) == expected
