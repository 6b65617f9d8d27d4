"""The images of an epoch: alike in every batch; crops, cutout and mixup."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from pipeline.config import AugmentConfig, ConfigError
from pipeline.images.augment import Augmented
from pipeline.images.augment.draws import Draws
from pipeline.images.augment.geometry import (
    _moved_at_once,
    _moved_one_by_one,
    draw_matrices,
    draw_moves,
    resampled,
)
from pipeline.images.augment.intensity import _block
from pipeline.images.batches import BatchSource

CPU = torch.device("cpu")
NUM = 150
EVERYTHING = {
    "flip_axes": (0, 1),
    "rotate90": True,
    "rotate_degrees": 20,
    "zoom": 0.1,
    "shift": 0.1,
    "contrast": 0.2,
    "brightness": 0.3,
    "noise": 0.1,
    "crop": (8,),
    "cutout": 0.3,
    "mixup": 0.4,
}
EXACT = {"flip_axes": (0, 1), "rotate90": True, "crop": (8,)}
SHAPES = [(NUM, 2, 12, 10), (NUM, 1, 9, 12, 10)]


def bytes_of(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def source_of(array, crop=None):
    shape = (1, -1, *[1] * (array.ndim - 2))
    mean = torch.arange(1, array.shape[1] + 1).float().view(shape) * 50
    return BatchSource(torch.from_numpy(array), mean, mean / 2, CPU, crop)


def epoch_of(array, rows=None, seed=3, **settings):
    config = AugmentConfig(**settings)
    rows = np.arange(len(array)) if rows is None else rows
    return Augmented(source_of(array, config.crop), config, rows, seed)


def whole(epoch):
    return epoch.at(np.arange(len(epoch.rows)))


# --- the same whatever the batch


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("settings", [EVERYTHING, EXACT], ids=["everything", "exact"])
def test_batches_of_any_size_and_shards_hold_the_same_images(shape, settings):
    rows = np.random.default_rng(1).integers(0, NUM, NUM)  # some more than once
    epoch = epoch_of(bytes_of(shape), rows, **settings)
    expected = epoch.at(np.arange(NUM))
    for size in (1, 7, 64):
        batches = np.split(np.arange(NUM), range(size, NUM, size))
        found = torch.cat([epoch.at(places) for places in batches])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    for world in (2, 3):
        for rank in range(world):
            places = np.arange(NUM)[rank::world]
            shard = torch.cat([epoch.at(some) for some in np.array_split(places, 5)])
            torch.testing.assert_close(shard, expected[rank::world], atol=1e-5, rtol=0)


def test_an_image_that_is_drawn_twice_is_changed_in_two_ways():
    epoch = epoch_of(bytes_of(SHAPES[0]), np.array([4, 4, 4]), rotate_degrees=30)
    for one, other in pairwise(whole(epoch)):
        assert not torch.allclose(one, other, atol=0.05)


def test_one_setting_does_not_change_what_another_draws():
    array = bytes_of(SHAPES[0])
    flipped = whole(epoch_of(array, flip_axes=(0, 1)))
    brighter = whole(epoch_of(array, flip_axes=(0, 1), brightness=0.2))
    offsets = (brighter - flipped).flatten(1)
    torch.testing.assert_close(offsets, offsets[:, :1].expand_as(offsets), atol=1e-5, rtol=0)
    assert offsets[:, 0].unique().numel() > NUM / 2


# --- one affine map


def matrices_of(sides, num, **settings):
    config, draws = AugmentConfig(**settings), Draws(7, np.arange(num))
    moves = draw_moves(config, draws, sides)
    return moves, draw_matrices(config, draws, moves, sides)


def in_pixels(matrix, new, old):
    """Of `grid_sample`'s coordinates -> (A, b): pixel x of the new image is A x + b of the old."""
    dims = len(new)
    turn, move = matrix[::-1, :dims][:, ::-1], matrix[::-1, dims]
    new, old = np.array(new), np.array(old)
    scale = old[:, None] / new[None, :] * turn
    middle = (old - 1) / 2 + move * old / 2
    return scale, middle - scale @ ((new - 1) / 2)


@pytest.mark.parametrize("sides", [(24, 24), (24, 17), (14, 18, 18)])
@pytest.mark.parametrize("crop", [None, (11,)])
def test_the_map_is_that_of_scipy(sides, crop):
    picture = np.random.default_rng(0).normal(size=sides).astype(np.float32)
    names = ("flip_axes", "rotate90", "rotate_degrees", "zoom", "shift")
    moves, matrices = matrices_of(sides, 6, crop=crop, **{name: EVERYTHING[name] for name in names})
    images = torch.from_numpy(picture).expand(6, 1, *sides)
    found = resampled(images, matrices, moves.sides)
    assert found.isfinite().all()
    for one, matrix in zip(found[:, 0].numpy(), matrices, strict=True):
        turn, move = in_pixels(matrix, moves.sides, sides)
        kept = affine_transform(picture, turn, move, moves.sides, order=1, mode="grid-constant")
        np.testing.assert_allclose(one, kept, atol=2e-4)


@pytest.mark.parametrize(
    ("sides", "crop"), [((9, 9), None), ((9, 6), (5,)), ((6, 8, 8), (4, 5, 5))]
)
def test_moves_as_a_map_and_as_a_copy_are_the_same(sides, crop):
    images = torch.randn((64, 2, *sides), generator=torch.Generator().manual_seed(0))
    axes = tuple(range(len(sides)))
    moves, matrices = matrices_of(sides, 64, flip_axes=axes, rotate90=True, crop=crop)
    copied = _moved_one_by_one(images, moves)
    assert copied.shape[2:] == moves.sides
    torch.testing.assert_close(resampled(images, matrices, moves.sides), copied, atol=1e-4, rtol=0)
    assert torch.equal(_moved_at_once(images, moves), copied)


def test_flips_and_turns_come_before_the_shift():
    """As in a chain of passes: the picture is turned, and then moved along its new axes."""
    names = {"flip_axes": (0,), "rotate90": True, "shift": 0.2}
    sides, num = (16, 16), 64
    moves, matrices = matrices_of(sides, num, **names)
    images = torch.randn((num, 1, *sides), generator=torch.Generator().manual_seed(0))
    config, draws = AugmentConfig(shift=0.2), Draws(7, np.arange(num))
    still = draw_moves(config, draws, sides)
    shifted = resampled(
        _moved_one_by_one(images, moves), draw_matrices(config, draws, still, sides), sides
    )
    torch.testing.assert_close(resampled(images, matrices, sides), shifted, atol=1e-4, rtol=0)


def test_a_map_and_its_inverse_give_the_picture_back():
    sides = (40, 32)
    axes = [np.linspace(-2, 2, side) for side in sides]
    smooth = np.exp(-(axes[0][:, None] ** 2) * 4 - (axes[1] - 0.3) ** 2 * 3).astype(np.float32)
    _, there = matrices_of(sides, 5, rotate_degrees=30, zoom=0.2, shift=0.05)
    full = np.concatenate([there, np.broadcast_to([[[0.0, 0.0, 1.0]]], (5, 1, 3))], axis=1)
    back = np.linalg.inv(full)[:, :2]
    images = torch.from_numpy(smooth).expand(5, 1, *sides)
    again = resampled(resampled(images, there, sides), back, sides)
    torch.testing.assert_close(again, images.contiguous(), atol=0.06, rtol=0)


# --- crops


@pytest.mark.parametrize(("sides", "crop"), [((6, 5), (4, 3)), ((5, 6, 4), (3, 5, 4))])
def test_crops_are_exact_and_begin_at_every_place_equally_often(sides, crop):
    array = np.arange(np.prod(sides), dtype=np.float32).reshape(1, 1, *sides)
    config, num = AugmentConfig(crop=crop), 4000
    source = BatchSource.of(array, CPU)
    crops = Augmented(source, config, np.zeros(num, np.int64), 0).at(np.arange(num))
    assert crops.shape == (num, 1, *crop)
    corners, counts = np.unique(crops.flatten(1)[:, 0].numpy(), return_counts=True)
    room = [of - side + 1 for of, side in zip(sides, crop, strict=True)]
    expected = num / np.prod(room)
    assert len(corners) == np.prod(room)
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()
    for image in crops[:200, 0].numpy():
        begin = np.unravel_index(int(image.flat[0]), sides)
        at = tuple(slice(b, b + side) for b, side in zip(begin, crop, strict=True))
        assert np.array_equal(image, array[0, 0][at])


@pytest.mark.parametrize(("sides", "crop", "num_turns"), [((9, 6), (5, 5), 4), ((7, 7), (5, 4), 2)])
def test_it_is_the_crop_that_must_have_equal_sides_for_quarter_turns(sides, crop, num_turns):
    """Of a picture that grows downwards and to the right: each turn puts another corner first."""
    array = np.add.outer(10.0 * np.arange(sides[0]), np.arange(sides[1])).astype(np.float32)
    source = BatchSource.of(array[None, None], CPU)
    config = AugmentConfig(crop=crop, rotate90=True)
    crops = Augmented(source, config, np.zeros(200, np.int64), 0).at(np.arange(200))[:, 0]
    assert crops.shape[1:] == crop
    steps = crops[:, 0, 1] - crops[:, 0, 0]
    assert len(steps.unique()) == num_turns


def test_what_is_evaluated_is_the_middle():
    array = bytes_of((5, 2, 9, 12))
    source = source_of(array, crop=(4, 6))
    expected = source_of(array[:, :, 2:6, 3:9].copy()).gather(torch.arange(5))
    assert torch.equal(source.gather(torch.arange(5)), expected)
    assert torch.equal(source.on_cpu().gather(torch.arange(5)), expected)


def test_a_crop_that_is_turned_shows_what_lies_beside_it_and_no_mean():
    array = np.full((200, 1, 30, 30), 255, np.uint8)
    crops = whole(epoch_of(array, crop=(16,), rotate_degrees=20))
    inside = torch.tensor(255.0 - 50) / 25
    assert (crops == 0).float().mean() < 0.02  # 12 pixels of room: corners only
    assert (crops[:, :, 5:11, 5:11] - inside).abs().max() < 1e-3


@pytest.mark.parametrize("crop", [(13,), (12, 11)])
def test_a_crop_larger_than_the_images_is_refused(crop):
    sides = " x ".join(map(str, crop * 2 if len(crop) == 1 else crop))
    expected = f"augment.crop: {sides} is larger than the images, which are 12 x 10"
    array = bytes_of(SHAPES[0])
    with pytest.raises(ConfigError, match=expected):
        whole(epoch_of(array, crop=crop))
    with pytest.raises(ConfigError, match=expected):
        source_of(array, crop).gather(torch.arange(2))


# --- cutout


@pytest.mark.parametrize("sides", [(20, 30), (10, 12, 14)])
def test_cutout_hides_a_box_with_its_middle_anywhere(sides):
    num, share = 3000, 0.4
    images = np.ones((1, 1, *sides), np.float32)
    source = BatchSource.of(images, CPU)
    found = Augmented(source, AugmentConfig(cutout=share), np.zeros(num, np.int64), 0)
    hidden = found.at(np.arange(num))[:, 0].numpy() == 0
    for axis, side in enumerate(sides):
        others = tuple(1 + i for i in range(len(sides)) if i != axis)
        along = hidden.any(axis=others)  # (N, side)
        longest = round(share * side)
        lengths = along.sum(axis=1)
        assert lengths.max() == longest
        assert lengths.min() >= longest // 2
        assert (np.abs(np.diff(along.astype(int), axis=1)).sum(axis=1) <= 2).all()  # in one piece
        middle = along[:, side // 2].mean()
        assert middle == pytest.approx(longest / side, abs=0.05)
    boxes = np.prod(
        [
            hidden.any(axis=tuple({1, 2, 3}.intersection(range(1, hidden.ndim)) - {1 + i})).sum(
                axis=1
            )
            for i in range(len(sides))
        ],
        axis=0,
    )
    assert np.array_equal(hidden.reshape(num, -1).sum(axis=1), boxes)


def test_cutout_leaves_the_rest_as_it_is():
    array = bytes_of(SHAPES[1])
    plain, cut = whole(epoch_of(array)), whole(epoch_of(array, cutout=0.5))
    assert torch.equal(cut, torch.where(cut == 0, cut, plain))
    assert 0.05 < (cut == 0).float().mean() < 0.2


# --- mixup


def test_an_image_is_mixed_with_the_next_of_the_epoch_and_the_last_with_the_first():
    array = bytes_of(SHAPES[0])
    rows = np.random.default_rng(2).permutation(NUM)
    plain = whole(epoch_of(array, rows, flip_axes=(0,)))
    epoch = epoch_of(array, rows, flip_axes=(0,), mixup=0.4)
    mixing = epoch.mixing(np.arange(NUM))
    assert np.array_equal(mixing.partners, np.roll(np.arange(NUM), -1))
    shares = torch.from_numpy(mixing.shares).float().view(-1, 1, 1, 1)
    expected = shares * plain + (1 - shares) * plain.roll(-1, 0)
    torch.testing.assert_close(whole(epoch), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_those_of_beta_with_the_larger_one_first(alpha):
    places = np.arange(20_000)
    array = np.zeros((len(places), 1, 1, 1), np.uint8)
    shares = epoch_of(array, mixup=alpha).mixing(places).shares
    drawn = np.random.default_rng(0).beta(alpha, alpha, len(places))
    expected = np.maximum(drawn, 1 - drawn)
    assert shares.min() >= 0.5
    assert shares.max() <= 1
    np.testing.assert_allclose(
        np.quantile(shares, [0.1, 0.5, 0.9]), np.quantile(expected, [0.1, 0.5, 0.9]), atol=0.015
    )


def test_nothing_is_mixed_unless_asked():
    assert epoch_of(bytes_of(SHAPES[0]), cutout=0.2).mixing(np.arange(3)) is None


# --- noise


def test_noise_of_an_epoch_is_normal_and_no_two_images_share_it():
    array = np.full((64, 1, 32, 32), 50, np.uint8)
    noise = whole(epoch_of(array, noise=0.3)).flatten(1)
    assert noise.mean().abs() < 0.006
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    kurtosis = float((noise / 0.3).pow(4).mean())
    assert kurtosis == pytest.approx(3, abs=0.15)
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.16
    assert not torch.equal(_block(3, 0.3, 32 * 32, CPU), _block(4, 0.3, 32 * 32, CPU))
    again = whole(epoch_of(array, seed=4, noise=0.3)).flatten(1)
    assert (torch.corrcoef(torch.cat([noise, again]))[:64, 64:]).abs().max() < 0.16
