import numpy as np
import pytest
import torch

from pipeline.config import AugmentConfig, ConfigError
from pipeline.images.batches import BatchSource
from pipeline.images.loader import RandomTransforms

CPU = torch.device("cpu")
FLIP = {"_target_": "monai.transforms.RandFlip", "prob": 0.5, "spatial_axis": 0}
AFFINE = {
    "_target_": "monai.transforms.RandAffine",
    "prob": 1.0,
    "rotate_range": 0.3,
    "padding_mode": "zeros",
}
NOISE = {"_target_": "monai.transforms.RandGaussianNoise", "prob": 1.0, "std": 0.5}
CHOICE = {"_target_": "monai.transforms.OneOf", "transforms": [NOISE, FLIP]}
ROWS = [torch.tensor([4, 0, 7]), torch.tensor([7, 7, 2]), torch.tensor([5])]
ORDER = torch.cat(ROWS).numpy()
PLACES = list(torch.arange(7).split(3))


def source_of(shape=(8, 1, 10, 12)):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    per_channel = (1, shape[1], *[1] * (len(shape) - 2))
    mean, std = torch.full(per_channel, 100.0), torch.full(per_channel, 50.0)
    return BatchSource(torch.from_numpy(pixels), mean, std, CPU)


def transforms_of(steps, num_workers=0, shape=(8, 1, 10, 12)):
    return RandomTransforms(source_of(shape), AugmentConfig(transforms=steps), num_workers)


def epoch(transforms, seed, places=PLACES):
    return [batch.clone() for batch in transforms.batches(ORDER, places, seed)]


def assert_equal(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_batches_are_normalised_and_in_order_when_a_transform_does_nothing():
    still = transforms_of(({**FLIP, "prob": 0.0},))
    for batch, rows in zip(epoch(still, 0), ROWS, strict=True):
        assert isinstance(batch, torch.Tensor)
        assert batch.dtype == torch.float32
        assert torch.equal(batch, source_of().gather(rows))


def test_the_transforms_see_normalised_pixels_of_a_volume():
    shape = (8, 2, 4, 5, 6)
    always = transforms_of(({**FLIP, "prob": 1.0},), shape=shape)
    for batch, rows in zip(epoch(always, 0), ROWS, strict=True):
        assert torch.equal(batch, source_of(shape).gather(rows).flip(2))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_number_of_workers_changes_nothing(num_workers):
    steps = (FLIP, AFFINE, CHOICE)
    alone, helped = transforms_of(steps), transforms_of(steps, num_workers)
    for seed in (11, 12, 11):
        assert_equal(epoch(helped, seed), epoch(alone, seed))


def test_the_same_seed_gives_the_same_epoch_and_another_one_another():
    transforms = transforms_of((AFFINE, NOISE))
    first, second, again = (epoch(transforms, seed) for seed in (11, 12, 11))
    assert_equal(again, first)
    for one, other in zip(first, second, strict=True):
        assert not torch.equal(one, other)


def test_a_sample_that_is_drawn_twice_is_changed_in_two_ways():
    batch = epoch(transforms_of((NOISE,)), 0)[1]
    assert not torch.equal(batch[0], batch[1])


def test_draws_follow_neither_numpys_nor_torchs_global_state():
    transforms = transforms_of((FLIP, AFFINE, NOISE))
    first = epoch(transforms, 5)
    np.random.seed(99)
    torch.manual_seed(99)
    assert_equal(epoch(transforms, 5), first)


def test_a_wrong_argument_of_a_transform_names_its_place():
    wrong = {"_target_": "monai.transforms.RandFlip", "probability": 0.5}
    with pytest.raises(ConfigError, match=r"augment.transforms.1: monai.transforms.RandFlip: .*"):
        transforms_of((FLIP, wrong))
