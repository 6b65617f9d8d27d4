from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from pipeline.models import LeNet5, initialise
from pipeline.targets import build

torch.set_num_threads(1)
MODELS = sorted((Path(__file__).parents[2] / "conf" / "model").glob("*.yaml"))
ONLY_2D = {"lenet5"}


@pytest.mark.parametrize("size", [(28, 28), (48, 48), (64, 64), (20, 33)])
@pytest.mark.parametrize("num_channels", [1, 3])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_lenet5_gives_logits_for_every_size_from_20_pixels(size, num_channels, num_classes):
    network = LeNet5(num_channels, num_classes)
    assert network(torch.zeros(2, num_channels, *size)).shape == (2, num_classes)


def test_lenet5_has_the_parameters_of_its_layers():
    counted = sum(parameter.numel() for parameter in LeNet5(1, 2).parameters())
    convolutions = (25 + 1) * 6 + (6 * 25 + 1) * 16 + (16 * 9 + 1) * 120
    assert counted == convolutions + (120 + 1) * 84 + (84 + 1) * 2


def test_every_parameter_of_lenet5_learns():
    torch.manual_seed(0)
    network = LeNet5(1, 2)
    logits = network(torch.randn(8, 1, 28, 28))
    nn.functional.cross_entropy(logits, torch.tensor([0, 1] * 4)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def wide_network():
    """Layers wide enough for the SD of their weights to be near the theory's."""
    return nn.Sequential(
        nn.Conv2d(32, 64, 5),
        nn.BatchNorm2d(64),
        nn.Conv3d(16, 48, 3, bias=False),
        nn.Sequential(nn.Linear(300, 200)),
    )


def fans(layer):
    area = layer.weight[0, 0].numel()
    return layer.weight.shape[1] * area, layer.weight.shape[0] * area


@pytest.mark.parametrize("scheme", ["kaiming_normal", "xavier_uniform"])
def test_weights_have_the_spread_of_the_scheme_and_biases_are_zero(scheme):
    torch.manual_seed(0)
    network = wide_network()
    initialise(network, scheme)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d | nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        fan_in, fan_out = fans(layer)
        variance = 2 / fan_in if scheme == "kaiming_normal" else 2 / (fan_in + fan_out)
        assert layer.weight.std().item() == pytest.approx(variance**0.5, rel=0.03)
        assert layer.weight.mean().abs() < 0.1 * variance**0.5
        widest = layer.weight.abs().max().item()
        if scheme == "xavier_uniform":
            assert widest <= (3 * variance) ** 0.5
        else:
            assert widest > 3 * variance**0.5
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("scheme", ["kaiming_normal", "xavier_uniform", "default"])
def test_what_a_scheme_does_not_name_is_kept(scheme):
    torch.manual_seed(0)
    network = wide_network()
    network[1].weight.data.fill_(0.7)
    network[1].bias.data.fill_(0.3)
    before = {name: values.clone() for name, values in network.state_dict().items()}
    initialise(network, scheme)
    changed = {n for n, v in network.state_dict().items() if not torch.equal(v, before[n])}
    drawn = {"0.weight", "0.bias", "2.weight", "3.0.weight", "3.0.bias"}
    assert changed == (set() if scheme == "default" else drawn)


@pytest.mark.parametrize("scheme", ["kaiming_normal", "xavier_uniform"])
def test_the_draws_follow_the_seed(scheme):
    weights = []
    for seed in (0, 0, 1):
        network = LeNet5(1, 2)
        torch.manual_seed(seed)
        initialise(network, scheme)
        weights.append(torch.cat([p.flatten() for p in network.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_there_are_models_to_look_at():
    assert {path.stem for path in MODELS} >= ONLY_2D | {"resnet10"}


@pytest.mark.parametrize(
    ("path", "spatial_dims"),
    [(p, d) for p in MODELS for d in (2, 3) if d == 2 or p.stem not in ONLY_2D],
    ids=lambda value: getattr(value, "stem", str(value)),
)
@pytest.mark.parametrize("num_channels", [1, 3])
def test_every_shipped_model_takes_the_images_and_gives_logits(path, spatial_dims, num_channels):
    size = [32, 40, 24][:spatial_dims]
    facts = {
        "num_channels": num_channels,
        "num_classes": 3,
        "spatial_dims": spatial_dims,
        "spatial_size": size,
    }
    leaf: Any = OmegaConf.to_object(OmegaConf.load(path))
    network = build("model", leaf, facts)
    network.eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, num_channels, *size)).shape == (2, 3)
