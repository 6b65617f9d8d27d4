"""Samples of three images each, `manifest.columns.image=[t1,t2,flair]`, through the whole of `cv`.

What tells the classes apart is in `t2` alone, so that a run that loses a channel is at chance.
"""

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from system_runs import cv_command, only_run_dir, run_cv

from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config
from pipeline.config import UserError
from pipeline.tracking.journal import EpochEnded, read_journal

NAMES = ("t1", "t2", "flair")
NUM_PATIENTS = 18
SIDES = {2: (24, 24), 3: (20, 20, 20)}
NETWORK = ("model=lenet5", "training.epochs=6", "optimizer.lr=3e-3", "augment=none")
BASELINE = ("model=logistic", "features=pixels")


def save(path: Path, pixels: NDArray[Any], spacing: float = 1) -> str:
    if pixels.ndim == 2:
        Image.fromarray(pixels).save(path)
    else:
        affine = np.diag([spacing] * 3 + [1.0])
        nibabel.save(nibabel.Nifti1Image(pixels.astype(np.int16), affine), path)
    return path.name


def write_rows(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_cohort(folder: Path, dims: int) -> list[dict[str, str]]:
    """A row for each patient; every second has a bright block in t2."""
    folder.mkdir()
    rng = np.random.default_rng(dims)
    rows = []
    for number in range(NUM_PATIENTS):
        row = {"patient_id": f"P{number:02d}", "label": ("healthy", "lesion")[number % 2]}
        for name in NAMES:
            pixels = rng.normal(90, 25, SIDES[dims])
            if name == "t2" and number % 2:
                pixels[(slice(6, 14),) * dims] += 90
            path = folder / f"{number:02d}_{name}{'.png' if dims == 2 else '.nii'}"
            row[name] = save(path, pixels.clip(0, 255).astype(np.uint8))
        rows.append(row)
    write_rows(folder, rows)
    return rows


def overrides(folder: Path, dims: int, *more: str) -> list[str]:
    common = ["manifest.columns.site=null", "manifest.columns.image=[t1,t2,flair]"]
    common += ["manifest.accept=[one_image_per_patient]", "images.transforms=[]"]
    common += ["split.num_folds=3", "training.batch_size=4", "engine.device=cpu", "name=channels"]
    common += [f"manifest.path={folder}/manifest.csv", f"images.spatial_dims={dims}"]
    common += ["+model.spatial_dims=3"] * (dims == 3 and "model=lenet5" in more)
    return [*common, *more]


@pytest.mark.parametrize("model", [NETWORK, BASELINE], ids=["network", "baseline"])
@pytest.mark.parametrize("dims", [2, 3])
def test_all_of_them_are_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dims: int, model: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = write_cohort(tmp_path / "data", dims)
    run_dir = cross_validate(load_config(overrides(tmp_path / "data", dims, *model))).run_dir
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["patient"]["auroc"]["value"] > 0.9
    with (run_dir / "predictions.csv").open(newline="") as file:
        named = {row["image_path"]: row["patient_id"] for row in csv.DictReader(file)}
    assert named == {"|".join(row[name] for name in NAMES): row["patient_id"] for row in rows}
    if model == NETWORK:
        best = torch.load(run_dir / "fold_00" / "best.pt", weights_only=True)["network"]
        assert next(iter(best.values())).shape[1] == 3, "channels of the first convolution"


@pytest.mark.parametrize("dims", [2, 3])
def test_a_killed_run_ends_like_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dims: int
) -> None:
    write_cohort(tmp_path / "data", dims)
    # the folds in turn: when the first is killed, nothing of the last is done
    asked = overrides(tmp_path / "data", dims, *NETWORK, "engine.folds_at_once=1")
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    whole = cross_validate(load_config(asked)).run_dir.resolve()

    process = subprocess.Popen(
        cv_command(*asked),
        cwd=tmp_path / "killed",
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    journal = f"runs/channels/{whole.name}/fold_00/journal.jsonl"
    while process.poll() is None and not _num_epochs(tmp_path / "killed" / journal):
        time.sleep(0.002)
    assert process.poll() is None, "it ended before it was killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list((tmp_path / "killed").glob("runs/channels/*/*/result.json"))) < 3
    monkeypatch.chdir(tmp_path / "killed")
    cross_validate(load_config(asked))

    killed = only_run_dir(tmp_path / "killed", "channels")
    assert killed.name == whole.name
    for path in ("predictions.csv", "metrics.json", "plan.csv"):
        assert (killed / path).read_bytes() == (whole / path).read_bytes(), path
    for fold in range(3):
        assert _num_epochs(killed / f"fold_{fold:02d}" / "journal.jsonl") == 6


def _num_epochs(journal: Path) -> int:
    if not journal.exists():
        return 0
    return sum(isinstance(event, EpochEnded) for event in read_journal(journal))


@pytest.mark.parametrize("model", [NETWORK, BASELINE], ids=["network", "baseline"])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_missing_image_and_another_geometry_are_told_before_any_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dims: int, model: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    rows = write_cohort(folder, dims)
    asked = load_config(overrides(folder, dims, *model))
    kept = rows[3]["flair"], rows[4]["t1"]
    rows[3]["flair"], rows[4]["t1"] = "", "gone.png"
    write_rows(folder, rows)
    with pytest.raises(UserError) as missing:
        cross_validate(asked)
    assert "line 5: the image path in column 'flair' is blank" in str(missing.value)
    assert "line 6: patient 'P04': image" in str(missing.value)

    rows[3]["flair"], rows[4]["t1"] = kept
    write_rows(folder, rows)
    smaller = tuple(side - 2 for side in SIDES[dims])
    save(folder / rows[7]["t2"], np.full(smaller, 7, np.uint8))
    with pytest.raises(UserError, match=r"line 9: patient 'P07'.*image 2 of 3 has shape"):
        cross_validate(asked)
    assert not (tmp_path / "runs").exists(), "a mistake costs no run folder"


def test_the_command_says_another_voxel_size_in_one_message(tmp_path: Path) -> None:
    rows = write_cohort(tmp_path / "data", 3)
    save(tmp_path / "data" / rows[2]["flair"], np.full(SIDES[3], 7, np.uint8), spacing=2)
    answer = run_cv(tmp_path, *overrides(tmp_path / "data", 3, *NETWORK))
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert answer.stderr.count("error:") == 1
    told = " ".join(answer.stderr.split())
    assert "line 4: patient 'P02'" in told
    assert "image 3 of 3 has voxels of 2 x 2 x 2 mm, image 1 of 1 x 1 x 1 mm" in told
