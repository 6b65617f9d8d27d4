"""Steps that MONAI is not imported for: the very same values, and never without being asked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from pipeline.commands.door import load_config
from pipeline.config import ImagesConfig, needs_monai
from pipeline.images.transforms import steps_of, transforms_of


def resize(*size: int, **more: object) -> dict[str, Any]:
    return {"_target_": "monai.transforms.Resize", "spatial_size": list(size), **more}


def both(config: ImagesConfig, shape: Sequence[int]) -> list[Any]:
    """An image after our own steps, and after MONAI's."""
    pixels = np.random.default_rng(3).normal(100, 60, shape).astype(np.float32)
    affine = torch.eye(4, dtype=torch.float64)
    ours = transforms_of(config)(torch.from_numpy(pixels.copy()), affine)
    composed = Compose(list(steps_of(config)))
    return [ours, composed(MetaTensor(torch.from_numpy(pixels.copy()), affine=affine))]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"transforms": (resize(48, 48),)},
        {"transforms": (resize(31, 7), resize(64, 65))},
        {"size": (48,)},
        {"window": (-20.0, 130.0), "transforms": (resize(20, 30),), "size": (24,)},
        {"percentiles": (2.0, 97.0), "transforms": (resize(96, 50),)},
    ],
)
@pytest.mark.parametrize("shape", [(1, 50, 50), (3, 48, 48), (3, 33, 50), (2, 17, 9)])
def test_our_steps_give_the_very_values_of_monais(
    settings: dict[str, Any], shape: Sequence[int]
) -> None:
    ours, theirs = both(ImagesConfig(**settings), shape)
    assert type(ours) is torch.Tensor, "our own steps were not taken"
    assert np.array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("size", [(12, 10, 8), (30, 20, 25), (16, 15, 14)])
def test_and_of_volumes(size: Sequence[int]) -> None:
    config = ImagesConfig(spatial_dims=3, transforms=(resize(*size),))
    ours, theirs = both(config, (2, 16, 15, 14))
    assert type(ours) is torch.Tensor
    assert np.array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize(
    "settings",
    [
        {"transforms": (resize(24, 24, mode="bilinear"),)},
        {"transforms": (resize(24, -1),)},
        {"transforms": ({"_target_": "monai.transforms.Resize", "spatial_size": 24},)},
        {"transforms": (resize(24, 24), {"_target_": "monai.transforms.ScaleIntensity"})},
        {"size": (24,), "fit": "crop"},
        {"normalise": "image"},
    ],
)
def test_all_others_are_monais_own(settings: dict[str, Any]) -> None:
    made = transforms_of(ImagesConfig(**settings))
    try:
        image = made(torch.ones(1, 30, 20), torch.eye(4, dtype=torch.float64))
    except (RuntimeError, ValueError) as error:  # MONAI refuses one size for two axes
        assert "spatial_size" in repr(error.__cause__ or error)  # noqa: PT017
    else:
        assert isinstance(image, MetaTensor)


@pytest.mark.parametrize(
    ("overrides", "needed"),
    [
        (["model=lenet5", "images=grey64"], False),
        (["model=lenet5", "images=rgb48"], False),
        (["model=vit_small", "images=grey64"], False),
        (["model=resnet10", "images=grey64"], True),
        (["model=lenet5", "images=grey64", "augment=monai"], True),
        (["model=lenet5", "images=ct_soft"], True),
        (["model=lenet5", "images=grey64", "images.normalise=image"], True),
        (["model=lenet5", "images=grey64", "images.size=[32]", "images.fit=crop"], True),
    ],
)
def test_who_needs_monai(overrides: list[str], needed: bool) -> None:
    assert needs_monai(load_config(["manifest=demo", *overrides])) is needed
