"""Several images a sample become its channels: `manifest.columns.image=[t1,t2,flair]`."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.audit.content import link_copies
from pipeline.commands.door import load_config
from pipeline.config import (
    AuditConfig,
    ColumnsConfig,
    ConfigError,
    ImagesConfig,
    ManifestConfig,
    PrivacyConfig,
)
from pipeline.images.faults import UnusableImagesError
from pipeline.images.packed import PackedImages
from pipeline.images.packing import pack_images
from pipeline.manifest import Manifest, ManifestError, read_manifest
from pipeline.processes import start_forkserver

NAMES = ("t1", "t2", "flair")


@pytest.fixture(scope="module", autouse=True)
def quick_workers() -> None:
    torch.set_num_threads(1)
    start_forkserver()


def pixels(patient: int, channel: int) -> NDArray[Any]:
    draws = np.random.default_rng([patient, channel])
    return draws.integers(1, 400 * (channel + 1), (6, 7, 5), dtype=np.int16)


def save(path: Path, array: NDArray[Any], shift: float = 0, spacing: float = 1) -> str:
    affine = np.diag([spacing] * 3 + [1.0])
    affine[0, 3] = shift
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path.name


def cohort(folder: Path, num_patients: int = 4) -> list[dict[str, str]]:
    """A row for each patient, with three volumes of the same voxels."""
    return [
        {"patient_id": f"P{p}", "label": "ab"[p % 2]}
        | {name: save(folder / f"{p}_{name}.nii", pixels(p, c)) for c, name in enumerate(NAMES)}
        for p in range(num_patients)
    ]


def written(folder: Path, rows: list[dict[str, str]]) -> ManifestConfig:
    with (folder / "m.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    columns = ColumnsConfig(image=NAMES)
    return ManifestConfig(name="m", path=str(folder / "m.csv"), columns=columns)


def settings(folder: Path, **values: Any) -> ImagesConfig:
    own: dict[str, Any] = {
        "cache_dir": str(folder / "cache"),
        "num_processes": 1,
        "spatial_dims": 3,
    }
    return ImagesConfig(**own | values)


def pack(manifest: Manifest, config: ImagesConfig) -> PackedImages:
    return pack_images(manifest, config, lambda _done, _of: None)


def refusal(folder: Path, rows: list[dict[str, str]]) -> str:
    with pytest.raises(ManifestError) as caught:
        read_manifest(written(folder, rows))
    return str(caught.value)


def test_images_become_channels_in_the_order_of_the_columns(tmp_path: Path) -> None:
    rows = cohort(tmp_path)
    manifest = read_manifest(written(tmp_path, rows))
    packed = pack(manifest, settings(tmp_path))
    assert packed.num_channels == 3
    expected = [[pixels(p, c) for c in range(3)] for p in range(4)]
    np.testing.assert_array_equal(packed.array, expected)
    assert manifest.table["image_path"][0] == "0_t1.nii|0_t2.nii|0_flair.nii"
    assert "t1|t2|flair" in manifest.column_names


def test_a_changed_second_image_is_another_cache(tmp_path: Path) -> None:
    rows = cohort(tmp_path)
    before = pack(read_manifest(written(tmp_path, rows)), settings(tmp_path))
    save(tmp_path / "2_t2.nii", pixels(9, 1))
    after = pack(read_manifest(written(tmp_path, rows)), settings(tmp_path))
    assert after.key != before.key
    np.testing.assert_array_equal(after.array[2, 1], pixels(9, 1))


def test_pseudonyms_hide_all_paths_and_the_images_are_found(tmp_path: Path) -> None:
    privacy = PrivacyConfig(pseudonyms=True, key_file=str(tmp_path / "key"))
    manifest = read_manifest(written(tmp_path, cohort(tmp_path)), privacy)
    assert not manifest.table["image_path"].str.contains("t1").any()
    packed = pack(manifest, settings(tmp_path))
    firsts = sorted(int(array[0].sum()) for array in packed.array)
    assert firsts == sorted(int(pixels(p, 0).sum()) for p in range(4))


def test_what_is_missing_is_told_with_its_line_and_column(tmp_path: Path) -> None:
    rows = cohort(tmp_path)
    rows[1]["t2"] = ""
    rows[2]["flair"] = "gone.nii"
    told = refusal(tmp_path, rows)
    assert "line 3: the image path in column 't2' is blank; a sample needs all images" in told
    assert "line 4: patient 'P2': image" in told
    assert "gone.nii: no such file" in told


def test_paths_that_cannot_be_are_told_with_their_line(tmp_path: Path) -> None:
    rows = cohort(tmp_path)
    rows[1]["t2"] = rows[1]["t1"]
    rows[2]["flair"] = rows[0]["flair"]
    rows[3]["t1"] = "../away.nii"
    told = refusal(tmp_path, rows)
    assert "line 3: image '1_t1.nii' stands in two columns of this line" in told
    assert "line 4: image '0_flair.nii' is already on line 2, there for patient 'P0'" in told
    assert "line 5: image '../away.nii' lies outside the image root" in told


def test_a_path_may_not_hold_what_stands_between_paths(tmp_path: Path) -> None:
    rows = cohort(tmp_path)
    rows[3]["t2"] = save(tmp_path / "a|b.nii", pixels(3, 1))
    told = refusal(tmp_path, rows)
    assert "line 5: image 'a|b.nii' in column 't2' has a | in its name" in told


def test_a_missing_column_and_a_doubled_one_are_told(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "flair"} for row in cohort(tmp_path)]
    assert "column 'flair' is missing (manifest.columns.image)" in refusal(tmp_path, rows)
    for columns, problem in (("[t1,t1]", "'t1' is named 2 times"), ("[]", "names no column")):
        with pytest.raises(ConfigError, match=problem):
            load_config(["manifest.path=m.csv", f"manifest.columns.image={columns}"])


@pytest.mark.parametrize(
    ("array", "options", "fault"),
    [
        (pixels(0, 1)[:4], {}, r"image 2 of 3 has shape \(4, 7, 5\), image 1 \(6, 7, 5\); .*regis"),
        (pixels(0, 1), {"spacing": 2}, "image 2 of 3 has voxels of 2 x 2 x 2 mm, image 1 of 1 x"),
        (pixels(0, 1), {"shift": 30}, "image 2 of 3 lies up to 30 mm from image 1"),
    ],
    ids=["shape", "spacing", "place"],
)
def test_another_geometry_is_an_error_with_its_line(
    tmp_path: Path, array: NDArray[Any], options: dict[str, float], fault: str
) -> None:
    rows = cohort(tmp_path)
    save(tmp_path / "0_t2.nii", array, **options)
    manifest = read_manifest(written(tmp_path, rows))
    with pytest.raises(UnusableImagesError, match=fault) as caught:
        pack(manifest, settings(tmp_path))
    assert [finding.line for finding in caught.value.findings] == [2]


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        (
            "png",
            "nii",
            "image 2 of 2 cannot be compared: it says how large its pixels",
        ),
        (
            "nii",
            "png",
            "image 2 of 2 cannot be compared: image 1 says how large its",
        ),
    ],
)
def test_a_size_in_mm_that_only_one_of_two_has_is_an_error(
    tmp_path: Path, first: str, second: str, fault: str
) -> None:
    rows = []
    for patient in range(4):
        image = pixels(patient, 0)[:5, :5, 0]
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"{patient}.png")
        save(tmp_path / f"{patient}.nii", image)
        row = {"patient_id": f"P{patient}", "label": "ab"[patient % 2]}
        rows.append(row | {"t1": f"{patient}.{first}", "t2": f"{patient}.{second}"})
    config = replace(written(tmp_path, rows), columns=ColumnsConfig(image=("t1", "t2")))
    with pytest.raises(UnusableImagesError, match=fault):
        pack(read_manifest(config), settings(tmp_path, spatial_dims=2))


def test_geometry_that_only_rounding_tells_apart_is_one(tmp_path: Path) -> None:
    rows = cohort(tmp_path)
    save(tmp_path / "0_t2.nii", pixels(0, 1), shift=0.02)
    assert pack(read_manifest(written(tmp_path, rows)), settings(tmp_path)).num_channels == 3


def test_the_number_of_channels_is_of_each_file(tmp_path: Path) -> None:
    manifest = read_manifest(written(tmp_path, cohort(tmp_path)))
    fault = "images.num_channels is 3; it counts the channels of each of the 3 images of manifest"
    with pytest.raises(UnusableImagesError, match=fault):
        pack(manifest, settings(tmp_path, num_channels=3))


def test_patients_who_share_one_of_their_files_are_one_group(tmp_path: Path) -> None:
    rows = cohort(tmp_path)
    (tmp_path / "3_t1.nii").write_bytes((tmp_path / "1_t2.nii").read_bytes())
    manifest = read_manifest(written(tmp_path, rows))
    assert manifest.table["group"].tolist() == ["P0", "P1", "P2", "P1"]


def test_patients_who_share_the_pixels_of_one_image_are_one_group(tmp_path: Path) -> None:
    """An image without contrast shows nobody, and joins nobody."""
    rows = cohort(tmp_path)
    copy = nibabel.Nifti1Image(pixels(1, 2).astype(np.float32), np.eye(4))
    nibabel.save(copy, tmp_path / "3_flair.nii")
    for patient, dtype in ((0, np.int16), (2, np.float32)):
        save(tmp_path / f"{patient}_t2.nii", np.zeros((6, 7, 5), dtype))
    manifest = read_manifest(written(tmp_path, rows))
    assert manifest.table["group"].nunique() == 4, "no file is the same"
    images = pack(manifest, settings(tmp_path))
    content = link_copies(manifest, images, AuditConfig(), ())
    assert content.manifest.table["group"].tolist() == ["P0", "P1", "P2", "P1"]


def test_pictures_of_two_stains_become_channels(tmp_path: Path) -> None:
    rows = []
    for p in range(4):
        row = {"patient_id": f"P{p}", "label": "ab"[p % 2]}
        for name in NAMES:
            draws = np.random.default_rng([p, len(name)])
            Image.fromarray(draws.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(
                tmp_path / f"{p}{name}.png"
            )
            row[name] = f"{p}{name}.png"
        rows.append(row)
    own = settings(tmp_path, spatial_dims=2, num_channels=3, dtype="auto")
    config = written(tmp_path, rows)
    for row in rows:  # t1 and t2 have names of one length
        (tmp_path / row["t2"]).unlink()
        Image.new("RGB", (8, 9), (int(row["patient_id"][1:]), 7, 9)).save(tmp_path / row["t2"])
    packed = pack(read_manifest(config), own)
    assert (packed.num_channels, packed.dtype) == (9, "uint8")
    assert packed.array[2, 3:6, 0, 0].tolist() == [2, 7, 9]
