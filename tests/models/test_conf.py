"""Every file of conf/model and conf/init, found by listing the folders: it is built and learns."""

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf
from torch import Tensor, nn

from pipeline.config import ConfigError, InitConfig
from pipeline.models import MLP, initialise
from pipeline.targets import build

CONF = Path(__file__).parents[2] / "conf"
FILES = sorted((CONF / "model").glob("*.yaml"))
MODELS = [path for path in FILES if "pipeline.baselines." not in path.read_text(encoding="utf-8")]
INITS = sorted((CONF / "init").glob("*.yaml"))
BOTH = [(path, dims) for path in MODELS for dims in (2, 3)]
MOST_TRAINED = 40_000_000
"""Parameters of the largest networks that are trained here; of larger ones the shapes are seen."""
STEP = 0.02
"""A step along the gradient that would take this share of the loss away if that were linear."""


def name_of(value: object) -> str:
    return getattr(value, "stem", str(value))


each_model = pytest.mark.parametrize("path", MODELS, ids=name_of)
each_model_2d_and_3d = pytest.mark.parametrize(("path", "dims"), BOTH, ids=name_of)


def comment_of(path: Path) -> str:
    """The lines that begin a file and say what it is."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return " ".join(line.removeprefix("# ") for line in lines if line.startswith("# "))


def least_side(path: Path) -> int:
    (pixels,) = re.findall(r"from (\d+) pixel", comment_of(path))
    return int(pixels)


def made(path: Path, size: Sequence[int], num_channels: int, num_classes: int) -> nn.Module:
    """As a config has it; what it says to add for volumes is added."""
    leaf: Any = OmegaConf.to_object(OmegaConf.load(path))
    more = re.findall(r"\+model\.(\w+)=(\d+) takes volumes", comment_of(path))
    if len(size) == 3:
        leaf |= {name: int(value) for name, value in more}
    facts = {
        "num_channels": num_channels,
        "num_classes": num_classes,
        "spatial_dims": len(size),
        "spatial_size": list(size),
    }
    network: nn.Module = build("model", leaf, facts)
    return network


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def falling_losses(network: nn.Module, images: Tensor, labels: Tensor, steps: int) -> list[float]:
    """The loss before each step and after the last; dropout is the same in each of them."""
    losses = []
    for step in range(steps + 1):
        torch.manual_seed(0)
        logits = network(images)
        assert logits.shape == (len(images), 2)
        assert logits.isfinite().all()
        loss = nn.functional.cross_entropy(logits, labels)
        losses.append(loss.item())
        if step < steps:
            network.zero_grad()
            loss.backward()
            slopes = [p.grad for p in network.parameters() if p.grad is not None]
            squares = sum(float(slope.square().sum()) for slope in slopes)
            with torch.no_grad():
                for parameter in network.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(parameter.grad, alpha=STEP * losses[-1] / squares)
    return losses


def test_there_are_files_to_look_at() -> None:
    names = {path.stem for path in MODELS}
    assert names >= {"linear", "mlp", "lenet5", "alexnet", "vgg16", "googlenet", "resnet152"}
    assert names >= {"seresnet50", "densenet121", "efficientnet_b0", "vit_b16"}
    assert len(INITS) >= 9


@pytest.mark.parametrize("path", [*MODELS, *INITS], ids=name_of)
def test_the_page_on_models_lists_it(path: Path) -> None:
    page = (CONF.parent / "docs" / "models.md").read_text(encoding="utf-8")
    assert f"| `{path.parent.name}={path.stem}` |" in page


def test_the_page_on_models_says_what_is_true_of_each() -> None:
    """The smallest side, the parameters in millions, and settings that the network takes."""
    page = (CONF.parent / "docs" / "models.md").read_text(encoding="utf-8")
    settings: list[str] = []
    found = set()
    for row in re.findall(r"^\| `model=.*$", page, re.MULTILINE):
        word, _, parameters, side, taken = (cell.strip() for cell in row.strip("|").split("|"))
        path = CONF / "model" / f"{word.strip('`').removeprefix('model=')}.yaml"
        found.add(path)
        assert int(side) == least_side(path), row
        if parameters:
            assert parameters == f"{PAPERS[path.stem] / 1e6:.1f} M", row
        if taken != "as above":
            settings = re.findall(r"`(\w+)`", taken)
        leaf: Any = OmegaConf.load(path)
        classes = get_object(leaf["_target_"]).__mro__[:-1]  # MONAI's pass settings on
        takes = {name for made in classes for name in inspect.signature(made).parameters}
        assert [name for name in settings if name not in takes] == [], row
    assert found == set(MODELS)


@each_model
def test_a_model_says_what_it_is_and_takes_volumes_or_says_that_it_does_not(path: Path) -> None:
    comment = comment_of(path)
    assert re.search(r"\b(19|20)\d\d\b|f\(x, W\)|small", comment), "its paper, or what it is"
    assert re.search(r"\b2D and 3D\b", comment) or "takes volumes" in comment
    least_side(path)


PAPERS = {
    "alexnet": 60_965_224,  # "60 million"
    "densenet121": 7_978_856,  # "7.98M"
    "efficientnet_b0": 5_288_548,  # "5.3M"
    "googlenet": 6_998_552,  # table 1, with biases
    "linear": 150_529_000,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "seresnet50": 28_088_024,  # "28.1M"
    "vgg11": 132_863_336,  # "133M"
    "vgg16": 138_357_544,  # "138M"
    "vit_b16": 86_567_656,  # "86M"
}
"""Of colour images of 224 x 224 and 1,000 classes."""


@pytest.mark.parametrize("word", PAPERS)
def test_a_network_has_the_parameters_of_its_paper(word: str) -> None:
    with torch.device("meta"):
        assert (
            num_parameters(made(CONF / "model" / f"{word}.yaml", [224, 224], 3, 1000))
            == (PAPERS[word])
        )


def test_the_linear_classifier_is_wx_plus_b() -> None:
    network = made(CONF / "model" / "linear.yaml", [4, 5], 2, 3)
    weight, bias = network.parameters()
    images = torch.randn(6, 2, 4, 5)
    torch.testing.assert_close(network(images), images.reshape(6, 40) @ weight.T + bias)


@pytest.mark.slow
@each_model
def test_the_smallest_size_of_a_model_is_the_one_that_its_file_says(path: Path) -> None:
    side = least_side(path)

    def on_meta(size: int) -> None:
        with torch.device("meta"), torch.inference_mode():
            made(path, [size, size], 1, 2)(torch.zeros(2, 1, size, size))

    on_meta(side)
    if side > 1:
        with pytest.raises((RuntimeError, ValueError, ConfigError)):
            on_meta(side - 1)


@pytest.mark.slow
@each_model_2d_and_3d
def test_every_model_gives_logits_and_learns(path: Path, dims: int) -> None:
    side = least_side(path)
    multiple = side if "multiples of" in comment_of(path) else 1
    size = [max(side, 16), max(side, 16) + multiple, max(side, 16)][:dims]
    with torch.device("meta"), torch.inference_mode():
        shown = made(path, size, 2, 5)
        assert shown(torch.zeros(3, 2, *size)).shape == (3, 5)
    if num_parameters(shown) > MOST_TRAINED:
        return
    torch.manual_seed(0)
    network, images = made(path, size, 2, 2), torch.randn(4, 2, *size)
    losses = falling_losses(network.train(), images, torch.tensor([0, 0, 0, 1]), steps=1)
    assert losses[1] < losses[0]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, f"{name} has no part in the logits"


@pytest.mark.parametrize("path", INITS, ids=name_of)
@pytest.mark.parametrize("dims", [2, 3])
def test_every_initialisation_gives_a_network_that_learns(path: Path, dims: int) -> None:
    values: Any = OmegaConf.to_object(OmegaConf.load(path)) or {}
    torch.manual_seed(0)
    network = MLP([4] * dims, 1, 2, hidden=[16, 16], activation="tanh")
    initialise(network, InitConfig(**values).scheme)
    images = torch.randn(4, 1, *[4] * dims)
    losses = falling_losses(network, images, torch.tensor([0, 0, 0, 1]), steps=3)
    assert sorted(losses, reverse=True) == losses
    assert losses[-1] < 0.98 * losses[0]  # of zeros only the last bias learns: class 1 is rare
