"""What images hold survives the cache: its type, values that are no numbers, voxel sizes."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from image_manifest import manifest_of_files
from numpy.typing import NDArray
from PIL import Image

from pipeline.config import ImagesConfig, UserError, fingerprint
from pipeline.files import sha256
from pipeline.images.packed import PackedImages
from pipeline.images.packing import pack_images
from pipeline.manifest import Manifest
from pipeline.processes import start_forkserver

RESIZE = {"_target_": "monai.transforms.Resize", "spatial_size": [12, 10]}
SCALE = {"_target_": "monai.transforms.ScaleIntensity"}
GENERATOR = np.random.default_rng(0)
Array = NDArray[Any]


@pytest.fixture(scope="module", autouse=True)
def quick_workers() -> None:
    """Import monai once for all workers of this module."""
    torch.set_num_threads(1)
    start_forkserver()


def fractions() -> Array:
    return GENERATOR.random((15, 11)).astype(np.float32)


def grey(low: int = 0, high: int = 256) -> Array:
    return GENERATOR.integers(low, high, (15, 11)).astype(np.uint8)


def blank() -> Array:
    return GENERATOR.integers(250, 252, (15, 11)).astype(np.uint8)


def manifest_of(folder: Path, arrays: Sequence[Array]) -> Manifest:
    """One patient an image; 8 bits as PNG, all else as NPY."""
    names = []
    for i, array in enumerate(arrays):
        if array.dtype == np.uint8:
            Image.fromarray(array).save(folder / f"{i:03}.png")
            names.append(f"{i:03}.png")
        else:
            np.save(folder / f"{i:03}.npy", array)
            names.append(f"{i:03}.npy")
    return manifest_of_files(folder, names)


def config_of(folder: Path, **settings: Any) -> ImagesConfig:
    usual = {"transforms": (RESIZE,), "dtype": "auto", "num_processes": 1}
    return ImagesConfig(**{**usual, "cache_dir": str(folder / "cache"), **settings})


def pack(manifest: Manifest, config: ImagesConfig) -> tuple[PackedImages, int]:
    """The packed images, and how often an image was decoded for it."""
    seen: list[int] = []
    packed = pack_images(manifest, config, lambda done, _of: seen.append(done))
    return packed, len(seen)


# --- the type follows the images


def test_fractions_survive(tmp_path: Path) -> None:
    arrays = [fractions() for _ in range(3)]
    packed, _ = pack(manifest_of(tmp_path, arrays), config_of(tmp_path, transforms=()))
    assert packed.dtype == "float32"
    np.testing.assert_array_equal(packed.array[:, 0], np.stack(arrays))


@pytest.mark.parametrize("dtype", ["auto", "uint8"])
@pytest.mark.parametrize(
    "arrays",
    [
        [grey(), grey(), grey()],
        [grey(), blank(), blank(), grey()],
        [grey(), np.full((15, 11), 7, np.uint8)],
    ],
    ids=["usual", "blank among others", "constant among others"],
)
def test_files_of_8_bits_stay_so(tmp_path: Path, arrays: list[Array], dtype: str) -> None:
    packed, _ = pack(manifest_of(tmp_path, arrays), config_of(tmp_path, dtype=dtype))
    assert packed.dtype == "uint8"


DESTROYED = [
    ([fractions(), fractions()], (RESIZE,), [2, 3]),
    ([fractions(), grey(), grey()], (RESIZE,), [2]),
    ([grey(), grey()], (RESIZE, SCALE), [2, 3]),
    ([grey(0, 2), grey(0, 2)], (RESIZE,), [2, 3]),
    ([fractions() * 2 + 100, grey()], (), [2]),
]
IDS = ["fractions", "some fractions", "scaled by a transform", "masks that are resized", "offset"]


@pytest.mark.parametrize(("arrays", "transforms", "lines"), DESTROYED, ids=IDS)
def test_contrast_that_8_bits_would_destroy_is_an_error_or_gets_more(
    tmp_path: Path, arrays: list[Array], transforms: Any, lines: list[int]
) -> None:
    manifest = manifest_of(tmp_path, arrays)
    with pytest.raises(UserError) as caught:
        pack(manifest, config_of(tmp_path, transforms=transforms, dtype="uint8"))
    text = str(caught.value)
    assert "images.dtype=uint8 would round away its contrast after the transforms; use " in text
    assert "images.dtype=auto" in text
    for line in range(2, 2 + len(arrays)):
        assert (f"line {line}: " in text) == (line in lines)
    packed, _ = pack(manifest, config_of(tmp_path, transforms=transforms))
    assert packed.dtype == "float32"


@pytest.mark.parametrize(
    "arrays",
    [
        [np.array([[0, 40000]] * 4, np.uint16), grey()],
        [grey(), np.array([[-5, 3]] * 4, np.int8)],
        [grey().astype(np.uint16)] * 2,
        [fractions() * 255] * 2,
    ],
    ids=["range", "sign", "depth", "fractions of a large range"],
)
def test_what_is_deeper_than_8_bits_gets_more(tmp_path: Path, arrays: list[Array]) -> None:
    packed, _ = pack(manifest_of(tmp_path, arrays), config_of(tmp_path))
    assert packed.dtype == "float32"


@pytest.mark.parametrize(
    ("array", "fits"),
    [
        (np.arange(2048, dtype=np.float32).reshape(32, 64), True),
        (np.arange(-1024, 3072, dtype=np.float32).reshape(64, 64), True),
        (fractions(), True),
        (np.arange(30000, 30064, dtype=np.float32).reshape(8, 8), False),
        (fractions() + 1000, False),
    ],
    ids=["2048", "CT", "fractions", "16 bits with an offset", "fractions with an offset"],
)
def test_float16_that_would_destroy_contrast_is_an_error(
    tmp_path: Path, array: Array, fits: bool
) -> None:
    manifest = manifest_of(tmp_path, [array, array])
    config = config_of(tmp_path, transforms=(), dtype="float16")
    if fits:
        assert pack(manifest, config)[0].dtype == "float16"
        return
    with pytest.raises(UserError, match=r"images.dtype=float16 would round away its contrast"):
        pack(manifest, config)


# --- and no run of before is lost by it


def old_key(manifest: Manifest, config: ImagesConfig, dtype: str) -> str:
    """As it was made when the type had to be named."""
    digests = [sha256(path) for path in manifest.image_files]
    settings = [config.spatial_dims, config.num_channels, dtype, config.transforms]
    return fingerprint([3, version("monai"), settings, digests])


def test_the_cache_of_a_type_that_had_to_be_named_is_the_same(tmp_path: Path) -> None:
    """Its key is part of the identity of runs."""
    manifest, config = manifest_of(tmp_path, [grey(), grey(), blank()]), config_of(tmp_path)
    named, _ = pack(manifest, config_of(tmp_path, dtype="uint8"))
    assert named.key == old_key(manifest, config, "uint8")
    found, num_decoded = pack(manifest, config)
    assert (found.key, found.path, num_decoded) == (named.key, named.path, 0)


def test_a_smaller_cache_that_was_asked_for_decides_nothing(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, [grey().astype(np.uint16)] * 2)
    assert pack(manifest, config_of(tmp_path, dtype="uint8"))[0].dtype == "uint8"
    found, _ = pack(manifest, config_of(tmp_path))
    assert found.dtype == "float32"
    assert found.key == old_key(manifest, config_of(tmp_path), "float32")


def test_the_type_that_was_found_is_remembered(tmp_path: Path) -> None:
    arrays = [grey(), grey()]
    manifest, config = manifest_of(tmp_path, arrays), config_of(tmp_path, transforms=(SCALE,))
    first, num_decoded = pack(manifest, config)
    assert (first.dtype, num_decoded) == ("float32", 2), "a chunk for each of both types"
    again, num_decoded = pack(manifest, config)
    assert (again.key, num_decoded) == (first.key, 0)


def test_a_wider_cache_that_was_asked_for_decides_nothing(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, [grey(), grey()])
    pack(manifest, config_of(tmp_path, dtype="float32"))
    assert pack(manifest, config_of(tmp_path))[0].dtype == "uint8"


@pytest.mark.parametrize(
    ("name", "array", "revised"),
    [
        ("a.png", grey(), False),
        ("a.png", grey().astype(np.uint16), False),
        ("a.tif", grey(), False),
        ("a.tif", fractions(), False),
        ("a.tif", grey().astype(np.int8), True),
        ("a.npy", grey(), False),
        ("a.npy", np.stack([grey()] * 3, axis=-1), True),
        ("a.nii.gz", np.ones((4, 5, 6), np.int16), False),
        ("a.nii.gz", np.ones((4, 5, 6, 3), np.int16), True),
        ("a.nii", np.ones((4, 5, 6, 3), ">i2"), True),
    ],
)
def test_only_files_that_are_read_otherwise_get_another_cache(
    tmp_path: Path, name: str, array: Array, revised: bool
) -> None:
    import tifffile

    if name.endswith(".npy"):
        np.save(tmp_path / name, array)
    elif ".nii" in name:
        header = nibabel.Nifti1Header(endianness=">" if array.dtype.str[0] == ">" else "<")
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4), header), tmp_path / name)
    elif name.endswith(".tif"):
        tifffile.imwrite(tmp_path / name, array, photometric="minisblack")
    else:
        Image.fromarray(array).save(tmp_path / name)
    manifest = manifest_of_files(tmp_path, [name])
    num_channels, spatial_dims = (3 if array.shape[-1] == 3 else 1), (3 if ".nii" in name else 2)
    config = config_of(
        tmp_path,
        dtype="float32",
        transforms=(),
        num_channels=num_channels,
        spatial_dims=spatial_dims,
    )
    packed, _ = pack(manifest, config)
    assert (packed.key != old_key(manifest, config, "float32")) == revised


# --- values that are no numbers


def test_a_background_of_nan_is_filled_on_request(tmp_path: Path) -> None:
    array = fractions()
    array[:9] = np.nan
    manifest = manifest_of(tmp_path, [array, fractions()])
    with pytest.raises(
        UserError, match=r"1 image .*\n.*not finite .* in 60 % of its pixels; images"
    ):
        pack(manifest, config_of(tmp_path))
    config = config_of(tmp_path, transforms=(), nonfinite="fill", fill_value=-1.0)
    packed, _ = pack(manifest, config)
    np.testing.assert_array_equal(packed.array[0, 0], np.where(np.isnan(array), -1, array))
    assert [(fact["filled"], fact["fill_value"]) for fact in packed.facts] == [
        ("0.6", "-1"),
        ("0", "-1"),
    ]
    other, _ = pack(manifest, config_of(tmp_path, transforms=(), nonfinite="fill"))
    assert other.key != packed.key


# --- voxel sizes


def ball(shape: Sequence[int], spacing: Sequence[float], radius: float) -> Array:
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    inside: Array = (x**2 + y**2 + z**2 <= radius**2).astype(np.int16) * 1000
    return inside


def heights(packed: PackedImages) -> list[list[int]]:
    """Voxels of each ball along each axis."""
    found = []
    for volume in np.asarray(packed.array)[:, 0] > 0:
        others = [(1, 2), (0, 2), (0, 1)]
        found.append([int(volume.any(axis=axes).sum()) for axes in others])
    return found


def test_balls_of_one_size_are_equally_tall_in_voxels_of_one_size(tmp_path: Path) -> None:
    sizes = [((30, 30, 30), (1, 1, 1)), ((30, 30, 10), (1, 1, 3)), ((10, 30, 30), (3, 1, 1))]
    names = []
    for i, (shape, spacing) in enumerate(sizes):
        # The last one lies on its side: x of the patient is the third axis of the file.
        affine, volume = np.diag([*spacing, 1.0]), ball(shape, spacing, 10)
        if i == 2:
            affine, volume = affine[:, [1, 2, 0, 3]], volume.transpose(1, 2, 0)
        nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / f"{i}.nii.gz")
        names.append(f"{i}.nii.gz")
    manifest = manifest_of_files(tmp_path, names)
    pad = {"_target_": "monai.transforms.ResizeWithPadOrCrop", "spatial_size": [32, 32, 32]}
    config = config_of(tmp_path, spatial_dims=3, transforms=(pad,))
    packed, _ = pack(manifest, config)
    assert heights(packed) == [[20, 20, 20], [20, 20, 6], [6, 20, 20]]
    config = config_of(tmp_path, spatial_dims=3, transforms=(pad,), spacing=[1, 1, 1])
    packed, _ = pack(manifest, config)
    np.testing.assert_allclose(heights(packed), 20, atol=1)
    assert [fact["spacing"] for fact in packed.facts] == ["1 1 1", "1 1 3", "3 1 1"]
    assert [fact["orientation"] for fact in packed.facts] == ["RAS", "RAS", "ASR"]


def test_pictures_without_a_size_in_mm_cannot_be_resampled(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, [grey()])
    with pytest.raises(
        UserError, match=r"does not say how large its pixels are in mm, as images.sp"
    ):
        pack(manifest, config_of(tmp_path, spacing=[1, 1]))


def test_resampling_cannot_ask_for_much_memory(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(ball((9, 9, 9), (1, 1, 1), 3), np.eye(4)), tmp_path / "a.nii")
    manifest = manifest_of_files(tmp_path, ["a.nii"])
    config = config_of(tmp_path, spatial_dims=3, transforms=(), spacing=[0.001] * 3)
    message = r"would have 729,000,000,000 values with images.spacing, images.most_voxels allows"
    with pytest.raises(UserError, match=message):
        pack(manifest, config)
