import math

import numpy as np
import pytest
import torch

from pipeline.config import AugmentConfig
from pipeline.images.augment import Augmented
from pipeline.images.augment.draws import Draws
from pipeline.images.batches import BatchSource

SHAPES = [(12, 2, 20, 14), (12, 2, 20, 14, 10)]
EVERYTHING = {
    "flip_axes": (0, 1),
    "rotate90": True,
    "rotate_degrees": 20,
    "zoom": 0.1,
    "shift": 0.1,
    "contrast": 0.2,
    "brightness": 0.3,
    "noise": 0.1,
}


def augmented(images, seed=0, **settings):
    source = BatchSource.of(images.numpy(), torch.device("cpu"))
    rows = np.arange(len(images))
    return Augmented(source, AugmentConfig(**settings), rows, seed).at(rows)


def random_images(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def distances(shape, centre):
    """Distance in pixels of every pixel of `shape` to `centre`."""
    axes = [torch.arange(side) - float(c) for side, c in zip(shape, centre, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0)


def blob(shape, centre, sigma=3.0):
    return torch.exp(-(distances(shape, centre) ** 2) / (2 * sigma**2))


def centre_of_mass(image):
    axes = torch.meshgrid(*[torch.arange(side).float() for side in image.shape], indexing="ij")
    return torch.stack([(axis * image).sum() / image.sum() for axis in axes])


def middle(shape):
    return torch.tensor([(side - 1) / 2 for side in shape])


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_changes_when_every_setting_is_off(shape):
    images = random_images(shape)
    assert torch.equal(augmented(images), images)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("setting", [*EVERYTHING, "everything"])
def test_the_same_seed_gives_the_same_batch_and_another_one_another(shape, setting):
    images = random_images(shape)
    before = images.clone()
    settings = EVERYTHING if setting == "everything" else {setting: EVERYTHING[setting]}
    once = augmented(images, seed=3, **settings)
    assert once.shape == images.shape
    assert once.dtype == torch.float32
    assert torch.equal(once, augmented(images, seed=3, **settings))
    assert not torch.equal(once, augmented(images, seed=4, **settings))
    assert torch.equal(images, before)


@pytest.mark.parametrize("setting", ["rotate_degrees", "zoom", "shift", "contrast", "noise"])
@pytest.mark.parametrize("dims", [2, 3])
def test_each_image_of_a_batch_draws_for_itself_and_its_channels_go_together(setting, dims):
    sides = (16, 12, 10)[:dims]
    picture = random_images((1, 1, *sides)).expand(5, 2, *([-1] * dims)).contiguous()
    changed = augmented(picture, **{setting: EVERYTHING[setting]})
    for one in range(5):
        if setting != "noise":
            assert torch.equal(changed[one, 0], changed[one, 1])
        for other in range(one):
            assert not torch.allclose(changed[one], changed[other], atol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_flips_are_exact_and_hit_half_of_the_images(dims):
    images = random_images((400, 1, *(4, 6, 5)[:dims]))
    for axis in range(dims):
        changed = augmented(images, flip_axes=(axis,))
        kept = (changed == images).flatten(1).all(dim=1)
        flipped = (changed == images.flip(2 + axis)).flatten(1).all(dim=1)
        assert torch.equal(kept, ~flipped)
        assert 140 < flipped.sum() < 260


def test_flips_of_two_axes_are_drawn_apart():
    images = random_images((400, 1, 4, 6))
    changed = augmented(images, flip_axes=(0, 1))
    for dims in [(), (2,), (3,), (2, 3)]:
        share = (changed == images.flip(dims)).flatten(1).all(dim=1).float().mean()
        assert 0.15 < share < 0.35


@pytest.mark.parametrize("shape", [(400, 2, 7, 7), (400, 2, 3, 7, 7)])
def test_quarter_turns_are_exactly_the_four_of_rot90(shape):
    images = random_images(shape)
    changed = augmented(images, rotate90=True)
    turned = torch.stack(
        [
            (changed == torch.rot90(images, turns, (-2, -1))).flatten(1).all(dim=1)
            for turns in range(4)
        ]
    )
    assert (turned.sum(dim=0) == 1).all()
    assert (turned.sum(dim=1) > 60).all()


@pytest.mark.parametrize("shape", [(200, 1, 6, 8), (200, 1, 8, 6, 7)])
def test_unequal_sides_are_turned_by_180_degrees_only(shape):
    images = random_images(shape)
    changed = augmented(images, rotate90=True)
    kept = (changed == images).flatten(1).all(dim=1)
    turned = (changed == torch.rot90(images, 2, (-2, -1))).flatten(1).all(dim=1)
    assert torch.equal(kept, ~turned)
    assert 60 < turned.sum() < 140


def draw_the_limit(monkeypatch, share=1.0):
    """Every uniform draw is `share` of its limit."""

    def draw(draws, name, num=1):
        return np.full((len(draws), num), (share + 1) / 2)

    monkeypatch.setattr(Draws, "uniform", draw)


@pytest.mark.parametrize("sides", [(64, 64), (48, 96), (96, 48)])
@pytest.mark.parametrize("degrees", [10, 37, 90, 180])
@pytest.mark.parametrize("sense", [-1, 1])
def test_a_rotation_turns_by_its_angle_whatever_the_sides(monkeypatch, sides, degrees, sense):
    draw_the_limit(monkeypatch, sense)
    centre = middle(sides)
    arm = torch.tensor([0.0, 14.0])
    image = blob(sides, centre + arm)
    turned = augmented(image[None, None], rotate_degrees=degrees)[0, 0]
    angle = -sense * math.radians(degrees)
    expected = centre + 14 * torch.tensor([math.sin(angle), math.cos(angle)])
    torch.testing.assert_close(centre_of_mass(turned), expected, atol=0.05, rtol=0)


@pytest.mark.parametrize("sides", [(64, 64), (48, 96)])
def test_a_disc_stays_a_disc(monkeypatch, sides):
    draw_the_limit(monkeypatch)
    disc = torch.sigmoid(15 - distances(sides, middle(sides)))
    turned = augmented(disc[None, None], rotate_degrees=33)[0, 0]
    torch.testing.assert_close(turned, disc, atol=0.04, rtol=0)


@pytest.mark.parametrize("axes", [(0, 1), (0, 2), (1, 2)])
def test_a_volume_turns_about_every_axis_without_shear(axes):
    sides = (24, 40, 32)
    ball = torch.sigmoid(8 - distances(sides, middle(sides)))
    turned = augmented(ball.expand(4, 1, *sides).contiguous(), rotate_degrees=40)
    torch.testing.assert_close(turned, ball.expand(4, 1, *sides), atol=0.06, rtol=0)
    arm = torch.zeros(3)
    arm[axes[0]] = 7.0
    image = blob(sides, middle(sides) + arm, sigma=1.5)
    turned = augmented(image.expand(16, 1, *sides).contiguous(), rotate_degrees=40)
    moved = torch.stack([centre_of_mass(one[0]) for one in turned]) - middle(sides)
    torch.testing.assert_close(moved.norm(dim=1), torch.full((16,), 7.0), atol=0.1, rtol=0)
    assert moved[:, axes[1]].abs().max() > 1


def test_the_angle_is_drawn_up_to_its_limit_in_both_senses():
    sides = (32, 48)
    image = blob(sides, middle(sides) + torch.tensor([0.0, 8.0]))
    turned = augmented(image.expand(300, 1, *sides).contiguous(), rotate_degrees=30)
    moved = torch.stack([centre_of_mass(one[0]) for one in turned]) - middle(sides)
    angles = torch.atan2(moved[:, 0], moved[:, 1]).rad2deg()
    assert 28 < angles.max() < 30.3
    assert -30.3 < angles.min() < -28
    assert angles.mean().abs() < 4


@pytest.mark.parametrize("sides", [(64, 64), (48, 80), (32, 40, 36)])
@pytest.mark.parametrize("share", [1.0, -1.0])
def test_a_zoom_factor_is_the_ratio_of_sizes(monkeypatch, sides, share):
    draw_the_limit(monkeypatch, share)
    image = blob(sides, middle(sides))
    zoomed = augmented(image[None, None], zoom=0.1)[0, 0]
    ratio = float(zoomed.sum() / image.sum())
    assert ratio == pytest.approx((1 + share * 0.1) ** len(sides), rel=0.02)


@pytest.mark.parametrize("sides", [(64, 40), (32, 40, 36)])
def test_a_shift_is_a_fraction_of_each_side(monkeypatch, sides):
    image = blob(sides, middle(sides), sigma=1.5)
    with monkeypatch.context() as patch:
        draw_the_limit(patch)
        moved = centre_of_mass(augmented(image[None, None], shift=0.125)[0, 0]) - middle(sides)
    torch.testing.assert_close(moved.abs(), 0.125 * torch.tensor(sides).float(), atol=0.01, rtol=0)
    shifted = augmented(image.expand(200, 1, *sides).contiguous(), shift=0.125)
    shares = torch.stack([centre_of_mass(one[0]) for one in shifted]) - middle(sides)
    shares = shares.abs() / torch.tensor(sides)
    assert (shares <= 0.1255).all()
    assert (shares.max(dim=0).values > 0.12).all()


def test_what_moves_in_from_outside_is_the_mean(monkeypatch):
    draw_the_limit(monkeypatch)
    shifted = augmented(torch.full((1, 1, 8, 8), 5.0), shift=0.25)[0, 0]
    assert torch.unique(shifted).tolist() == [0.0, 5.0]
    assert (shifted == 5).sum() == 36


@pytest.mark.parametrize("shape", [(2000, 1, 2, 2), (2000, 1, 2, 2, 2)])
def test_contrast_and_brightness_are_uniform_up_to_their_limits(shape):
    ones = torch.ones(shape)
    for settings, middle_value in (({"contrast": 0.4}, 1.0), ({"brightness": 0.4}, 1.0)):
        values = augmented(ones, **settings).flatten(1)
        assert torch.equal(values.amin(dim=1), values.amax(dim=1))
        drawn = values[:, 0] - middle_value
        assert 0.39 < drawn.max() <= 0.4
        assert -0.4 <= drawn.min() < -0.39
        assert drawn.mean().abs() < 0.03
        assert drawn.std() == pytest.approx(0.4 / math.sqrt(3), rel=0.05)
    assert torch.equal(augmented(0 * ones, contrast=0.4), 0 * ones)


def test_contrast_and_brightness_are_drawn_apart():
    images = torch.tensor([0.0, 1.0]).expand(2000, 1, 1, 2).contiguous()
    changed = augmented(images, contrast=0.4, brightness=0.4)[:, 0, 0]
    offset, factor = changed[:, 0], changed[:, 1] - changed[:, 0]
    assert torch.corrcoef(torch.stack([offset, factor]))[0, 1].abs() < 0.07


def test_noise_has_the_asked_sd_and_is_white():
    noise = augmented(torch.zeros(4, 2, 64, 64), noise=0.3)
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    assert noise.mean().abs() < 0.01
    neighbours = torch.stack([noise[..., 1:].flatten(), noise[..., :-1].flatten()])
    assert torch.corrcoef(neighbours)[0, 1].abs() < 0.03
    assert torch.corrcoef(noise.flatten(2).flatten(0, 1)).fill_diagonal_(0).abs().max() < 0.1


def test_no_draw_comes_from_the_global_generator():
    images = random_images((4, 1, 8, 8))
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    augmented(images, **EVERYTHING)
    assert torch.equal(torch.random.get_rng_state(), before)
