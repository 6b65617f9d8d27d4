"""Features of images, against what they are defined as."""

import numpy as np
import pytest
from scipy import stats

from pipeline.baselines.features import KINDS, features, limits_of
from pipeline.config import FeaturesConfig

RNG = np.random.default_rng(0)


def of(array, kind, limits=None, rows=None, **settings):
    rows = np.arange(len(array)) if rows is None else rows
    config = FeaturesConfig(kind=kind, **settings)
    return features(config, array, rows, limits or limits_of(array, rows))


def test_pixels_are_means_of_cells():
    array = RNG.integers(0, 256, (3, 2, 8, 12)).astype(np.uint8)
    found = of(array, "pixels", size=4).reshape(3, 2, 4, 4)
    np.testing.assert_allclose(found, array.reshape(3, 2, 4, 2, 4, 3).mean(axis=(3, 5)))
    whole = of(array, "pixels", size=100)
    np.testing.assert_array_equal(whole, array.reshape(3, -1))
    assert of(array[:, :, :7, :5], "pixels", size=3).shape == (3, 2 * 9)


def test_intensities_are_histograms_and_moments():
    array = RNG.normal(size=(4, 2, 6, 5))
    low, high = limits = limits_of(array, np.arange(4))
    found = of(array, "intensity", bins=10)
    scaled = (array - low[:, None, None]) / (high - low)[:, None, None]
    for image in range(4):
        for channel in range(2):
            values = scaled[image, channel].ravel()
            shares = np.histogram(values, bins=10, range=(0, 1))[0] / 30
            np.testing.assert_allclose(found[image, 10 * channel : 10 * channel + 10], shares)
            moments = found[image, 20 + channel :: 2]
            expected = [values.mean(), values.std(), stats.skew(values)]
            np.testing.assert_allclose(moments[:3], expected)
            np.testing.assert_allclose(moments[3], stats.kurtosis(values, fisher=False))
    brighter = of(array + 100, "intensity", limits=limits, bins=10)
    assert (brighter[:, 9] == 1).all(), "beyond the train part's range: in the last bin"


def test_colours_have_a_joint_histogram():
    array = RNG.integers(0, 256, (2, 3, 9, 9)).astype(np.uint8)
    array[0] = 0
    array[1, :, 0, 0] = 255
    found = of(array, "intensity", bins=4)[:, 12 + 12 :]
    assert found.shape == (2, 512)
    assert found[0, 0] == 1
    expected = np.histogramdd((array[1].reshape(3, -1).T) / 255, bins=8, range=[(0, 1)] * 3)[0]
    np.testing.assert_allclose(found[1], expected.ravel() / 81)


def naive_patterns(plane, distance):
    around = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    counts = np.zeros(10)
    for y in range(distance, plane.shape[0] - distance):
        for x in range(distance, plane.shape[1] - distance):
            ring = [plane[y + distance * a, x + distance * b] >= plane[y, x] for a, b in around]
            changes = sum(ring[i] != ring[i - 1] for i in range(8))
            counts[sum(ring) if changes <= 2 else 9] += 1
    return counts / counts.sum()


def test_textures_are_local_binary_patterns_and_slopes():
    array = RNG.integers(0, 9, (2, 1, 8, 11)).astype(np.uint8)
    found = of(array, "texture")
    assert found.shape == (2, 22)
    for image in range(2):
        plane = array[image, 0].astype(float)
        np.testing.assert_allclose(found[image, :10], naive_patterns(plane, 1))
        np.testing.assert_allclose(found[image, 10:20], naive_patterns(plane, 2))
        slopes = np.hypot(*np.gradient(plane))
        np.testing.assert_allclose(found[image, 20:], [slopes.mean(), slopes.std()])
    turned = of(np.rot90(array, axes=(2, 3)), "texture")
    np.testing.assert_allclose(turned, found)


def test_a_volume_is_seen_along_each_of_its_axes():
    array = RNG.normal(size=(2, 1, 6, 7, 8))
    found = of(array, "texture")
    assert found.shape == (2, 3 * 22)
    slices = np.mean([naive_patterns(array[1, 0, :, i], 1) for i in range(7)], axis=0)
    np.testing.assert_allclose(found[1, 22:32], slices)
    assert of(array, "pixels", size=2).shape == (2, 8)
    assert of(array, "intensity", bins=5).shape == (2, 5 + 4)


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_a_row_depend_on_no_other_row(kind):
    array = RNG.normal(size=(300, 1, 6, 6)).astype(np.float32)
    limits = limits_of(array, np.arange(100))
    rows = RNG.permutation(300)
    whole = of(array, kind, limits)
    np.testing.assert_array_equal(of(array, kind, limits, rows), whole[rows])
    assert np.isfinite(whole).all()
    flat = of(np.full((2, 1, 3, 3), 7.0), kind)
    assert np.isfinite(flat).all(), "an image of one value"
