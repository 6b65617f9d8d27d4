"""How weights begin: the spread of each scheme, its seed, and why zeros never break symmetry."""

import math
from functools import partial
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from pipeline.config import Scheme
from pipeline.models import MLP, LeNet5, initialise

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
DRAWN = [scheme for scheme in SCHEMES if scheme not in ("default", "zeros")]


def wide_network() -> nn.Sequential:
    """Layers wide enough for the SD of their weights to be near the theory's."""
    return nn.Sequential(
        nn.Conv2d(32, 64, 5),
        nn.BatchNorm2d(64),
        nn.Conv3d(16, 48, 3, bias=False),
        nn.Sequential(nn.Linear(300, 200)),
    )


def drawn_layers(scheme: Scheme) -> list[Any]:
    torch.manual_seed(0)
    network = wide_network()
    initialise(network, scheme)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d | nn.Linear)]
    assert len(layers) == 3
    return layers


def fans(layer: Any) -> tuple[int, int]:
    area = layer.weight[0, 0].numel()
    return layer.weight.shape[1] * area, layer.weight.shape[0] * area


@pytest.mark.parametrize(
    ("scheme", "variance", "is_normal"),
    [
        ("normal", lambda _, __: 0.01**2, True),
        ("scaled_normal", lambda num_in, _: 1 / num_in, True),
        ("glorot_uniform", lambda num_in, num_out: 2 / (num_in + num_out), False),
        ("glorot_normal", lambda num_in, num_out: 2 / (num_in + num_out), True),
        ("he_uniform", lambda num_in, _: 2 / num_in, False),
        ("he_normal", lambda num_in, _: 2 / num_in, True),
    ],
)
def test_weights_have_the_spread_of_the_scheme_and_biases_are_zero(
    scheme: Scheme, variance: Any, is_normal: bool
) -> None:
    for layer in drawn_layers(scheme):
        sd = math.sqrt(variance(*fans(layer)))
        assert layer.weight.std().item() == pytest.approx(sd, rel=0.03)
        assert layer.weight.mean().abs() < 0.1 * sd
        widest = layer.weight.abs().max().item()
        if is_normal:
            assert widest > 3 * sd
        else:
            assert widest <= math.sqrt(3) * sd
        assert layer.bias is None or not layer.bias.any()


def test_orthogonal_rows_or_columns() -> None:
    for layer in drawn_layers("orthogonal"):
        matrix = layer.weight.flatten(1)
        product = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
        torch.testing.assert_close(product, torch.eye(len(product)), atol=1e-5, rtol=0)
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_a_scheme_does_not_name_is_kept(scheme: Scheme) -> None:
    torch.manual_seed(0)
    network = wide_network()
    nn.init.constant_(network.get_parameter("1.weight"), 0.7)
    nn.init.constant_(network.get_parameter("1.bias"), 0.3)
    before = {name: values.clone() for name, values in network.state_dict().items()}
    initialise(network, scheme)
    changed = {n for n, v in network.state_dict().items() if not torch.equal(v, before[n])}
    drawn = {"0.weight", "0.bias", "2.weight", "3.0.weight", "3.0.bias"}
    assert changed == (set() if scheme == "default" else drawn)


@pytest.mark.parametrize("scheme", DRAWN)
def test_the_draws_follow_the_seed(scheme: Scheme) -> None:
    weights = []
    for seed in (0, 0, 1):
        network = LeNet5(1, 2)
        torch.manual_seed(seed)
        initialise(network, scheme)
        weights.append(torch.cat([p.flatten() for p in network.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("scheme", "draw"),
    [
        ("he_normal", partial(nn.init.kaiming_normal_, nonlinearity="relu")),
        ("glorot_uniform", nn.init.xavier_uniform_),
    ],
)
def test_the_schemes_of_older_runs_draw_what_they_drew(scheme: Scheme, draw: Any) -> None:
    """They were called kaiming_normal and xavier_uniform."""
    layer, expected = nn.Linear(3, 2), nn.Linear(3, 2)
    torch.manual_seed(3)
    initialise(layer, scheme)
    torch.manual_seed(3)
    draw(expected.weight)
    assert torch.equal(layer.weight, expected.weight)


def exclusive_or() -> tuple[Tensor, Tensor]:
    """What no linear classifier can tell: classes 0 and 1 in opposite corners."""
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    return corners * 2 - 1, torch.tensor([0, 0, 1, 1])


def trained(scheme: Scheme, activation: str) -> tuple[MLP, float]:
    """A perceptron of eight hidden units after 200 steps, and its accuracy."""
    torch.manual_seed(0)
    network = MLP([2, 1], 1, 2, hidden=[8], activation=activation)
    initialise(network, scheme)
    points, labels = exclusive_or()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(200):
        loss = nn.functional.cross_entropy(network(points), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = network(points).argmax(dim=1) == labels
    return network, right.float().mean().item()


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_zeros_never_break_the_symmetry_of_the_units(activation: str) -> None:
    """Units that begin alike get the same gradient, so they stay alike: eight are as good as one.

    One unit tells no more than a linear classifier: exclusive or is never learnt.
    """
    network, accuracy = trained("zeros", activation)
    hidden = network.get_parameter("layers.1.weight")
    assert torch.equal(hidden, hidden[:1].expand_as(hidden))
    assert accuracy <= 0.75
    network, accuracy = trained("scaled_normal", activation)
    assert torch.unique(network.get_parameter("layers.1.weight"), dim=0).shape == (8, 2)
    assert accuracy == 1.0
