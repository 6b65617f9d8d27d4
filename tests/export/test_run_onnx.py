"""The script of an ONNX bundle prepares images as training does, or says that it does not."""

import ast
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from dicom_files import write_dicom
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset

from pipeline.config.sections import ImagesConfig
from pipeline.export import run_onnx
from pipeline.export.run_onnx import CannotError, prepared, unsupported
from pipeline.images.decoding import Decoder
from pipeline.images.transforms import per_axis

RESIZE = {"_target_": "monai.transforms.Resize", "spatial_size": [7, 11]}
FIT = {"_target_": "monai.transforms.ResizeWithPadOrCrop", "spatial_size": [9, 31]}
PERCENTILES = {
    "_target_": "monai.transforms.ScaleIntensityRangePercentiles",
    "lower": 1,
    "upper": 99,
    "b_min": 0.0,
    "b_max": 1.0,
    "clip": True,
}
RANGE = {
    "_target_": "monai.transforms.ScaleIntensityRange",
    "a_min": 20,
    "a_max": 200,
    "b_min": -1.0,
    "b_max": 1.0,
    "clip": False,
}
SHAPE = (20, 25)


def contents(config: ImagesConfig, shape: tuple[int, ...]) -> dict[str, Any]:
    return {
        "images": asdict(config),
        "images_per_sample": 1,
        "input": {"shape": list(shape), "dtype": config.dtype},
    }


def both(config: ImagesConfig, path: Path, shape: tuple[int, ...]) -> list[NDArray[Any]]:
    """What the script and the training make of a file."""
    decoded = Decoder(config).decoded((path,), shape, config.dtype).stored
    return [prepared(path, contents(config, shape)), np.asarray(decoded)]


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(len(shape)).integers(0, 256, shape).astype(np.uint8)


def written(folder: Path, kind: str) -> Path:
    """A made-up picture."""
    path = folder / f"image.{kind.partition('-')[0]}"
    match kind:
        case "png" | "jpg":
            Image.fromarray(noise(*SHAPE)).save(path)
        case "png-16":
            Image.fromarray(noise(*SHAPE).astype(np.uint16) * 200).save(path)
        case "png-colour":
            Image.fromarray(noise(*SHAPE, 3)).save(path)
        case "png-grey-as-colour":
            Image.fromarray(noise(*SHAPE)).convert("RGB").save(path)
        case "png-palette":
            Image.fromarray(noise(*SHAPE, 3)).quantize(16).save(path)
        case "png-alpha":
            Image.fromarray(noise(*SHAPE)).convert("LA").save(path)
        case "dcm":
            write_dicom(path, noise(*SHAPE).astype(np.uint16), RescaleSlope=2, RescaleIntercept=-9)
        case "dcm-frames":
            item = Dataset()
            item.PixelValueTransformationSequence = [Dataset()]
            pixels = noise(*SHAPE).astype(np.uint16)
            write_dicom(path, pixels, SharedFunctionalGroupsSequence=[item])
        case "dcm-inverted":
            pixels = noise(*SHAPE).astype(np.uint16)
            write_dicom(path, pixels, PhotometricInterpretation="MONOCHROME1")
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "kind",
    [
        *("png", "jpg", "png-16", "png-colour", "png-grey-as-colour", "png-palette", "png-alpha"),
        *("dcm", "dcm-inverted"),
    ],
)
def test_files_are_read_as_in_training(tmp_path: Path, kind: str, channels: int) -> None:
    config = ImagesConfig(num_channels=channels)
    ours, trained = both(config, written(tmp_path, kind), (channels, *SHAPE))
    np.testing.assert_array_equal(ours, trained)


@pytest.mark.parametrize(
    "settings",
    [
        {"transforms": [RESIZE], "dtype": "uint8"},
        {"transforms": [RESIZE]},
        {"size": [40], "dtype": "uint8"},
        {"size": [9, 31], "fit": "crop", "dtype": "uint8"},
        {"size": [30, 8], "fit": "crop"},
        {"transforms": [FIT]},
        {"transforms": [RANGE]},
        {"transforms": [PERCENTILES], "dtype": "float16"},
        {"window": [50, 180], "size": [16]},
        {"percentiles": [0.5, 99.5], "size": [16], "dtype": "float16"},
        {"size": [16], "normalise": "image"},
    ],
    ids=str,
)
def test_steps_give_what_they_give_in_training(tmp_path: Path, settings: Mapping[str, Any]) -> None:
    config = ImagesConfig(**settings)
    sides = SHAPE if config.size is None else per_axis(config.size, 2)
    if config.transforms in ((RESIZE,), (FIT,)):
        sides = tuple(config.transforms[0]["spatial_size"])
    ours, trained = both(config, written(tmp_path, "png"), (1, *sides))
    assert ours.dtype == trained.dtype
    if config.dtype == "uint8":
        np.testing.assert_array_equal(ours, trained)
    else:
        digits = 1e-3 if config.dtype == "float16" else 1e-5
        np.testing.assert_allclose(ours, trained, rtol=digits, atol=1e-5)


@pytest.mark.parametrize("name", ["volume.nii", "volume.nii.gz"])
@pytest.mark.parametrize("sign", [1, -1])
def test_volumes_are_turned_and_fitted_as_in_training(tmp_path: Path, name: str, sign: int) -> None:
    affine = np.diag([sign * 2.0, 3.0, 1.0, 1.0])[[1, 0, 2, 3]]
    volume = noise(12, 9, 10).astype(np.int16) * 7
    nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / name)
    config = ImagesConfig(spatial_dims=3, size=(8,), fit="crop", percentiles=(1.0, 99.0))
    ours, trained = both(config, tmp_path / name, (1, 8, 8, 8))
    np.testing.assert_allclose(ours, trained, atol=1e-5)
    config = ImagesConfig(spatial_dims=3, size=(6, 7, 8))
    ours, trained = both(config, tmp_path / name, (1, 6, 7, 8))
    np.testing.assert_allclose(ours, trained, rtol=1e-5)


def test_a_prepared_array_is_taken_as_it_is(tmp_path: Path) -> None:
    config = ImagesConfig(spacing=(2.0,), dtype="uint8")
    np.save(tmp_path / "a.npy", noise(1, 5, 6))
    np.testing.assert_array_equal(
        prepared(tmp_path / "a.npy", contents(config, (1, 5, 6))), noise(1, 5, 6)
    )


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"spacing": (2.0,)}, "images.spacing: resampling to millimetres"),
        ({"reader": {"_target_": "my_lab.Raw"}}, "images.reader: my_lab.Raw"),
        ({"transforms": [{"_target_": "my_lab.Halve"}]}, "my_lab.Halve"),
        ({"transforms": [RESIZE | {"mode": "bilinear"}]}, "bilinear"),
        ({"transforms": [{"_target_": "monai.transforms.Rotate90"}]}, "Rotate90"),
        ({"transforms": [FIT | {"spatial_size": 64}]}, "64"),
        ({"transforms": [FIT | {"spatial_size": [9, -1]}]}, "-1"),
    ],
)
def test_what_it_does_not_do_it_names(tmp_path: Path, settings: dict[str, Any], named: str) -> None:
    of = contents(ImagesConfig(**settings), (1, *SHAPE))
    (missing,) = unsupported(of)
    assert named in missing
    with pytest.raises(CannotError, match=r"not prepared here.*with patientfold, or give a .npy"):
        prepared(written(tmp_path, "png"), of)


def test_several_files_of_one_image_are_not_done() -> None:
    of = contents(ImagesConfig(), (2, *SHAPE)) | {"images_per_sample": 2}
    assert unsupported(of) == ["2 files for one image"]


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (b"hello", {}, "neither PNG, JPEG, NIfTI, DICOM nor .npy"),
        (b"\x89PNG\r\n\x1a\nbroken", {}, "cannot be decoded"),
        ("png", {"unit": "HU"}, "which are no Hounsfield units"),
        ("png", {"num_channels": 2}, "has 1 channels, the network takes 2"),
        ("png", {"spatial_dims": 3}, "has 2 axes .* the network takes 3"),
        ("png", {"size": [9]}, r"has shape \(1, 9, 9\) when it is prepared"),
        ("dcm", {"dtype": "uint8"}, "not of uint8"),
        ("dcm-frames", {}, "a rescale of each frame"),
        ("png-16", {"dtype": "uint8", "window": [0, 60000]}, "would lose its contrast"),
    ],
)
def test_what_gets_no_answer_says_why(
    tmp_path: Path, content: bytes | str, settings: dict[str, Any], message: str
) -> None:
    path = tmp_path / "file"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path = written(tmp_path, content)
    with pytest.raises(CannotError, match=message):
        prepared(path, contents(ImagesConfig(**settings), (1, *SHAPE)))


def test_an_array_of_another_kind_is_refused(tmp_path: Path) -> None:
    of = contents(ImagesConfig(dtype="uint8"), (1, 5, 6))
    np.save(tmp_path / "a.npy", np.zeros((1, 5, 6)))
    with pytest.raises(CannotError, match="holds float64, the graph takes uint8"):
        prepared(tmp_path / "a.npy", of)
    np.save(tmp_path / "b.npy", np.array(["x"], dtype=object), allow_pickle=True)
    with pytest.raises((CannotError, ValueError)):
        prepared(tmp_path / "b.npy", of)


@pytest.mark.parametrize(
    ("task", "classes", "limits", "mean", "expected"),
    [
        ("binary", ["no", "yes"], {"yes": 0.3}, [0.69, 0.31], "yes"),
        ("binary", ["no", "yes"], {"yes": 0.3}, [0.71, 0.29], "no"),
        ("multiclass", ["a", "b", "c"], {}, [0.2, 0.5, 0.3], "b"),
        ("multilabel", ["a", "b"], {"a": 0.9, "b": 0.1}, [0.8, 0.2], "b"),
        ("multilabel", ["a", "b"], {"a": 0.9, "b": 0.9}, [0.8, 0.2], "none"),
        ("binary", ["no", "yes"], {"yes": 1.0000000000000002}, [0.0, 1.0], "no"),
        ("multilabel", ["a", "b"], {"a": 1.0000000000000002, "b": 0.9}, [1.0, 0.2], "none"),
    ],
)
def test_it_decides_at_the_thresholds(
    task: str, classes: list[str], limits: dict[str, float], mean: list[float], expected: str
) -> None:
    of = {"task": task, "classes": classes, "thresholds": {"image": limits}}
    assert run_onnx.predicted(of, np.array(mean, dtype=np.float32)) == expected


def test_it_needs_no_more_than_it_says() -> None:
    tree = ast.parse(Path(run_onnx.__file__).read_text())
    names = {
        (node.module or "" if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert names - sys.stdlib_module_names == {"numpy", "PIL", "onnxruntime", "nibabel", "pydicom"}


def test_its_answer_is_one_line_of_json() -> None:
    of = {"task": "binary", "classes": ["no", "yes"], "thresholds": {"image": {"yes": 0.5}}}
    members = np.array([[0.2, 0.8], [0.6, 0.4]], dtype=np.float32)
    said = json.loads(json.dumps(run_onnx.answer(of, members, members.mean(axis=0))))
    assert said["predicted"] == "yes"
    assert said["smallest"]["yes"] == pytest.approx(0.4)
    assert said["largest"]["yes"] == pytest.approx(0.8)
