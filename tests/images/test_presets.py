"""What the network sees: windows in Hounsfield units, robust ranges, sizes in mm, z-scores."""

import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
import torch
import yaml
from dicom_files import write_dicom, write_series
from image_manifest import manifest_of_files
from numpy.typing import NDArray
from PIL import Image

from pipeline.commands.door import load_config
from pipeline.config import ConfigError, ImagesConfig
from pipeline.images.faults import UnusableImagesError
from pipeline.images.packed import PackedImages
from pipeline.images.packing import pack_images
from pipeline.manifest import Manifest
from pipeline.processes import start_forkserver

Array = NDArray[Any]
CONF = Path(__file__).parents[2] / "conf" / "images"
WINDOWS = {"ct_lung": (-1350, 150), "ct_soft": (-150, 250), "ct_bone": (-500, 1300)}


@pytest.fixture(scope="module", autouse=True)
def quick_workers() -> None:
    torch.set_num_threads(1)
    start_forkserver()


def preset(folder: Path, name: str, *overrides: str) -> ImagesConfig:
    """The settings of conf/images/<name>.yaml, as the command line gives them."""
    own = [f"images.cache_dir={folder}/cache", "images.num_processes=1"]
    return load_config(["manifest=demo", f"images={name}", *own, *overrides]).images


def pack(manifest: Manifest, config: ImagesConfig) -> PackedImages:
    return pack_images(manifest, config, lambda _done, _of: None)


def hounsfield(shape: tuple[int, ...] = (24, 16, 12)) -> Array:
    """Every whole number from -1400 to 1400, then air: as a scanner's 12 bits would have it."""
    values = np.full(np.prod(shape), -1000, np.int16)
    values[:2801] = np.arange(-1400, 1401)
    return values.reshape(shape)


def nifti(path: Path, array: Array, spacing: tuple[float, ...] = (1, 1, 1)) -> str:
    nibabel.save(nibabel.Nifti1Image(array, np.diag([*spacing, 1.0])), path)
    return path.name


def as_stored(*shape: int) -> list[str]:
    """A preset's window and type only: every value can be compared."""
    return ["images.spacing=null", f"images.size={list(shape)}".replace(" ", "")]


def check_window(values: Array, hu: Array, low: float, high: float) -> None:
    """The edges are 0 and 1, all between is in its place, and every HU is told from the next."""
    assert values[hu <= low].max() == 0
    assert values[hu >= high].min() == 1
    inside = (hu >= low) & (hu <= high)
    expected = (hu[inside] - low) / (high - low)
    np.testing.assert_allclose(values[inside].astype(float), expected, atol=2**-12)
    assert len(np.unique(values[inside])) == len(np.unique(hu[inside]))


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_of_a_nifti_ct_keeps_every_hounsfield_unit_in_it(
    tmp_path: Path, name: str
) -> None:
    hu = hounsfield()
    manifest = manifest_of_files(tmp_path, [nifti(tmp_path / "a.nii.gz", hu)])
    packed = pack(manifest, preset(tmp_path, name, *as_stored(*hu.shape)))
    assert packed.dtype == "float16"
    check_window(packed.array[0, 0], hu, *WINDOWS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize(("slope", "offset"), [(1, -1424), (2, -1400)])
def test_a_window_of_dicom_slices_is_one_of_rescaled_values(
    tmp_path: Path, name: str, slope: int, offset: int
) -> None:
    """12 stored bits, unsigned; Hounsfield units only after RescaleSlope and RescaleIntercept."""
    hu = np.arange(-1400, 1400, slope, dtype=np.int64)
    hu = np.resize(hu, (56, 50))
    stored = ((hu - offset) // slope).astype(np.uint16)
    scale = {"RescaleSlope": slope, "RescaleIntercept": offset, "BitsStored": 12, "HighBit": 11}
    write_dicom(tmp_path / "a.dcm", stored, PixelSpacing=[0.7, 0.7], **scale)
    config = preset(tmp_path, name, "images.spatial_dims=2", *as_stored(56, 50))
    packed = pack(manifest_of_files(tmp_path, ["a.dcm"]), config)
    check_window(packed.array[0, 0], hu, *WINDOWS[name])


def test_a_dicom_series_and_its_nifti_give_the_network_the_same_volume(tmp_path: Path) -> None:
    """Resampled to 2.5 mm, padded to 128 voxels around the centre; outside there is air."""
    hu = np.random.default_rng(0).integers(-1200, 300, (6, 40, 30), dtype=np.int16)
    tags: dict[str, Any] = {"RescaleSlope": 1, "RescaleIntercept": -1200}
    write_series(tmp_path / "series", (hu + 1200).astype(np.uint16), gap=5.0, **tags)
    turned = hu.transpose(2, 1, 0)[::-1, ::-1]  # rows and columns of DICOM go left and backwards
    nifti(tmp_path / "b.nii.gz", np.ascontiguousarray(turned), (0.75, 0.5, 5.0))
    manifest = manifest_of_files(tmp_path, ["series", "b.nii.gz"])
    packed = pack(manifest, preset(tmp_path, "ct_lung"))
    assert packed.spatial_shape == (128, 128, 128)
    np.testing.assert_allclose(packed.array[0].astype(float), packed.array[1], atol=2**-10)
    seen = np.argwhere(packed.array[1, 0] > 0)
    extent = (seen.max(axis=0) - seen.min(axis=0) + 1) * 2.5
    mm = np.array([30 * 0.75, 40 * 0.5, 6 * 5.0])
    assert (np.abs(extent - mm) <= 5).all(), "millimetres are kept"
    centre = (seen.max(axis=0) + seen.min(axis=0)) / 2
    assert (np.abs(centre - 63.5) <= 1).all()


def test_twelve_bits_stay_apart_and_exposure_does_not_count_in_radiographs(
    tmp_path: Path,
) -> None:
    ramp = np.resize(np.arange(3000, dtype=np.uint16), (64, 64))
    for name, factor in (("a.tif", 1), ("b.tif", 5)):
        tifffile.imwrite(tmp_path / name, ramp * factor + 70, photometric="minisblack")
    Image.fromarray((ramp // 12).astype(np.uint8)).save(tmp_path / "c.png")
    manifest = manifest_of_files(tmp_path, ["a.tif", "b.tif", "c.png"])
    one, bright, eight = pack(manifest, preset(tmp_path, "radiograph", "images.size=[64]")).array
    np.testing.assert_allclose(one.astype(float), bright, atol=1e-3)
    np.testing.assert_allclose(one.astype(float), eight, atol=0.006)
    low, high = np.percentile(ramp, [0.5, 99.5])
    np.testing.assert_allclose(
        one[0].astype(float), ((ramp - low) / (high - low)).clip(0, 1), atol=1e-3
    )
    assert len(np.unique(one)) > 1500, "8 bits would keep 256"


def test_a_robust_range_is_of_each_channel_and_of_something(tmp_path: Path) -> None:
    """Of a small object before nothing both percentiles are 0."""
    few = np.zeros((32, 32, 4), np.float32)
    few[5, 5:9] = [10, 20, 30, 40], [10, 20, 30, 40], [10, 20, 30, 40], [10, 20, 30, 40]
    many = np.random.default_rng(0).normal(500, 100, few.shape).astype(np.float32)
    both = np.stack([few, many], axis=-1)
    manifest = manifest_of_files(tmp_path, [nifti(tmp_path / "a.nii.gz", both)])
    config = preset(tmp_path, "mr", "images.num_channels=2", *as_stored(32, 32, 4))
    small, usual = pack(manifest, config).array[0].astype(float)
    assert sorted(set(small.ravel().tolist())) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    low, high = np.percentile(many, [1, 99])
    np.testing.assert_allclose(usual, ((many - low) / (high - low)).clip(0, 1), atol=1e-3)


def test_each_ultrasound_image_has_mean_0_and_sd_1_and_one_without_contrast_is_0(
    tmp_path: Path,
) -> None:
    noise = np.random.default_rng(0).integers(0, 99, (30, 40), dtype=np.uint8)
    for name, pixels in (("a", noise), ("b", noise + 80), ("c", np.full_like(noise, 7))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    manifest = manifest_of_files(tmp_path, ["a.png", "b.png", "c.png"])
    one, brighter, flat = pack(manifest, preset(tmp_path, "ultrasound")).array.astype(float)
    assert (one.mean(), one.std()) == pytest.approx((0, 1), abs=1e-3)
    np.testing.assert_allclose(one, brighter, atol=1e-2)
    assert (flat == 0).all()


@pytest.mark.parametrize("name", ["histology", "dermoscopy"])
def test_colours_of_8_bits_stay_8_bits(tmp_path: Path, name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    manifest = manifest_of_files(tmp_path, ["a.png"])
    packed = pack(manifest, preset(tmp_path, name, *as_stored(50, 70)))
    assert packed.dtype == "uint8"
    np.testing.assert_array_equal(packed.array[0], np.moveaxis(pixels, -1, 0))


def test_the_page_has_a_line_on_every_preset_with_its_values() -> None:
    """Windows and percentiles are told by numbers, which must be those of the file."""
    page = (CONF.parents[1] / "docs" / "images.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `images=(\w+)` \|(.*)$", page, re.MULTILINE))
    assert sorted(rows) == sorted(path.stem for path in CONF.glob("*.yaml"))
    for name, row in rows.items():
        values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
        if window := values.get("window"):
            low, high = window
            assert f"{low:g} to {high:g} HU" in row
            assert f"(width {high - low:g}, level {(low + high) / 2:g})" in row
        sizes = [*(values.get("size") or []), *(values.get("spacing") or [])]
        assert all(f"{size:g}" in row for size in sizes)


# --- what cannot be right is said


RAW = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (RAW.astype(np.uint8), "has 8 bits, a picture: Hounsfield units .* need 12 or more"),
        (RAW + 900, "has values from 900 to 1019, which cannot be Hounsfield units"),
        (RAW / np.float32(120), "has values from 0 to .*cannot be Hounsfield units"),
        (RAW / np.float32(20) - 3, "from -3 to 2.95, which cannot be .*images.unit=null"),
    ],
    ids=["8 bits", "rescale lost", "0 to 1", "z-score"],
)
def test_values_that_cannot_be_hounsfield_units_are_refused(
    tmp_path: Path, values: Array, message: str
) -> None:
    manifest = manifest_of_files(tmp_path, [nifti(tmp_path / "a.nii.gz", values)])
    with pytest.raises(UnusableImagesError, match=message):
        pack(manifest, preset(tmp_path, "ct_soft"))
    pack(manifest, preset(tmp_path, "ct_soft", "images.unit=null", "images.size=[4]"))


def test_a_slice_of_nothing_but_air_is_one_in_hounsfield_units(tmp_path: Path) -> None:
    air = np.full((4, 5, 6), -1000, np.int16)
    manifest = manifest_of_files(tmp_path, [nifti(tmp_path / "a.nii.gz", air)])
    assert not pack(manifest, preset(tmp_path, "ct_soft", "images.size=[4]")).array.any()


def test_a_preset_of_volumes_says_what_to_change_for_pictures(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(tmp_path / "a.png")
    manifest = manifest_of_files(tmp_path, ["a.png"])
    with pytest.raises(UnusableImagesError, match=r"has 2 spatial dimensions .*spatial_dims=2"):
        pack(manifest, preset(tmp_path, "mr"))
    with pytest.raises(UnusableImagesError, match=r"mm, as images.spacing needs; .*spacing=null"):
        pack(manifest, preset(tmp_path, "mr", "images.spatial_dims=2"))
    alone = preset(tmp_path, "mr", "images.spatial_dims=2", "images.spacing=null")
    assert pack(manifest, alone).spatial_shape == (96, 96)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["images.size=[8,8,8]"], "images.size: 2D images need 2 values, or one for all axes, got"),
        (["images=mr", "images.spacing=[1,1]"], "images.spacing: 3D images need 3 values, or one"),
        (
            ["images.spatial_dims=3"],
            "images.transforms.0.spatial_size: 3D images need 3 values",
        ),
        (["images.window=[250,-150]"], "images.window: the first value must be less than the"),
        (["images.percentiles=[99,99]"], "images.percentiles: the first value must be less"),
        (["images.percentiles=[-1,99]"], "images.percentiles.0: "),
        (["images=mr", "images.window=[0,9]"], "images.window and images.percentiles: set one"),
        (["images=ct_bone", "images.window=[-1000,3000]"], "4,000 wide; set images.dtype=float32"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(overrides: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem.replace("[", r"\[")):
        load_config(["manifest=demo", *overrides])


@pytest.mark.parametrize(
    "change",
    [
        {"window": (0.0, 9.0)},
        {"percentiles": (1.0, 99.0)},
        {"size": (5,)},
        {"size": (5,), "fit": "crop"},
        {"normalise": "image"},
    ],
    ids=str,
)
def test_what_changes_the_pixels_changes_the_cache(
    tmp_path: Path, change: dict[str, object]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 99, (9, 7), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    manifest = manifest_of_files(tmp_path, ["a.png"])
    own = {"cache_dir": str(tmp_path / "cache"), "num_processes": 1}
    before = pack(manifest, ImagesConfig(**own))  # type: ignore[arg-type]
    after = pack(manifest, ImagesConfig(**own, **change))  # type: ignore[arg-type]
    assert after.key != before.key
    assert not np.array_equal(after.array, before.array)
    by_fold = ImagesConfig(**own, normalise="none")  # type: ignore[arg-type]
    assert pack(manifest, by_fold).key == before.key, "one cache for what is done later"
