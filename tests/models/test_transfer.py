"""Weights of another network are taken over where they fit, and only the head may not fit."""

import pytest
import torch
from torch import Tensor, nn

from pipeline.config import UserError
from pipeline.models import VGG, LeNet5
from pipeline.models.transfer import take_over


def lenet(num_classes: int, seed: int, num_channels: int = 1) -> LeNet5:
    torch.manual_seed(seed)
    return LeNet5(num_channels, num_classes)


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: values.clone() for name, values in network.state_dict().items()}


HEAD = {"classifier.3.weight", "classifier.3.bias"}


@pytest.mark.parametrize("num_classes", [2, 7])
def test_everything_but_a_head_of_another_shape_is_taken_over(num_classes: int) -> None:
    ours, there = lenet(2, 0), lenet(num_classes, 1)
    before, given = weights_of(ours), weights_of(there)
    lines = take_over(ours, given)
    kept = HEAD if num_classes != 2 else set()
    for name, values in ours.state_dict().items():
        assert torch.equal(values, before[name] if name in kept else given[name]), name
    assert lines[0] == f"{10 - len(kept)} of 10 tensors taken over"
    assert lines[1:] == (
        [
            "of another shape there, not taken over: classifier.3.weight 2x84, there 7x84, "
            "classifier.3.bias 2, there 7"
        ]
        if kept
        else []
    )


def test_a_file_without_a_head_or_with_one_of_another_name() -> None:
    given = {name: v for name, v in weights_of(lenet(2, 1)).items() if name not in HEAD}
    assert take_over(lenet(2, 0), given)[1:] == [
        "not in the file: classifier.3.weight, classifier.3.bias"
    ]
    given |= {"head.weight": torch.zeros(5, 84), "head.bias": torch.zeros(5)}
    assert take_over(lenet(2, 0), given)[-1] == "in the file only: head.weight, head.bias"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            weights_of(lenet(2, 1, num_channels=3)),
            r"more than the head \(classifier.3\) does not match: 9 of 10 tensors taken over; of "
            "another shape there, not taken over: features.0.weight 6x1x5x5, there 6x3x5x5",
        ),
        ({}, r"0 of 10 tensors taken over; not in the file: .*, features.6.weight and 5 more"),
        ({f"encoder.{name}": v for name, v in weights_of(lenet(2, 1)).items()}, "0 of 10 tensors"),
    ],
)
def test_more_than_the_head_is_refused_with_a_list(given: dict[str, Tensor], problem: str) -> None:
    network = lenet(2, 0)
    before = weights_of(network)
    with pytest.raises(UserError, match=problem):
        take_over(network, given)
    assert all(torch.equal(v, before[name]) for name, v in network.state_dict().items())


def test_a_deeper_network_is_not_cut_to_fit() -> None:
    """All that the shallow one has is in the file; the file has more than a head besides."""
    shallow = VGG(2, 1, 2, [[4]], side=1, hidden=[4])
    given = weights_of(shallow) | {f"features.{i}.weight": torch.zeros(3) for i in (8, 9)}
    with pytest.raises(UserError, match=r"in the file only: features.8.weight, features.9.w"):
        take_over(shallow, given)
