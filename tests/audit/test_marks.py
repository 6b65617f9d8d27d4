"""Marks know a picture again, and no other; descriptors say how it looks."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pictured_run import drawn

from pipeline.audit.marks import (
    NUMBERS,
    SAME_PICTURE,
    are_flat,
    descriptors,
    marks_of,
    most_alike,
    spectra,
)

Pictures = NDArray[np.uint8]


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return np.stack([drawn(number, 64)[None] for number in range(60)])


def changed(pictures: Pictures, way: str) -> Pictures:
    values = pictures.astype(float)
    noise = np.random.default_rng(1).normal(size=values.shape)
    found = {
        "the same": values,
        "noise": values + 2 * noise,
        "darker": 0.6 * values + 10,
        "flipped": values[..., ::-1],
        "upside down": values[..., ::-1, :],
        "turned": np.rot90(values, axes=(-2, -1)),
        "transposed": np.swapaxes(values, -1, -2),
    }[way]
    return found.round().clip(0, 255).astype(np.uint8)


WAYS = ("the same", "noise", "darker", "flipped", "upside down", "turned", "transposed")


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_is_known_again_whatever_way_round(pictures: Pictures, way: str) -> None:
    found = most_alike(spectra(changed(pictures, way)), marks_of(spectra(pictures)))
    assert found.min() >= SAME_PICTURE


def test_other_pictures_are_not(pictures: Pictures) -> None:
    spectrum = spectra(pictures)
    found = most_alike(spectrum[:30], marks_of(spectrum[30:]))
    assert found.max() < SAME_PICTURE
    assert found.min() > 0.5  # the best of many is never as bad as chance


def test_a_volume_is_compared_as_it_lies(pictures: Pictures) -> None:
    volumes = pictures.reshape(20, 3, 64, 64)
    marks = marks_of(spectra(volumes))
    assert most_alike(spectra(volumes), marks).min() == pytest.approx(1)
    assert most_alike(spectra(changed(volumes, "flipped")), marks).max() < SAME_PICTURE


def test_nothing_is_like_nothing(pictures: Pictures) -> None:
    spectrum = spectra(pictures)
    assert most_alike(spectrum, marks_of(spectrum[:0])).max() == 0
    flat = np.zeros((2, 1, 64, 64), np.uint8)
    assert are_flat(np.concatenate([flat, pictures[:1]])).tolist() == [True, True, False]
    assert np.isfinite(descriptors(flat, spectra(flat))).all()


def test_descriptors_are_small_numbers_that_tell_kinds_of_pictures_apart(
    pictures: Pictures,
) -> None:
    checks = np.indices((64, 64)).sum(axis=0) // 4 % 2 * 255
    other = checks.astype(np.uint8)[None, None]
    of_all = [descriptors(some, spectra(some)) for some in (pictures, other)]
    assert of_all[0].shape == (60, NUMBERS)
    assert np.abs(of_all[0]).max() <= 1
    own = np.linalg.norm(of_all[0][:, None] - of_all[0], axis=2)
    assert np.linalg.norm(of_all[0] - of_all[1], axis=1).min() > own.max()
