"""What `configure` sees of real files, of the cohort and of the machine."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from dicom_files import ramp, write_dicom
from fingerprints import fingerprint
from image_manifest import manifest_of_files
from numpy.typing import NDArray
from PIL import Image

from pipeline.config import ManifestConfig, UserError
from pipeline.configure.cohort import Cohort, cohort_of
from pipeline.configure.machine import free_ram, machine
from pipeline.configure.pixels import MOST_FILES, Pixels, pixels_of
from pipeline.configure.thumbnails import likeness, thumbnail
from pipeline.manifest import read_usable

RNG = np.random.default_rng(0)


def seen(folder: Path, *names: str) -> Pixels:
    return pixels_of(manifest_of_files(folder, names), lambda _done, _of: None)


def picture(path: Path, pixels: NDArray[Any]) -> str:
    Image.fromarray(pixels).save(path)
    return path.name


def test_grey_that_was_stored_as_colour_is_grey(tmp_path: Path) -> None:
    grey = RNG.integers(0, 255, (32, 32), np.uint8)
    names = [picture(tmp_path / f"{i}.jpg", np.stack([grey] * 3, axis=-1)) for i in range(3)]
    found = seen(tmp_path, *names)
    assert (found.num_channels, found.is_colour, found.formats) == (3, False, ("JPEG",))
    colour = RNG.integers(0, 255, (32, 32, 3), np.uint8)
    assert seen(tmp_path, picture(tmp_path / "c.png", colour)).is_colour


def test_three_channels_of_a_volume_are_no_colour_unless_the_file_says_so(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RNG.normal(size=(16, 16, 12, 3)))
    voxels = RNG.integers(0, 255, (16, 16, 12, 3), np.uint8)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "b.nii.gz")
    for name in ("a.npy", "b.nii.gz"):
        found = seen(tmp_path, name)
        assert (found.spatial_dims, found.num_channels) == (3, 3)
        assert (found.has_colour_model, found.is_colour) == (False, False)
    rgb = voxels.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    nibabel.save(nibabel.Nifti1Image(rgb, np.eye(4)), tmp_path / "c.nii.gz")
    found = seen(tmp_path, "c.nii.gz")
    assert (found.num_channels, found.has_colour_model, found.is_colour) == (3, True, True)


def test_sixteen_bits_and_mixed_shapes(tmp_path: Path) -> None:
    names = []
    for i, side in enumerate((20, 30, 40)):
        pixels = np.full((side, 2 * side), 300 * (i + 1), np.uint16)
        pixels[0, 0] = 0
        names.append(picture(tmp_path / f"{i}.png", pixels))
    found = seen(tmp_path, *names)
    assert (found.bit_depth, found.num_shapes, found.median_shape) == (16, 3, (30, 60))
    assert (found.lowest, found.highest, found.spacing) == (0, 600, None)


def test_volumes_with_their_spacing(tmp_path: Path) -> None:
    names = []
    for i, size in enumerate((1.0, 1.0, 2.0)):
        volume = RNG.normal(size=(10, 12, 8)).astype(np.float32)
        image = nibabel.Nifti1Image(volume, np.diag([size, size, 3.0, 1.0]))
        nibabel.save(image, tmp_path / f"{i}.nii.gz")
        names.append(f"{i}.nii.gz")
    found = seen(tmp_path, *names)
    assert (found.spatial_dims, found.spacing, found.spacing_varies) == (3, (1.0, 1.0, 3.0), True)
    assert found.extent == pytest.approx((19.0, 22.8, 24.0))
    assert not seen(tmp_path, *names[:2]).spacing_varies


def test_the_modality_of_dicom_and_hounsfield_units(tmp_path: Path) -> None:
    pixels = np.linspace(0, 3000, 32 * 32).reshape(32, 32).astype(np.int16)
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1000, "PixelSpacing": [0.7, 0.7]}
    write_dicom(tmp_path / "a.dcm", pixels, Modality="CT", **tags)
    found = seen(tmp_path, "a.dcm")
    assert (found.modality, found.is_hounsfield, found.spatial_dims) == ("CT", True, 2)
    assert found.spacing == (0.7, 0.7)
    write_dicom(tmp_path / "b.dcm", ramp((4, 8, 8)), Modality="MR")
    assert (seen(tmp_path, "b.dcm").modality, seen(tmp_path, "b.dcm").spatial_dims) == ("MR", 3)


def test_arrays_are_pictures_where_they_can_be(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RNG.normal(size=(16, 16, 4)))
    assert (seen(tmp_path, "a.npy").spatial_dims, seen(tmp_path, "a.npy").num_channels) == (2, 4)
    np.save(tmp_path / "b.npy", RNG.normal(size=(16, 16, 12)))
    assert (seen(tmp_path, "b.npy").spatial_dims, seen(tmp_path, "b.npy").num_channels) == (3, 1)


def test_pictures_and_volumes_together_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RNG.normal(size=(16, 16)))
    np.save(tmp_path / "b.npy", RNG.normal(size=(16, 16, 12)))
    with pytest.raises(UserError, match="1 of the images that were tried are pictures, 1 are vol"):
        seen(tmp_path, "a.npy", "b.npy")


def test_files_that_cannot_be_read_are_named_together(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"2 of 2 images .* cannot be read:\n.*a\.png: .*\n.*b\.png"
    ):
        seen(tmp_path, "a.png", "b.png")


def test_of_many_files_a_sample_is_read_the_same_one_always(tmp_path: Path) -> None:
    rows = MOST_FILES + 50
    names = [
        picture(tmp_path / f"{i}.png", np.full((4, 4), i % 251, np.uint8)) for i in range(rows)
    ]
    steps: list[tuple[int, int]] = []
    manifest = manifest_of_files(tmp_path, names)
    found = pixels_of(manifest, lambda done, total: steps.append((done, total)))
    assert (found.num_read, found.num_files) == (MOST_FILES, rows)
    assert steps[-1] == (MOST_FILES, MOST_FILES)
    assert found == pixels_of(manifest, lambda _done, _of: None)


# --- do images show the same place?


def test_the_same_place_with_noise_and_any_place() -> None:
    place = np.add.outer(np.zeros(40), np.sin(np.linspace(0, np.pi, 30)))  # like its mirror images
    alike = [thumbnail(place + 0.05 * RNG.normal(size=place.shape)) for _ in range(50)]
    found = likeness(alike)
    assert found.shared > 0.9
    assert min(found.mirrored) > 0.99
    any_place = [thumbnail(RNG.normal(size=(40, 30))) for _ in range(200)]
    assert likeness(any_place).shared < 0.02
    ramp_up = [thumbnail(place + np.linspace(0, 3, 40)[:, None]) for _ in range(9)]
    up, across = likeness(ramp_up).mirrored
    assert up < 0
    assert across > 0.99


def test_images_without_contrast_and_single_ones_say_nothing() -> None:
    flat = [thumbnail(np.zeros((5, 5)))] * 3
    assert likeness(flat).shared == 0
    assert likeness([thumbnail(RNG.normal(size=(9, 9)))]).shared == 0


def test_a_thumbnail_is_of_means_and_small_images_are_repeated() -> None:
    assert np.allclose(thumbnail(np.repeat(np.eye(16), 4, axis=0)), np.eye(16))
    assert thumbnail(np.array([[1.0, 2.0]])).shape == (16, 16)


# --- the cohort


def cohort(folder: Path, rows: list[tuple[str, str, str]], **given: Any) -> Cohort:
    for number in range(len(rows)):
        picture(folder / f"{number}.png", np.full((4, 4), number, np.uint8))
    table = [[patient, f"{i}.png", label, site] for i, (patient, label, site) in enumerate(rows)]
    columns = ["patient_id", "image_path", "label", "site"]
    pd.DataFrame(table, columns=columns).to_csv(folder / "x.csv", index=False)
    given = {"columns": {"site": "site"}, "path": f"{folder}/x.csv", "name": "x", **given}
    return cohort_of(read_usable(ManifestConfig(**given)))


def test_patients_their_images_and_their_labels(tmp_path: Path) -> None:
    rows = [("a", "no", "n")] * 6 + [("b", "no", "n"), ("b", "yes", "s"), ("c", "yes", "s")]
    found = cohort(tmp_path, rows)
    assert (found.num_images, found.num_patients, found.median_images) == (9, 3, 2)
    assert found.images_per_class == (7, 2)
    assert found.independent_per_class == (2, 2)
    assert found.num_effective == pytest.approx(81 / 41)
    assert (found.num_mixed, found.positive_share) == (1, 0.75)
    assert found.count_auroc == 0  # who has more images is negative
    assert (found.num_sites, found.num_one_class_sites) == (2, 2)


def test_labels_that_do_not_exclude_each_other(tmp_path: Path) -> None:
    rows = [("a", "x|y", ""), ("b", "x", ""), ("c", "x", ""), ("d", "", "")]
    found = cohort(tmp_path, rows, task="multilabel")
    assert (found.is_multilabel, found.classes) == (True, ("x", "y"))
    assert found.images_per_class == (3, 1)
    assert found.independent_per_class == (1, 1)  # one patient without x, one with y
    assert found.num_sites == 0


# --- warnings


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_sites": 2, "num_one_class_sites": 2}, "each of the 2 sites has one label only"),
        ({"num_sites": 3, "num_one_class_sites": 1}, "1 of 3 sites have one label only"),
        ({"num_independent": 20}, "20 independent patients: the intervals will be wide"),
        ({"independent_per_class": (80, 8)}, "class 'lesion' has 8 patients"),
        ({"num_unlabelled": 3}, "3 rows without a label: left out"),
        (
            {"modality": "CT", "bit_depth": 12, "highest": 4095.0},
            "the median image has values from 0 to 4095, which cannot be Hounsfield units",
        ),
        ({"num_mixed": 2}, "2 of 100 patients have images of several labels"),
    ],
)
def test_what_a_person_should_look_at(changes: dict[str, Any], words: str) -> None:
    (warning,) = fingerprint(**changes).warnings()
    assert words in warning


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"modality": "CT"},  # 8 bits
        {"modality": "CT", "bit_depth": 12, "lowest": -1024.0, "highest": 2000.0},
        {"modality": "MR", "bit_depth": 12},
    ],
)
def test_nothing_to_warn_of(changes: dict[str, Any]) -> None:
    assert list(fingerprint(**changes).warnings()) == []


def test_it_says_what_it_saw() -> None:
    text = "\n".join(fingerprint(num_files=900).describe())
    assert "400 images of 100 patients: healthy 200 of 50 patients" in text
    assert "200 of 900 files were read" in text
    assert "2 CPU cores, 16.0 GiB of memory free, no GPU" in text


# --- the machine


def test_memory_is_what_the_system_has_or_a_container_allows(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 100 kB\nMemAvailable:   64 kB\n")
    assert free_ram(meminfo, tmp_path) == 64 * 1024
    (tmp_path / "memory.max").write_text("40000\n")
    (tmp_path / "memory.current").write_text("30000\n")
    assert free_ram(meminfo, tmp_path) == 10_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_ram(meminfo, tmp_path) == 64 * 1024
    assert free_ram() > 0


def test_a_fold_has_a_core_or_a_gpu() -> None:
    here = machine(())
    assert here.free_per_fold == here.free_ram // here.num_cores
    with_gpus = machine((("x", 5), ("y", 3)))
    assert (with_gpus.free_per_fold, with_gpus.gpus) == (3, ("x", "y"))
    assert "no GPU" in here.describe()
    assert "x, y with" in with_gpus.describe()
