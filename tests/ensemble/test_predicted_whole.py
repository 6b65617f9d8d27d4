"""Whole predictions of every kind of run, killed ones and images that kill among them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import called
from dicom_files import write_series
from plugin_network import write_network
from rich.console import Console
from trained_run import trained_run, write_images, write_rows

from pipeline.commands.predict import new_images
from pipeline.commands.settings import PredictSettings
from pipeline.config import UserError
from pipeline.engine.finished import Finished
from pipeline.ensemble.kept import Kept
from pipeline.ensemble.predicting import How, Predicted, predict
from pipeline.ensemble.progress import NAME as PROGRESS

pytestmark = pytest.mark.slow
VOLUMES = ("images.spatial_dims=3", "+model.spatial_dims=3", "images.size=[20]")


def predicted(
    folder: Path, name: str = "new", plugins: tuple[str, ...] = (), **asked: object
) -> Predicted:
    """Of folder/new by folder/run, into folder/out_<name>."""
    if not asked:
        asked = {"manifest": {"path": str(folder / name / "manifest.csv")}}
    settings = PredictSettings(run_dir=str(folder / "run"), plugins=plugins, **asked)  # type: ignore[arg-type]
    kept = Kept.of(trained_again(folder), plugins=plugins)
    new = new_images(settings, kept)
    return predict(kept, new, Console(quiet=True), folder / f"out_{name}", How())


def trained_again(folder: Path) -> Finished:
    return Finished.read(folder / "run")


# --- stopped


def test_a_killed_command_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    write_images(tmp_path / "data")
    trained_run(tmp_path)
    write_images(tmp_path / "new", num_patients=300, seed=1, prefix="N")
    command = [sys.executable, "-m", "pipeline", "predict", "run_dir=run", "processes=1"]
    command += [f"manifest.path={tmp_path}/new/manifest.csv"]
    undisturbed = called(tmp_path, *command[3:], "out=whole")
    assert undisturbed.returncode == 0, undisturbed.stderr
    command += ["out=killed"]
    killed = 0
    for lines in (2, 5):  # the header and a batch, then some more
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        path = tmp_path / "killed" / PROGRESS
        while process.poll() is None and num_lines(path) < lines:
            time.sleep(0.002)
        killed += process.poll() is None
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert killed, "it ended before it was killed"
    before = num_lines(path)
    assert 2 <= before < 11
    assert not (tmp_path / "killed" / "predict.json").exists()
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for name in ("predictions.csv", "patients.csv", "predict.json"):
        again, whole = (tmp_path / folder / name for folder in ("killed", "whole"))
        assert again.read_bytes() == whole.read_bytes(), name
    assert not (tmp_path / "killed" / ".decoded").exists()


def num_lines(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def test_an_image_that_kills_its_process_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "data")
    rows = write_images(tmp_path / "new", seed=1, prefix="N")
    asked = write_network("return self.head(images.flatten(1))")
    code = Path("my_lab.py").read_text()
    Path("my_lab.py").write_text(
        f"{code}\nimport os\nclass Read:\n    def __call__(self, path):\n        os._exit(1)\n"
    )
    trained_run(tmp_path, *asked, "+images.reader={_target_:my_lab.Read}")
    (tmp_path / "new" / rows[3]["image_path"]).write_bytes(b"of no known format")
    manifest = {"path": str(tmp_path / "new" / "manifest.csv"), "accept": ["unknown_format"]}
    settings = PredictSettings(run_dir="run", manifest=manifest, plugins=("my_lab",))
    kept = Kept.of(trained_again(tmp_path), plugins=("my_lab",))
    new = new_images(settings, kept)
    out = tmp_path / "out"
    with pytest.raises(UserError, match="kills the process that decodes it"):
        predict(kept, new, Console(quiet=True), out)
    done = predict(kept, new, Console(quiet=True), out, How(unusable="leave_out"))
    assert done.record["num_images"] == len(rows) - 1


# --- every kind of run


def test_volumes_and_a_dicom_series(tmp_path: Path) -> None:
    write_images(tmp_path / "data", dims=3)
    trained_run(tmp_path, *VOLUMES)
    write_images(tmp_path / "new", dims=3, num_patients=4, seed=1)
    found = predicted(tmp_path)
    assert len(found.tables["patient"]) == 4
    volume = np.random.default_rng(0).integers(0, 200, (12, 20, 20)).astype(np.int16)
    write_series(tmp_path / "series", volume)
    one = predicted(tmp_path, "series", images=str(tmp_path / "series"))
    assert len(one.tables["image"]) == 1
    several = predicted(tmp_path, "several", images=str(tmp_path / "new" / "*.nii.gz"))
    by_file = several.tables["image"].set_index("image_path")["prob_lesion"]
    by_csv = found.tables["image"].set_index("image_path")["prob_lesion"]
    assert len(by_csv) == len(by_file)
    for name, value in by_csv.items():
        assert by_file[str(tmp_path / "new" / str(name))] == pytest.approx(value, abs=1e-5)


def test_samples_of_several_images(tmp_path: Path) -> None:
    columns = ("t1", "t2")
    write_images(tmp_path / "data", columns=columns)
    trained_run(tmp_path, "manifest.columns.image=[t1,t2]")
    rows = write_images(tmp_path / "new", columns=columns, num_patients=5, seed=1)
    found = predicted(tmp_path)
    assert set(found.tables["image"]["image_path"]) == {f"{row['t1']}|{row['t2']}" for row in rows}
    with pytest.raises(UserError, match=r"samples of 2 images \(t1, t2\)"):
        predicted(tmp_path, "files", images=str(tmp_path / "new" / "*.png"))


def test_labels_that_do_not_exclude_each_other(tmp_path: Path) -> None:
    rows = write_images(tmp_path / "data", num_patients=24)
    for row in rows:
        row["label"] = ("edema", "edema|nodule", "nodule", "")[int(row["patient_id"][1:]) % 4]
    write_rows(tmp_path / "data" / "manifest.csv", rows)
    trained_run(tmp_path, "manifest.task=multilabel", "loss=binary_cross_entropy")
    new = write_images(tmp_path / "new", num_patients=6, seed=1)
    write_rows(tmp_path / "new" / "manifest.csv", [{**row, "label": "nodule"} for row in new])
    found = predicted(tmp_path)
    assert {"prob_edema", "prob_nodule", "sd_edema"} <= set(found.tables["patient"])
    assert set(found.tables["patient"]["label"]) == {"nodule"}
    assert set(found.record["thresholds"]["patient"]) == {"edema", "nodule"}
    for row in new:
        del row["label"]
    write_rows(tmp_path / "new" / "manifest.csv", new)
    without = predicted(tmp_path, "without", manifest={"path": f"{tmp_path}/new/manifest.csv"})
    pd.testing.assert_frame_equal(
        without.tables["patient"], found.tables["patient"].drop(columns="label")
    )


def test_slides_between_images_and_patients(tmp_path: Path) -> None:
    for name, seed in (("data", 0), ("new", 1)):
        rows = write_images(tmp_path / name, num_patients=18, seed=seed)
        for number, row in enumerate(rows):
            row["glass"] = f"{row['patient_id']}-{number % 2}"
        write_rows(tmp_path / name / "manifest.csv", rows)
    asked = ("manifest.columns.slide=glass", "evaluation.middle=slide")
    trained_run(tmp_path, *asked, "evaluation.aggregate=max")
    found = predicted(tmp_path)
    slides = pd.read_csv(found.dir / "slides.csv")
    highest = slides.groupby("patient_id")["prob_lesion"].max().reset_index(drop=True)
    patients = pd.read_csv(found.dir / "patients.csv")
    np.testing.assert_allclose(patients["prob_lesion"], highest, rtol=1e-6)
    assert json.loads((found.dir / "predict.json").read_text())["thresholds"].keys() == {
        "patient",
        "slide",
        "image",
    }
