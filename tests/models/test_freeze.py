"""Frozen parts get no gradient and stay in evaluation mode; a pattern that does nothing is told."""

import pytest
import torch
from torch import nn

from pipeline.config import ConfigError, UserError
from pipeline.models import freeze


def network() -> nn.Sequential:
    trunk = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    return nn.Sequential(trunk, nn.Flatten(), nn.Linear(16, 2))


@pytest.mark.parametrize(
    ("patterns", "frozen", "modules"),
    [
        ([], set(), []),
        (["0"], {"0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias"}, ["0", "0.0", "0.1"]),
        (["0.1", "2.bias"], {"0.1.weight", "0.1.bias", "2.bias"}, ["0.1"]),
        ([r".*weight$"], {"0.0.weight", "0.1.weight", "2.weight"}, []),
        (["0.0.bias"], {"0.0.bias"}, []),
    ],
)
def test_a_pattern_freezes_what_begins_with_it(
    patterns: list[str], frozen: set[str], modules: list[str]
) -> None:
    made = network()
    whole = freeze(made, patterns)
    assert {n for n, p in made.named_parameters() if not p.requires_grad} == frozen
    assert whole == tuple(made.get_submodule(name) for name in modules)


@pytest.mark.parametrize(
    ("patterns", "problem"),
    [
        (["1"], "training.freeze: '1' matches no parameter; the parts of the network are 0, 1, 2"),
        (["0", "2"], r"training.freeze=\['0', '2'\] leaves no parameter to train"),
    ],
)
def test_a_pattern_that_cannot_be_meant(patterns: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        freeze(network(), patterns)


def test_a_pattern_that_is_none() -> None:
    with pytest.raises(UserError, match=r"training.freeze: '\[' is not a regular expression"):
        freeze(network(), ["["])


def test_what_is_frozen_gets_no_gradient() -> None:
    made = network()
    freeze(made, ["0"])
    made(torch.randn(3, 1, 4, 4)).sum().backward()
    have = {name for name, parameter in made.named_parameters() if parameter.grad is not None}
    assert have == {"2.weight", "2.bias"}
