"""Files as public sets hold them go through `check` and `cv`, or stop with what to set."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from system_runs import make_cohort

from pipeline.audit.report import Report
from pipeline.commands.check import examine
from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config
from pipeline.images.packing import pack_images
from pipeline.manifest import read_manifest

Array = NDArray[Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_epoch(*overrides: str) -> list[str]:
    return [
        *overrides,
        "training.epochs=1",
        "folds=[0]",
        "split.num_folds=3",
        "manifest.columns.site=null",
        "engine.device=cpu",
        "images.num_processes=1",
        "images.cache_dir=cache",
        "run_dir=run",
    ]


def checked(*overrides: str) -> tuple[Report, dict[str, str]]:
    """The report, and the text of every finding by its severity and rule."""
    report = examine(load_config(one_epoch(*overrides)), Console(quiet=True))
    return report, {f"{f.severity} {f.rule}": f.message for f in report.findings}


def test_names_of_another_format_are_one_warning_and_no_obstacle(folder: Path) -> None:
    cohort = make_cohort(folder / "cohort")
    rows = cohort.rows()
    for row in rows[:17]:
        path = cohort.folder / row["image_path"]
        with Image.open(path) as image:
            image.save(path, format="JPEG")
    path = cohort.folder / rows[20]["image_path"]
    path.rename(path.with_suffix(".jpg"))
    rows[20]["image_path"] = path.with_suffix(".jpg").name
    cohort.write_rows(rows)
    _, told = checked(*cohort.overrides)
    assert not [key for key in told if key.startswith("error")]
    assert told["warning misnamed"].startswith("18 images with a name of another format, read by ")
    assert 0 <= cross_validate(load_config(one_epoch(*cohort.overrides))).mean <= 1
    assert (folder / "run" / "fold_00" / "result.json").exists()


def volumes(folder: Path, spacings: Sequence[float], background: float = 0.0) -> list[str]:
    """A ball in noise, in slices of this thickness in mm; one volume of each of 12 patients."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    rows = [["patient_id", "image_path", "label"]]
    for number in range(12):
        spacing = spacings[number % len(spacings)]
        z = (np.arange(round(48 / spacing)) + 0.5) * spacing - 24
        x, y = np.arange(-11.5, 12)[:, None, None], np.arange(-11.5, 12)[None, :, None]
        inside = x**2 + y**2 + z**2 < 100
        noise = generator.normal(100 + 20 * (number % 2), 25, inside.shape)
        volume = np.where(inside, noise, background).astype(np.float32)
        affine = np.diag([-1.0, -1.0, spacing, 1.0])
        nibabel.save(nibabel.Nifti1Image(volume, affine), folder / f"{number}.nii.gz")
        rows.append([f"P{number:02d}", f"{number}.nii.gz", ("a", "b")[number % 2]])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return [
        f"manifest.path={folder}/manifest.csv",
        "manifest.accept=[one_image_per_patient]",
        "model=resnet10",
        "augment=volume",
    ]


def tall(overrides: Sequence[str]) -> Iterator[int]:
    """Slices of each ball: what is not 0 after the transforms."""
    config = load_config(one_epoch(*overrides))
    packed = pack_images(read_manifest(config.manifest), config.images, lambda _done, _of: None)
    for volume in np.asarray(packed.array)[:, 0]:
        yield int((volume > 0.2).any(axis=(0, 1)).sum())


def test_mixed_voxel_sizes_are_told_and_resampled(folder: Path) -> None:
    set_of = volumes(folder / "set", [1, 1, 3])
    _, told = checked(*set_of, "images=mri48")
    assert told["warning spacing"] == (
        "voxel size in mm as stored: 1 x 1 x 1 (8), 1 x 1 x 3 (4); along the axes: 1, 1, 1 to 3; "
        "they are taken as equal: images.spacing=[1,1,1] resamples all"
    )
    assert told["note orientation"] == "axes as stored: LPS (12); turned to RAS"
    assert set(tall([*set_of, "images=mri48"])) == {20, 6}
    assert set(tall([*set_of, "images=mri48", "images.spacing=[1,1,1]"])) <= {19, 20, 21}
    assert set(tall([*set_of, "images=mri2mm"])) <= {9, 10, 11}
    _, told = checked(*set_of, "images=mri2mm")
    assert "warning spacing" not in told
    assert told["note spacing"].endswith("resampled to 2 x 2 x 2")


def test_a_background_of_nan_is_an_error_with_the_setting_that_fills_it(folder: Path) -> None:
    set_of = volumes(folder / "set", [2], np.nan)
    report, told = checked(*set_of, "images=mri48")
    (error,) = {text for key, text in told.items() if key.startswith("error")}
    assert "% of its pixels; images.nonfinite=fill sets them to images.fill_value" in error
    _, told = checked(*set_of, "images=mri48", "images.nonfinite=fill")
    assert "which became 0: line " in told["warning filled"]
    assert told["warning filled"].endswith("; 12 images more than 50 %")
    assert not [key for key in told if key.startswith("error")]
    assert report.findings


def test_fractions_train_with_the_default_images(folder: Path) -> None:
    """Rounded to whole numbers, nothing would be left of them."""
    cohort = make_cohort(folder / "cohort")
    rows = cohort.rows()
    for row in rows:
        path = cohort.folder / row["image_path"]
        with Image.open(path) as image:
            fractions = np.asarray(image, np.float32) / 255
        row["image_path"] = path.with_suffix(".npy").name
        np.save(path.with_suffix(".npy"), fractions)
    cohort.write_rows(rows)
    config = load_config(one_epoch(*cohort.overrides))
    packed = pack_images(read_manifest(config.manifest), config.images, lambda _done, _of: None)
    assert packed.dtype == "float32"
    assert len(np.unique(packed.array)) > 100
    _, told = checked(*cohort.overrides, "images.dtype=uint8")
    (error,) = {text for key, text in told.items() if key.startswith("error")}
    assert "images.dtype=uint8 would round away its contrast" in error
