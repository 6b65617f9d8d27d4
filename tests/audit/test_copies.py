"""Copies under two patients are found, however they lie; strangers are left alone."""

import io
import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from planted import CHANGES, VOLUME_CHANGES, texture
from scipy.ndimage import gaussian_filter

from pipeline.audit import copies as search
from pipeline.audit.copies import Copies, find_copies
from pipeline.audit.likeness import (
    ORIENTATIONS,
    best_orientation,
    coefficients,
    correlation,
    descriptors,
    oriented,
)
from pipeline.audit.partial import partial_copies
from pipeline.commands import demo
from pipeline.images.decoding import pixel_digest, thumbnails

DATA = os.environ.get("PATIENTFOLD_DATA")
LOSSLESS = (
    "exact",
    "flipped left to right",
    "flipped top to bottom",
    "transposed",
    "turned by 90 degrees",
    "turned by 180 degrees",
    "turned by 270 degrees",
)


def grey(image: Image.Image) -> NDArray[np.float32]:
    return np.asarray(image.convert("L"), dtype=np.float32)[None]


def copies_of(arrays: list[NDArray[np.float32]], patients: list[str] | None = None) -> Copies:
    """Search (C, H, W) or (C, D, H, W) arrays, each of a patient of its own."""
    digests = [pixel_digest(array) for array in arrays]
    pictures = np.stack([thumbnails(array) for array in arrays])
    return find_copies(digests, pictures, patients or [f"p{i}" for i in range(len(arrays))])


@pytest.fixture(scope="module")
def strangers() -> list[NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    return [texture(generator) for _ in range(60)]


def test_strangers_are_no_copies(strangers: list[NDArray[np.uint8]]) -> None:
    assert copies_of([grey(Image.fromarray(picture)) for picture in strangers]) == Copies()


@pytest.mark.parametrize("name", CHANGES)
def test_every_planted_copy_is_found(strangers: list[NDArray[np.uint8]], name: str) -> None:
    generator = np.random.default_rng(1)
    images = [Image.fromarray(picture) for picture in strangers]
    changed = [CHANGES[name](image, generator) for image in images[:30]]
    found = copies_of([grey(image) for image in images + changed]).pairs
    assert [(pair.one, pair.other) for pair in found] == [(i, 60 + i) for i in range(30)]
    assert {pair.exact for pair in found} == {name == "exact"}
    if name in LOSSLESS and name != "exact":
        assert {pair.orientation for pair in found} == {name}
        assert min(pair.correlation for pair in found) > 0.999


def test_a_lossless_copy_in_colour_or_another_shape_of_file_is_exact(tmp_path: Path) -> None:
    from pipeline.formats import read_image

    picture = Image.fromarray(texture(np.random.default_rng(2)))
    picture.save(tmp_path / "a.png")
    picture.convert("RGB").save(tmp_path / "b.tif")
    np.save(tmp_path / "c.npy", np.asarray(picture))
    arrays = [read_image(tmp_path / name, 2, 3)[0] for name in ("a.png", "b.tif", "c.npy")]
    assert [(p.one, p.other, p.exact) for p in copies_of(arrays).pairs] == [
        (0, 1, True),
        (0, 2, True),
    ]


def test_equal_pixels_of_another_shape_are_another_image() -> None:
    assert pixel_digest(np.zeros((1, 2, 6), np.float32)) != pixel_digest(
        np.zeros((1, 3, 4), np.float32)
    )


@pytest.mark.parametrize("others", [(0.2, 0.4), (1.0, 257.0), (255.0, -1.0), (0.0, 0.5)])
def test_values_that_no_byte_holds_are_not_taken_for_bytes(others: tuple[float, float]) -> None:
    one, other = (pixel_digest(np.full((1, 2, 2), value, np.float32)) for value in others)
    assert one != other


def test_copies_of_one_patient_are_nobodys_business(strangers: list[NDArray[np.uint8]]) -> None:
    arrays = [grey(Image.fromarray(picture)) for picture in strangers[:5]] * 2
    assert copies_of(arrays, [f"p{i % 5}" for i in range(10)]) == Copies()


def test_many_exact_copies_link_each_patient_once(strangers: list[NDArray[np.uint8]]) -> None:
    arrays = [grey(Image.fromarray(strangers[0]))] * 6
    pairs = copies_of(arrays, ["b", "a", "a", "b", "c", "c"]).pairs
    assert [(pair.one, pair.other) for pair in pairs] == [(0, 1), (1, 4)]


def test_images_without_contrast_are_counted_not_paired() -> None:
    noise = np.random.default_rng(3).normal(size=(1, 20, 20)).astype(np.float32)
    flat = [np.full((1, 20, 20), value, np.float32) for value in (0.0, 0.0, 7.1, 1e6)]
    assert copies_of([flat[0], noise, *flat[1:]]) == Copies(flat=(0, 2, 3, 4))


def test_a_copy_hidden_among_a_patients_own_images_is_found(
    strangers: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A film: twenty frames that are nearly one picture, and a stranger's copy a little farther."""
    generator = np.random.default_rng(4)
    image = Image.fromarray(strangers[0])
    film = [grey(image) + generator.normal(size=(1, 96, 96)).astype("f4") for _ in range(20)]
    copy = grey(CHANGES["cropped by 2 %"](image, generator))
    arrays = [*film, copy, *(grey(Image.fromarray(picture)) for picture in strangers[1:])]
    patients = ["film"] * 20 + [f"p{i}" for i in range(60)]
    assert 20 in {pair.other for pair in copies_of(arrays, patients).pairs}
    monkeypatch.setattr(search, "_NUM_NEIGHBOURS", (8,))
    # From the copy's side the film is near, so that it is found all the same ...
    assert 20 in {pair.other for pair in copies_of(arrays, patients).pairs}
    # ... but not when both patients have a film.
    other = [copy + generator.normal(size=copy.shape).astype("f4") for _ in range(20)]
    both, patients = [*film, *other], ["film"] * 20 + ["other"] * 20
    assert copies_of(both, patients).pairs == ()
    monkeypatch.undo()
    assert len(copies_of(both, patients).pairs) > 0


def test_every_pair_of_a_dense_set_is_found(strangers: list[NDArray[np.uint8]]) -> None:
    """Forty patients have one picture: each has more copies than the first neighbours."""
    generator = np.random.default_rng(5)
    image = grey(Image.fromarray(strangers[0]))
    dense = [image + generator.normal(size=image.shape).astype("f4") for _ in range(40)]
    arrays = [*dense, *(grey(Image.fromarray(picture)) for picture in strangers[1:])]
    pairs = copies_of(arrays).pairs
    assert [(pair.one, pair.other) for pair in pairs] == list(combinations(range(40), 2))


def test_a_nearer_stranger_does_not_hide_a_copy(strangers: list[NDArray[np.uint8]]) -> None:
    """Two films of one scene, each with a stranger before it that only looks alike from afar."""
    generator = np.random.default_rng(6)
    image = np.array(strangers[0], "f4")
    arrays = []
    for scene, other in ((image, strangers[1]), (image[3:, 3:], strangers[2])):
        arrays += [scene[None] + generator.normal(size=scene.shape).astype("f4") for _ in range(8)]
        fine = other[: len(scene), : len(scene)].astype("f4")
        arrays.append((gaussian_filter(scene, 2) + fine - gaussian_filter(fine, 2))[None])
    patients = ["film"] * 8 + ["stranger"] + ["other"] * 8 + ["another"]
    found = {(patients[p.one], patients[p.other]) for p in copies_of(arrays, patients).pairs}
    assert found == {("film", "other")}


def ultrasound(generator: np.random.Generator) -> NDArray[np.uint8]:
    """A device's frame, the same in all: a scale, letters, a black ground; in it another fan."""
    picture = Image.new("L", (192, 192))
    draw = ImageDraw.Draw(picture)
    for k in range(24):
        draw.line([(4, 8 * k), (4 + 10 * (1 + (k % 4 == 0)), 8 * k)], fill=255, width=2)
        draw.line([(170, 8 * k), (188, 8 * k + 5)], fill=200, width=3)
    for line, words in enumerate(("GYN  12.4 cm  MI 0.9", "Gn 62  DR 70  FR 23")):
        draw.text((26, 4 + 160 * line), words, fill=255, font=ImageFont.load_default(size=14))
    pixels = np.array(picture)
    y, x = np.mgrid[:192, :192]
    fan = (np.hypot(y - 20, x - 96) < 135) & (np.abs(x - 96) < 0.7 * (y - 20)) & (y < 155)
    pixels[fan] = texture(generator, 192)[fan] // 2
    return pixels


@pytest.mark.slow
def test_what_every_picture_of_a_device_has_is_no_evidence_of_a_copy() -> None:
    """Alike beyond 0.92 as a whole, because of what is around the fan."""
    generator = np.random.default_rng(7)
    frames = [Image.fromarray(ultrasound(generator)) for _ in range(60)]
    arrays = [grey(frame) for frame in frames]
    assert copies_of(arrays) == Copies()
    arrays += [grey(CHANGES["cropped by 2 %"](frame, generator)) for frame in frames[:10]]
    found = {(pair.one, pair.other) for pair in copies_of(arrays).pairs}
    assert found == {(i, 60 + i) for i in range(10)}
    pictures, everybody = np.stack([thumbnails(image)[0] for image in arrays]), np.arange(60)
    assert partial_copies(pictures, everybody, everybody) == []


def volume(seed: int) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    a, b, c = (texture(generator, 40).astype(np.float32) for _ in range(3))
    found: NDArray[np.float32] = a[:, :, None] + b[None] + c[:, None, :]
    return found[None, :36, :32]


@pytest.mark.parametrize("name", VOLUME_CHANGES)
def test_copies_of_volumes_are_found_in_their_projections(name: str) -> None:
    volumes = [volume(seed) for seed in range(12)]
    change, generator = VOLUME_CHANGES[name], np.random.default_rng(0)
    changed = [np.ascontiguousarray(change(v, generator)) for v in volumes[:6]]
    pairs = copies_of(volumes + changed).pairs
    assert [(pair.one, pair.other) for pair in pairs] == [(i, 12 + i) for i in range(6)]
    assert {pair.exact for pair in pairs} == {name == "exact"}


def pictures_of(samples: list[list[NDArray[np.float32]]]) -> NDArray[np.uint8]:
    """(N, P, 64, 64) of samples with several images, as the packed cache holds them."""
    return np.stack([np.concatenate([thumbnails(image) for image in sample]) for sample in samples])


@pytest.mark.parametrize("name", ["axes in another order", "cropped by 2 %"])
def test_a_copy_of_four_volumes_is_found_whatever_way_round(name: str) -> None:
    """T1, T2, FLAIR and contrast have twelve projections, and these 479,001,600 orders."""
    change, generator = VOLUME_CHANGES[name], np.random.default_rng(0)
    samples = [[volume(4 * sample + i) for i in range(4)] for sample in range(6)]
    changed = [[np.ascontiguousarray(change(v, generator)) for v in samples[i]] for i in (0, 3)]
    pictures, everybody = pictures_of(samples + changed), [f"p{i}" for i in range(8)]
    pairs = find_copies(everybody, pictures, everybody).pairs
    assert [(pair.one, pair.other) for pair in pairs] == [(0, 6), (3, 7)]


def test_a_copy_of_eleven_stains_is_found(strangers: list[NDArray[np.uint8]]) -> None:
    images = [grey(Image.fromarray(picture)) for picture in strangers[:55]]
    samples = [images[11 * sample : 11 * sample + 11] for sample in range(5)]
    samples.append([np.ascontiguousarray(image[:, ::-1]) for image in samples[2]])
    everybody = [f"p{i}" for i in range(6)]
    pairs = find_copies(everybody, pictures_of(samples), everybody).pairs
    assert [(p.one, p.other, p.orientation) for p in pairs] == [(2, 5, "flipped top to bottom")]


# --- the parts


@pytest.mark.parametrize("orientation", range(8))
def test_descriptors_do_not_see_the_orientation(
    strangers: list[NDArray[np.uint8]], orientation: int
) -> None:
    pictures = np.stack([thumbnails(grey(Image.fromarray(p))) for p in strangers])
    turned = oriented(pictures, orientation)
    one, other = coefficients(pictures), coefficients(turned)
    np.testing.assert_allclose(descriptors(one), descriptors(other), atol=1e-5)
    _, way, distance = best_orientation(one, other)
    np.testing.assert_allclose(distance, 0, atol=1e-3)
    back = np.stack([oriented(p[0], g) for p, g in zip(turned, way[:, 0], strict=True)])
    np.testing.assert_array_equal(back, pictures[:, 0])
    assert len({ORIENTATIONS[g] for g in way[:, 0]}) == 1


def test_descriptors_are_never_farther_apart_than_the_pictures(
    strangers: list[NDArray[np.uint8]],
) -> None:
    pictures = np.stack([thumbnails(grey(Image.fromarray(p))) for p in strangers])
    coefs, points = coefficients(pictures), descriptors(coefficients(pictures))
    one, other = np.triu_indices(len(pictures), 1)
    _, _, distance = best_orientation(coefs[one], coefs[other])
    apart = np.linalg.norm(points[one] - points[other], axis=1)
    assert (apart <= distance + 1e-5).all()
    assert apart.min() > 0.1


def test_the_correlation_is_one_for_equal_pictures_and_low_for_strangers(
    strangers: list[NDArray[np.uint8]],
) -> None:
    pictures = np.stack([thumbnails(grey(Image.fromarray(p)))[0] for p in strangers])
    np.testing.assert_allclose(correlation(pictures, pictures), 1, atol=1e-4)
    assert correlation(pictures, np.roll(pictures, 1, axis=0)).max() < 0.8
    shifted = np.roll(pictures, (1, -2), axis=(1, 2))
    assert correlation(pictures, shifted).min() > 0.95
    assert (correlation(pictures, np.zeros_like(pictures)) < 0.1).all()


def test_a_crop_is_magnified_before_it_is_judged(strangers: list[NDArray[np.uint8]]) -> None:
    """Four of 96 pixels less: 0.86 as it is, 0.95 when the scale is tried too."""
    whole, cut = (
        np.stack(
            [
                thumbnails(picture[None, c : 96 - c, c : 96 - c].astype("f4"))[0]
                for picture in strangers
            ]
        )
        for c in (0, 2)
    )
    assert correlation(whole, cut).min() > 0.94
    assert correlation(cut, whole).min() > 0.94


def test_pictures_of_one_kind_are_no_copies(tmp_path: Path) -> None:
    """The demo's discs: the same outline in 435 images of 78 patients."""
    demo.make_images(tmp_path)
    table = pd.read_csv(io.StringIO(demo.manifest_text()), dtype=str)
    arrays = [grey(Image.open(tmp_path / path)) for path in table["image_path"]]
    assert len(arrays) == 435
    assert copies_of(arrays, table["patient_id"].tolist()) == Copies()


@pytest.mark.skipif(DATA is None, reason="needs PATIENTFOLD_DATA")
def test_the_known_copy_of_kermany_is_found() -> None:
    folder = Path(str(DATA)) / "kermany_cxr224"
    table = pd.read_csv(folder / "manifest.csv", dtype=str)
    table = table[table["patient_id"].str.startswith("NORMAL2-IM-0")].reset_index(drop=True)
    assert len(table) > 300
    arrays = [grey(Image.open(folder / path)) for path in table["image_path"]]
    found = copies_of(arrays, table["patient_id"].tolist()).pairs
    exact = [pair for pair in found if pair.exact]
    assert [tuple(table["patient_id"][[p.one, p.other]]) for p in exact] == [
        ("NORMAL2-IM-0095", "NORMAL2-IM-0096")
    ]
    assert len(found) <= 1 + len(table) / 1000
