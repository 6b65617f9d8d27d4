"""Images unlike training's: shape, intensity, picture; and seldom one that is like them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pictured_run import Pixels, drawn, looks, planned_run

from pipeline.audit.marks import Pictures, spectra
from pipeline.audit.reach import Reach
from pipeline.engine.training_images import TrainingImages
from pipeline.ensemble.look import Looks
from pipeline.ensemble.unlike import unlike


@pytest.fixture(scope="module")
def reach(made_once: Callable[..., Path]) -> Reach:
    kept = TrainingImages.read(made_once("planned", planned_run) / "run")
    assert kept is not None
    return kept.reach


def reasons(reach: Reach, pixels: Pixels, folder: Path) -> str:
    (found,) = unlike(reach, looks([pixels], folder))
    return found


def test_images_of_the_same_kind_are_not_flagged(reach: Reach, tmp_path: Path) -> None:
    found = unlike(reach, looks([drawn(number) for number in range(900, 960)], tmp_path))
    assert sum(map(bool, found)) <= 6  # 60 images, of 30 patients: 1 in 31 is expected


def test_shape_intensity_and_picture_are_told(reach: Reach, tmp_path: Path) -> None:
    assert "shape: 96x96 pixels, in training 48 x 48" in reasons(
        reach, np.kron(drawn(901), np.ones((2, 2), np.uint8)), tmp_path / "a"
    )
    bright = (drawn(902) // 4 + 190).astype(np.uint8)
    found = reasons(reach, bright, tmp_path / "b")
    assert "intensity: mean" in found
    assert "intensity: SD" in found
    assert "picture" not in found  # a thumbnail is stretched from black to white
    noise = np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)
    assert "picture:" in reasons(reach, noise, tmp_path / "c")
    assert "picture: without any contrast" in reasons(
        reach, np.full((48, 48), 90, np.uint8), tmp_path / "d"
    )
    assert "picture:" in reasons(reach, 255 - drawn(903), tmp_path / "e")


def test_what_training_does_not_know_is_not_asked(reach: Reach, tmp_path: Path) -> None:
    unknown = Reach(reach.references, reach.limit, dict.fromkeys(reach.bounds, ()), reach.size)
    seen = looks(
        [(drawn(number) // 4 + 190).astype(np.uint8) for number in range(900, 910)], tmp_path
    )
    assert all("intensity" in why for why in unlike(reach, seen))
    assert not any("intensity" in why for why in unlike(unknown, seen))


def volume(size: tuple[int, int, int], spacing: str, mean: float) -> dict[str, str]:
    num = float(np.prod(size))
    return {
        "original_shape": "x".join(map(str, size)),
        "spacing": spacing,
        "sum": str(mean * num),
        "sum_squares": str((mean**2 + 1) * num),
    }


def pictures_of(numbers: NDArray[np.int64]) -> Pictures:
    return np.stack([np.stack([drawn(3 * n + i, 64) for i in range(3)]) for n in numbers])


def test_sides_and_voxel_sizes_may_vary_as_in_training_and_a_tenth_more() -> None:
    numbers = np.arange(12)
    sizes = [(30 + n, 40, 35) for n in range(12)]
    facts = [volume(size, "1 1 1", 0.0) for size in sizes]
    names = [str(n) for n in numbers]
    reach = Reach.of(pictures_of(numbers), numbers, facts, 30 * 40 * 35, names, names)
    cases = [
        (volume((30, 40, 35), "1 1 1", 0.0), ""),
        (volume((28, 43, 35), "1.05 1 1", 0.0), ""),
        (volume((20, 40, 35), "1 1 1", 0.0), "shape: 20x40x35 pixels, in training 30 to 41 x 40"),
        (volume((30, 40, 35), "1 1 3", 0.0), "pixel size: 1 x 1 x 3 mm, in training 1 x 1 x 1"),
        (volume((30, 40, 35), "1 1 1", 1e-9), ""),  # rounding of a z-score
        (volume((30, 40, 35), "1 1 1", 4.0), "intensity: mean 4, in training 0"),
    ]
    for fact, expected in cases:
        (found,) = unlike(reach, Looks(pictures_of(numbers[:1]), [fact]))
        assert found.startswith(expected) if expected else found == ""


def test_a_patient_is_compared_with_others_only() -> None:
    """Two equal images of every patient: within patients all distances are 0."""
    pictures = np.stack([drawn(n // 2, 64)[None] for n in range(40)])
    facts = [{"original_shape": "64x64", "sum": "1", "sum_squares": "1"}] * 40
    patients = [str(n // 2) for n in range(40)]
    alone = Reach.of(pictures, np.arange(40), facts, 1, patients, patients)
    assert alone.limit > 0.1
    joined = [str(n // 4) for n in range(40)]  # families: also not compared among themselves
    assert Reach.of(pictures, np.arange(40), facts, 1, patients, joined).limit >= alone.limit
    each = Reach.of(pictures, np.arange(40), facts, 1, list(map(str, range(40))), joined)
    assert each.limit >= alone.limit
    as_strangers = list(map(str, range(40)))
    assert Reach.of(pictures, np.arange(40), facts, 1, as_strangers, as_strangers).limit < 0.02


def test_every_patient_counts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """One patient with many images that lie far away does not move the limit much."""
    monkeypatch.setattr("pipeline.audit.reach.QUANTILE", 0.9)
    usual = [drawn(n, 64) for n in range(40)]
    far = [np.roll(255 - drawn(500, 64), n, axis=0) for n in range(20)]
    pictures = np.stack([*usual, *far])[:, None]
    patients = [*map(str, range(40)), *["many"] * 20]
    facts = [{"original_shape": "64x64", "sum": "1", "sum_squares": "1"}] * 60
    limit = Reach.of(pictures, np.arange(60), facts, 1, patients, patients).limit
    by_image = Reach.of(pictures, np.arange(60), facts, 1, list(map(str, range(60))), patients)
    assert limit < by_image.limit
    assert np.isfinite(spectra(pictures)).all()
