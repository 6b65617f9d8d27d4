"""The networks are those of their papers, and their settings do what they say."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.models import MLP, VGG, AlexNet, GoogLeNet, LeNet5, SmallCNN, ViT
from pipeline.models.googlenet import Inception

ROOM = Path(__file__).parents[2] / "pipeline" / "models"


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("hidden", "num_classes", "expected"), [([4], 2, 26), ([4, 4], 1, 41), ([], 2, 8)]
)
def test_a_perceptron_has_the_parameters_of_the_course(
    hidden: list[int], num_classes: int, expected: int
) -> None:
    """3-4-2 and 3-4-4-1, of three inputs each."""
    assert num_parameters(MLP([3, 1], 1, num_classes, hidden)) == expected


def response(network: nn.Module, row: int, column: int) -> torch.Tensor:
    """Logits of a black image with one bright square there."""
    image = torch.zeros(1, 1, 32, 32)
    image[..., row : row + 4, column : column + 4] = 1
    with torch.no_grad():
        logits: torch.Tensor = network(image)
    return logits


def test_the_small_cnn_keeps_places_that_a_mean_forgets() -> None:
    torch.manual_seed(0)
    small = SmallCNN([32, 32], 1, 2, norm="none").eval()
    mean = VGG(2, 1, 2, [[8]], side=1, hidden=[]).eval()
    for network, is_told in [(small, True), (mean, False)]:
        here, there = response(network, 8, 8), response(network, 16, 20)
        assert torch.allclose(here, there, atol=1e-6) is not is_told


@pytest.mark.parametrize(("size", "num_places"), [([12, 16, 12], 6 * 8 * 6), ([9, 5], 4 * 2)])
def test_the_small_cnn_has_a_weight_for_every_place(size: list[int], num_places: int) -> None:
    network = SmallCNN(size, 1, 3, widths=[4, 8], norm="none")
    convolutions = (3 ** len(size) + 1) * 4 + (4 * 3 ** len(size) + 1) * 8
    assert num_parameters(network) == convolutions + (8 * num_places + 1) * 3


MODULES = [159, 380, 364, 437, 463, 580, 840, 1072, 1388]
"""Parameters of the nine inception modules in table 1 of the paper, in K = 1024; in four rows they
differ from what follows from the channels that the same row lists, by up to 7 %."""


def test_the_modules_of_googlenet_have_the_parameters_of_the_papers_table() -> None:
    with torch.device("meta"):
        network = GoogLeNet(2, 3, 1000)
    modules = [module for module in network.modules() if isinstance(module, Inception)]
    counted = [num_parameters(module) / 1024 for module in modules]
    assert counted == pytest.approx(MODULES, rel=0.08)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("norm", "layer"), [("batch", nn.BatchNorm2d), ("group", nn.GroupNorm)])
def test_a_normalisation_follows_every_convolution(dims: int, norm: str, layer: type) -> None:
    found = {"batch": {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]}.get(norm, layer)
    with torch.device("meta"):
        networks = [
            AlexNet(dims, 1, 2, hidden=[8], norm=norm),
            VGG(dims, 1, 2, [[8], [8, 8]], side=1, hidden=[8], norm=norm),
            GoogLeNet(dims, 1, 2, norm=norm),
            SmallCNN([16] * dims, 1, 2, widths=[8, 8, 8], norm=norm),
        ]
    for network in networks:
        kinds = [type(module) for module in network.modules()]
        convolutions = kinds.count({2: nn.Conv2d, 3: nn.Conv3d}[dims])
        assert kinds.count(found) == convolutions > 2
        assert nn.LocalResponseNorm not in kinds
    with torch.device("meta"):
        papers = [AlexNet(dims, 1, 2, hidden=[8]), GoogLeNet(dims, 1, 2)]
    for network in papers:
        kinds = [type(module) for module in network.modules()]
        assert kinds.count(nn.LocalResponseNorm) == 2
        assert found not in kinds


def dropout_layers(network: nn.Module) -> int:
    return sum(isinstance(module, nn.Dropout) and module.p == 0.25 for module in network.modules())


def test_dropout_stands_where_the_papers_have_it() -> None:
    """After hidden linear layers, before an only one (GoogLeNet, the small CNN), in three places of
    ViT's blocks.
    """
    with torch.device("meta"):
        assert dropout_layers(AlexNet(2, 1, 2, dropout=0.25)) == 2
        assert dropout_layers(VGG(2, 1, 2, [[8]], dropout=0.25)) == 2
        assert dropout_layers(GoogLeNet(2, 1, 2, dropout=0.25)) == 1
        assert dropout_layers(SmallCNN([8, 8], 1, 2, dropout=0.25)) == 1
        assert dropout_layers(MLP([8, 8], 1, 2, [4, 4, 4], dropout=0.25)) == 3
        assert dropout_layers(ViT([32, 32], 1, 2, depth=2, dropout=0.25)) == 1 + 2 * 3


@pytest.mark.parametrize(
    ("name", "layer"), [("tanh", nn.Tanh), ("leaky_relu", nn.LeakyReLU), ("gelu", nn.GELU)]
)
def test_the_non_linearity_of_a_perceptron_is_a_setting(name: str, layer: type) -> None:
    kinds = [type(module) for module in MLP([8, 8], 1, 2, [4, 4], activation=name).modules()]
    assert kinds.count(layer) == 2
    assert nn.ReLU not in kinds


def test_an_unknown_word_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"activation must be one of relu, .*, got 'rleu'"):
        MLP([8, 8], 1, 2, [4], activation="rleu")
    with pytest.raises(ValueError, match=r"norm must be one of none, batch, .*, got 'bacth'"):
        VGG(2, 1, 2, [[8]], norm="bacth")
    with pytest.raises(ValueError, match=r"width \(10\) must be divisible by num_heads \(3\)"):
        ViT([16, 16], 1, 2, width=10, num_heads=3)


def test_the_patches_of_a_transformer_are_in_their_place() -> None:
    """Without positions, images with their patches swapped are the same to it; with them not."""
    torch.manual_seed(0)
    network = ViT([8, 16], 1, 2, patch_size=8, width=12, depth=2, num_heads=3)
    images = torch.randn(3, 1, 8, 16)
    swapped = torch.cat([images[..., 8:], images[..., :8]], dim=3)
    assert not torch.allclose(network(images), network(swapped))
    nn.init.zeros_(network.positions)
    torch.testing.assert_close(network(images), network(swapped))


def test_lenet5_has_the_parameters_of_its_layers() -> None:
    counted = num_parameters(LeNet5(1, 2))
    convolutions = (25 + 1) * 6 + (6 * 25 + 1) * 16 + (16 * 9 + 1) * 120
    assert counted == convolutions + (120 + 1) * 84 + (84 + 1) * 2


@pytest.mark.parametrize("size", [(28, 28), (48, 48), (64, 64), (20, 33), (20, 21, 22)])
@pytest.mark.parametrize("num_channels", [1, 3])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_lenet5_gives_logits_for_every_size_from_20_pixels(
    size: tuple[int, ...], num_channels: int, num_classes: int
) -> None:
    network = LeNet5(num_channels, num_classes, len(size))
    assert network(torch.zeros(2, num_channels, *size)).shape == (2, num_classes)


def test_our_networks_need_no_monai() -> None:
    for path in ROOM.glob("*.py"):
        assert "monai" not in "".join(
            line for line in path.read_text().splitlines() if "import " in line
        )
