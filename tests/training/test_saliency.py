"""Grad-CAM: it finds what a network has learned, and changes when the weights are random."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from monai.networks.nets import resnet10
from torch import Tensor, nn

from pipeline.config import UserError
from pipeline.models import MLP, LeNet5, SmallCNN, ViT
from pipeline.training.saliency import Maps, alikeness, check_layer, randomised, target_layer

SIZE = 20
resnet = partial(resnet10, n_input_channels=1, num_classes=2, conv1_t_size=3)


def squares(num: int, seed: int) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
    """Noise, half of it with a bright square of 6 x 6 somewhere; labels; where its corner is."""
    generator = np.random.default_rng(seed)
    pixels = generator.normal(0, 1, (num, 1, SIZE, SIZE)).astype(np.float32)
    corners = [(int(y), int(x)) for y, x in generator.integers(1, SIZE - 7, (num, 2))]
    for row in range(0, num, 2):
        y, x = corners[row]
        pixels[row, 0, y : y + 6, x : x + 6] += 2.5
    return torch.from_numpy(pixels), 1 - torch.arange(num) % 2, corners


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """A small network that tells the squares, wherever they are."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
        nn.MaxPool2d(2),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)),
    )
    images, labels, _ = squares(64, 0)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(50):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1
    return network.eval()


def test_it_shows_the_square_and_not_with_random_weights(trained: nn.Module) -> None:
    images, _, corners = squares(16, 1)
    layer = target_layer(trained, images[:1])
    maps, others = Maps(trained, layer), [Maps(randomised(trained, s), layer) for s in range(3)]
    shares, alike = [], []
    for row in range(0, 16, 2):
        (y, x), image = corners[row], images[[row]]
        found = maps.of(image, 1)
        assert found.shape == (SIZE, SIZE)
        assert found.min() >= 0
        shares.append(found[y : y + 6, x : x + 6].sum() / found.sum())
        alike.append(alikeness(found, [other.of(image, 1) for other in others]))
        assert alikeness(found, [maps.of(image, 1)]) == pytest.approx(1)
    assert np.median(shares) > 4 * 36 / SIZE**2
    known = [value for value in alike if value is not None]
    assert len(known) >= 4
    assert np.median(known) < 0.5


def test_weights_are_drawn_anew_and_the_network_itself_stays(trained: nn.Module) -> None:
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    state = torch.random.get_rng_state()
    one, other = randomised(trained, 0), randomised(trained, 1)
    Maps(trained, "0").of(torch.zeros(1, 1, SIZE, SIZE), 1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    for name in ("0.weight", "4.weight", "9.weight"):
        assert not torch.allclose(one.state_dict()[name], before[name], atol=1e-3)
        assert not torch.allclose(one.state_dict()[name], other.state_dict()[name], atol=1e-3)
    assert trained[2].inplace is True  # type: ignore[index]
    again = randomised(trained, 0).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in one.state_dict().items())


def test_frozen_layers_have_a_map(trained: nn.Module) -> None:
    image = squares(2, 3)[0][:1]
    expected = Maps(trained, "6").of(image, 1)
    trained.requires_grad_(False)
    np.testing.assert_allclose(Maps(trained, "6").of(image, 1), expected)
    trained.requires_grad_(True)


@pytest.mark.parametrize(
    ("make", "shape", "layer"),
    [
        (lambda: LeNet5(in_channels=1, num_classes=2), (64, 64), None),
        (lambda: resnet(spatial_dims=2), (64, 64), "layer4"),
        (lambda: resnet(spatial_dims=2), (32, 32), "layer3"),  # layer4 has 2 x 2 places
        (lambda: resnet(spatial_dims=3), (32, 32, 32), "layer3"),
        (lambda: SmallCNN((12, 16, 12), 1, 2), (12, 16, 12), "features"),
    ],
)
def test_the_last_layer_with_places_is_found(
    make: Callable[[], nn.Module], shape: tuple[int, ...], layer: str | None
) -> None:
    network, image = make().eval(), torch.randn(1, 1, *shape)
    found = target_layer(network, image)
    assert layer in (None, found)
    assert Maps(network, found).of(image, 0).shape == shape


@pytest.mark.parametrize(
    "network",
    [
        MLP((SIZE, SIZE), 1, 2),
        ViT((SIZE, SIZE), 1, 2, patch_size=5, width=8, depth=1, num_heads=2),
        nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 2)),
    ],
)
def test_networks_without_places_are_named(network: nn.Module) -> None:
    with pytest.raises(UserError, match="vision transformer"):
        target_layer(network, torch.zeros(1, 1, SIZE, SIZE))


def test_another_layer_can_be_named(trained: nn.Module) -> None:
    image = torch.zeros(1, 1, SIZE, SIZE)
    check_layer(trained, image, "3")
    for wrong in ("9", "layer4", ""):
        with pytest.raises(UserError, match=r"layer=.*: 0, 1, 2, 3"):
            check_layer(trained, image, wrong)


def test_blank_maps_have_no_correlation() -> None:
    blank, varied = np.zeros((4, 4), np.float32), np.arange(16, dtype=np.float32).reshape(4, 4)
    assert alikeness(blank, [varied]) is None
    assert alikeness(varied, [blank]) is None
    assert alikeness(varied, [blank, varied, -varied]) == pytest.approx(0)
