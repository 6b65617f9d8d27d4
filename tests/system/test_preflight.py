"""`patientfold preflight` and `lr-find` as a user runs them; and what they never look at."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import called
from PIL import Image
from rich.console import Console
from system_runs import Cohort, fold_job, make_cohort, run_cv
from test_multilabel import NETWORK, write_cohort
from test_non_interference import _noise_in_test

from pipeline.commands.door import load_config
from pipeline.config import LrFindConfig, UserError
from pipeline.engine.lr_find import check_asked, find_lr
from pipeline.engine.preflight import make_checks
from pipeline.engine.run_folder import Run
from pipeline.splits import plan_folds
from pipeline.training.job import FoldJob
from pipeline.training.range_test import range_test

NAMES = ["start", "overfit", "shuffled", "border"]


def run(cwd: Path, command: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    return called(cwd, command, *overrides)


def verdicts(cwd: Path, name: str = "manifest") -> dict[str, str]:
    report = json.loads((cwd / "runs" / "preflight" / name / "preflight.json").read_text())
    return {check["name"]: check["verdict"] for check in report["checks"]}


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    """54 patients, of whom 12 with a lesion train or validate in each fold."""
    return make_cohort(tmp_path / "cohort", num_patients=54)


def plant_markers(cohort: Cohort) -> None:
    for row in cohort.rows():
        if row["label"] == "lesion":
            pixels = np.array(Image.open(cohort.folder / row["image_path"]))
            pixels[:2, :2] = 255
            Image.fromarray(pixels).save(cohort.folder / row["image_path"])


def test_every_check_passes_on_a_sound_set(tmp_path: Path, cohort: Cohort) -> None:
    ran = run(tmp_path, "preflight", *cohort.overrides, "name=manifest", "optimizer.lr=3e-3")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert verdicts(tmp_path) == dict.fromkeys(NAMES, "passed")
    folder = tmp_path / "runs" / "preflight" / "manifest"
    assert {path.name for path in folder.iterdir()} == {"batch.png", "preflight.json"}
    report = json.loads((folder / "preflight.json").read_text())
    assert report["fold"] == 0
    assert len(report["patients_on_the_sheet"]) == 8
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["preflight"]
    assert not any((tmp_path / "runs").rglob("*.pt"))


def test_a_marker_stops_cv_until_it_is_accepted(tmp_path: Path, cohort: Cohort) -> None:
    plant_markers(cohort)
    settings = [*cohort.overrides, "name=manifest", "optimizer.lr=3e-3", "training.epochs=1"]
    stopped = run_cv(tmp_path, *settings, "training.preflight=true")
    assert stopped.returncode == 1
    assert "Traceback" not in stopped.stderr
    assert "error: preflight of fold 0: 1 of 4 checks failed" in stopped.stderr
    assert "usually the label is in the border: a marker, text, a frame" in stopped.stderr
    assert "to go on all the same: preflight.accept=[border]" in stopped.stderr
    assert verdicts(tmp_path) == {**dict.fromkeys(NAMES, "passed"), "border": "FAILED"}
    assert not (tmp_path / "runs" / "manifest").exists(), "no fold was begun"
    accepted = "preflight.accept=[border]"
    went_on = run_cv(tmp_path, *settings, "training.preflight=true", accepted, "folds=[0]")
    assert went_on.returncode == 0, went_on.stdout + went_on.stderr
    assert verdicts(tmp_path)["border"] == "accepted"
    done = run_cv(tmp_path, *settings, "training.preflight=true", "folds=[0]")
    assert "all folds are done already" in done.stdout, "neither setting makes another run"
    assert "preflight of fold" not in done.stdout, "nothing is left to train"


def test_several_labels_are_checked_too(tmp_path: Path) -> None:
    """Two of the bright squares reach into the border, and the command names such a label."""
    data = write_cohort(tmp_path / "cohort", num_patients=60)
    settings = [*data, *NETWORK, "name=manifest"]
    ran = run(tmp_path, "preflight", *settings)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    assert verdicts(tmp_path) == {**dict.fromkeys(NAMES, "passed"), "border": "FAILED"}
    assert "ln 2 = 0.693" in ran.stdout
    assert ", the highest of 3 labels," in ran.stderr
    assert (tmp_path / "runs" / "preflight" / "manifest" / "batch.png").exists()


def test_a_training_that_diverges_has_failed(tmp_path: Path, cohort: Cohort) -> None:
    diverges = "optimizer.lr=1e30", "optimizer=sgd"
    ran = run(tmp_path, "preflight", *cohort.overrides, "name=manifest", *diverges)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    assert verdicts(tmp_path)["overfit"] == verdicts(tmp_path)["shuffled"] == "FAILED"
    assert "the loss of a handful is nan" in ran.stderr
    assert "try a smaller optimizer.lr" in ran.stderr
    assert "preflight.accept=[overfit,shuffled]" in ran.stderr


def test_a_baseline_is_told_which_checks_apply(tmp_path: Path, cohort: Cohort) -> None:
    settings = [*cohort.overrides, "name=manifest", "model=logistic", "images.preview=0"]
    ran = run(tmp_path, "preflight", *settings)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    applies = {"start": "not made", "overfit": "not made"}
    assert verdicts(tmp_path) == {**applies, "shuffled": "passed", "border": "passed"}
    assert "a baseline is fitted at once" in ran.stdout
    assert not (tmp_path / "runs" / "preflight" / "manifest" / "batch.png").exists()


def test_lr_find_refuses_a_baseline() -> None:
    config = load_config(["manifest.path=x.csv", "model=knn"])
    with pytest.raises(UserError, match="has no learning rate; choose a network"):
        check_asked(config)


def test_lr_find_suggests_a_setting(tmp_path: Path, cohort: Cohort) -> None:
    settings = [*cohort.overrides, "name=manifest", "model=linear", "folds=[1]"]
    ran = run(tmp_path, "lr-find", *settings)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "range test of fold 1: 100 steps from 1e-06 to 1, on its train part" in ran.stdout
    (line,) = (line for line in ran.stdout.splitlines() if line.startswith("suggestion: "))
    setting = line.split()[1]
    assert 1e-6 < float(setting.removeprefix("optimizer.lr=")) < 1
    folder = tmp_path / "runs" / "lr-find" / "manifest"
    assert {path.name for path in folder.iterdir()} == {"range_test.csv", "range_test.png"}


def test_lr_find_says_when_the_loss_falls_at_no_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = make_cohort(tmp_path / "cohort")
    job = fold_job(cohort, tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    config = replace(job.config, lr_find=LrFindConfig(highest=2e-6), name="none")
    plan = plan_folds(job.manifest, config.split)
    with pytest.raises(UserError, match="the loss falls at no rate"):
        find_lr(Run(config, job.manifest, plan, job.images), ["cpu"], Console())
    assert Path("runs/lr-find/none/range_test.png").exists()


def test_volumes_are_checked_too(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    folder = tmp_path / "cohort"
    folder.mkdir()
    rows = []
    for number in range(36):
        volume = generator.normal(100, 20, (12, 14, 16)).astype(np.float32)
        label = ("healthy", "lesion")[number % 2]
        if label == "lesion":
            volume[4:8, 4:9, 5:10] += 60
        np.save(folder / f"{number}.npy", volume)
        rows.append({"patient_id": f"P{number}", "image_path": f"{number}.npy", "label": label})
    Cohort(folder).write_rows(rows)
    volumes = ["images.spatial_dims=3", "images.dtype=float32", "augment=volume", "model=mlp"]
    overrides = [*Cohort(folder).overrides, "name=manifest", *volumes]
    ran = run(tmp_path, "preflight", *overrides)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert verdicts(tmp_path) == dict.fromkeys(NAMES, "passed")
    with Image.open(tmp_path / "runs" / "preflight" / "manifest" / "batch.png") as sheet:
        assert sheet.width > 1000, "three middle slices, three times"


@pytest.mark.parametrize("model", ["lenet5", "logistic"])
def test_noise_in_the_test_part_changes_nothing(tmp_path: Path, model: str) -> None:
    """Neither its pixels nor its labels are looked at: the outputs are the same to the last bit."""
    cohort = make_cohort(tmp_path / "cohort", num_patients=54)
    own = Cohort(cohort.folder)
    real = fold_job(own, tmp_path / "real")
    plan = plan_folds(real.manifest, real.config.split)
    noise = _noise_in_test(own, real.fold.test, tmp_path / "noisy")
    noisy = fold_job(noise, tmp_path / "n", plan=plan)
    found: list[Any] = []
    for job in (real, noisy):
        job = _with_model(job, model)
        sheet = job.fold_dir / "batch.png"
        checks, patients = make_checks(job, job.fold_dir, ["cpu", "cpu"])
        found.append(([asdict(check) for check in checks], patients, sheet.read_bytes()))
        if model == "lenet5":
            found[-1] += (range_test(job).losses.tolist(),)
    assert found[0] == found[1]


def _with_model(job: FoldJob, model: str) -> FoldJob:
    chosen = load_config(["manifest.path=x.csv", f"model={model}"]).model
    return replace(job, config=replace(job.config, name="same", model=chosen))


def test_the_commands_own_process_imports_neither_torch_nor_monai() -> None:
    code = (
        "import sys, pipeline.commands.preflight, pipeline.commands.lr_find\n"
        "print(sorted({'torch', 'monai'} & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
