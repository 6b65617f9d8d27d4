"""One network on all patients of a finished run: the whole command, killed, repeated, refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import called
from mlflow import MlflowClient
from PIL import Image
from system_runs import Cohort, make_cohort, mlflow_client, run_cv

from pipeline.engine.finished import Finished
from pipeline.ensemble import Ensemble
from pipeline.splits import load_plan
from pipeline.tracking.journal import EpochEnded, Started, read_journal
from pipeline.training.settled import settled_epochs

EPOCHS = 6
SETTINGS = ("name=study", f"training.epochs={EPOCHS}", "split.locked_fraction=0.3")
NETWORK = ("model=lenet5", "scheduler=cosine", "evaluation.calibration=temperature")
HERE = "tracking.uri=sqlite:///mlflow.db"
PATIENCE_S = 300.0


def train_folds(folder: Path, name: str, *overrides: str) -> Path:
    cohort = Cohort(folder / "cohort")
    ended = run_cv(folder, *cohort.overrides, *SETTINGS, *overrides, f"run_dir=runs/{name}")
    assert ended.returncode == 0, ended.stderr
    return folder / "runs" / name


def train_final(folder: Path, name: str, *settings: str) -> subprocess.CompletedProcess[str]:
    return called(folder, "final", f"run_dir=runs/{name}", HERE, *settings)


def final_of(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"runs/{name}/final/final.json").read_text())
    return found


def weights_of(run_dir: Path) -> dict[str, Any]:
    state = torch.load(run_dir / "final" / "best.pt", weights_only=True)
    network: dict[str, Any] = state["network"]
    return network


@pytest.fixture(scope="module")
def study(made_once: Callable[..., Path]) -> Path:
    """Finished runs with locked patients, runs/network and runs/svm; the first has final/."""

    def make(folder: Path) -> None:
        make_cohort(folder / "cohort", num_patients=27)
        train_folds(folder, "network", *NETWORK)
        train_folds(folder, "svm", "model=svm")
        ended = train_final(folder, "network")
        assert ended.returncode == 0, ended.stderr
        (folder / "told.txt").write_text(ended.stdout)

    return made_once("with_final", make)


@pytest.fixture
def here(study: Path, tmp_path: Path) -> Path:
    """A copy; the manifest is named by where it was made."""
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_it_is_trained_on_all_but_the_locked_and_says_what_can_be_expected(study: Path) -> None:
    run_dir, told = study / "runs" / "network", (study / "told.txt").read_text()
    run, final = Finished.read(run_dir), final_of(study, "network")
    locked = load_plan(run_dir / "plan.csv").locked
    assert final["trained_on"]["patients"] == 27 - len(locked)
    assert final["trained_on"]["locked_out"] == len(locked) > 0
    chosen = {fold: int(result["best_epoch"]) for fold, result in run.results.items()}
    assert final["num_epochs"] == settled_epochs(chosen)
    events = read_journal(run_dir / "final" / "journal.jsonl")
    rates = [of.metrics["train/lr"] for of in events if isinstance(of, EpochEnded)]
    assert len(rates) == final["num_epochs"]
    names = {name for of in events if isinstance(of, EpochEnded) for name in of.metrics}
    assert not [name for name in names if "accuracy" in name or not name.startswith("train/")]
    assert final["expected"]["line"] in told
    assert "this network itself was tested on nobody" in told
    assert f"{len(locked)} locked patients stay out" in told
    assert "trained on everybody" not in (run_dir / "report.md").read_text()
    assert (
        "final/ holds one network that was trained on all" in (run_dir / "report.html").read_text()
    )
    files = {path.name for path in (run_dir / "final").iterdir() if not path.name.endswith(".lock")}
    assert files == {"best.pt", "last.pt", "final.json", "journal.jsonl", "output.log"}


def test_mlflow_shows_it_as_untested_beside_the_folds(study: Path) -> None:
    client: MlflowClient = mlflow_client(study)
    found = client.get_experiment_by_name("study")
    assert found is not None
    runs = client.search_runs(
        [found.experiment_id], "tags.`patientfold.untested` = 'true'", max_results=100
    )
    (run,) = runs
    assert run.info.status == "FINISHED"
    assert not [name for name in run.data.metrics if name.startswith(("test/", "val/", "best/"))]
    assert run.data.tags["patientfold.expected"] == final_of(study, "network")["expected"]["line"]
    parent = client.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.info.status == "FINISHED"
    models = client.search_logged_models([found.experiment_id])
    (model,) = [of for of in models if of.tags.get("patientfold.untested") == "true"]
    assert not model.metrics
    assert len(models) == 3 + 1 + 3 + 1 + 1


def test_what_is_there_is_left_alone(here: Path) -> None:
    folder = here / "runs" / "network" / "final"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    ended = train_final(here, "network")
    assert ended.returncode == 0, ended.stderr
    assert "is there already; delete that folder to train it anew" in ended.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def _killed(folder: Path, num_epochs: int) -> bool:
    """Start the command, kill -9 all of it after so many epochs; was it still at work?"""
    command = [sys.executable, "-m", "pipeline", "final", "run_dir=runs/network", HERE]
    process = subprocess.Popen(
        command,
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    journal = folder / "runs" / "network" / "final" / "journal.jsonl"
    deadline = time.monotonic() + PATIENCE_S
    pid = None
    while process.poll() is None and time.monotonic() < deadline:
        events = read_journal(journal)
        started = [event for event in events if isinstance(event, Started)]
        if started and sum(isinstance(event, EpochEnded) for event in events) >= num_epochs:
            pid = started[-1].pid
            break
        time.sleep(0.005)
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while pid and Path(f"/proc/{pid}/stat").exists() and time.monotonic() < deadline:
        time.sleep(0.05)  # it ends by itself: the next worker waits for it
    return True


def test_a_killed_one_goes_on_to_the_same_bytes(here: Path) -> None:
    folder = here / "runs" / "network" / "final"
    whole = (folder / "best.pt").read_bytes()
    shutil.rmtree(folder)
    killed = [_killed(here, num_epochs) for num_epochs in (0, 1, 2)]
    assert any(killed), "no kill came before the end"
    ended = train_final(here, "network")
    assert ended.returncode == 0, ended.stderr
    assert (folder / "best.pt").read_bytes() == whole


def test_two_devices_train_it_together(tmp_path: Path) -> None:
    make_cohort(tmp_path / "cohort", num_patients=27)
    run_dir = train_folds(tmp_path, "two", "model=lenet5", "engine.devices_per_fold=2")
    ended = train_final(tmp_path, "two")
    assert ended.returncode == 0, ended.stderr
    assert final_of(tmp_path, "two")["device"] == "cpu,cpu"
    assert weights_of(run_dir)


def test_a_baseline_is_fitted_with_the_candidate_of_all_folds(here: Path) -> None:
    folder = here / "runs" / "svm" / "final"
    recipes = []
    for _ in range(2):
        ended = train_final(here, "svm")
        assert ended.returncode == 0, ended.stderr
        recipes.append((folder / "best.json").read_bytes())
        final = final_of(here, "svm")
        shutil.rmtree(folder)
    assert recipes[0] == recipes[1]
    recipe = json.loads(recipes[0])
    assert recipe["untested"] is True
    assert recipe["parameters"]["C"] == final["candidate"]["C"]
    assert "the best mean val/image/auroc over the folds" in final["rule"]


def test_the_locked_patients_pixels_change_no_bit_of_it(here: Path) -> None:
    plan = load_plan(here / "runs" / "network" / "plan.csv")
    cohort = Cohort(here / "cohort")
    shutil.copy(here / "runs" / "network" / "plan.csv", here / "plan.csv")
    shutil.copy(here / "runs" / "network" / "plan.json", here / "plan.json")
    noise = np.random.default_rng(7)
    changed = [row for row in cohort.rows() if row["patient_id"] in plan.locked]
    assert changed
    for row in changed:
        pixels = noise.integers(0, 256, (24, 24), dtype=np.uint8)
        Image.fromarray(pixels).save(here / "cohort" / row["image_path"])
    other = train_folds(here, "noise", *NETWORK, "split.file=plan.csv")
    ended = train_final(here, "noise")
    assert ended.returncode == 0, ended.stderr
    ours, theirs = weights_of(here / "runs" / "network"), weights_of(other)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_is_refused_on_other_labels_and_for_a_run_that_is_not_done(here: Path) -> None:
    shutil.rmtree(here / "runs" / "network" / "final")
    config = here / "runs" / "network" / "metrics.json"
    whole = config.read_bytes()
    config.unlink()
    ended = train_final(here, "network")
    assert ended.returncode == 1
    assert "not all of its folds are done" in ended.stderr
    config.write_bytes(whole)
    original = json.loads((here / "runs/network/tracking.json").read_text())["dataset"]["path"]
    manifest = Path(original)
    text = manifest.read_text()
    try:
        manifest.write_text(text.replace("lesion", "other"))
        ended = train_final(here, "network")
    finally:
        manifest.write_text(text)
    assert ended.returncode == 1
    assert "other manifest" in ended.stderr or "differ" in ended.stderr
    assert not (here / "runs" / "network" / "final").exists()


def test_the_ensemble_of_one_predicts_with_it(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    run = Finished.read(Path("runs/network"))
    ensemble = Ensemble.read(run, network="final")
    (member,) = ensemble.members
    assert member.fold == -1
    files = sorted((study / "cohort").glob("*.png"))[:8]
    images = torch.from_numpy(np.stack([ensemble.image((path,)) for path in files]))
    found = ensemble.member_probabilities(images)
    assert found.shape == (1, 8, 2)
    assert np.array_equal(ensemble.probabilities(images), found[0].astype(np.float64))
    assert found.sum(axis=2) == pytest.approx(1.0, abs=1e-5)
    final = final_of(study, "network")
    for level in ensemble.levels:
        assert ensemble.decision(level).values == final["thresholds"][level]


def test_it_predicts_new_patients_and_is_evaluated_on_none_of_the_plan(here: Path) -> None:
    make_cohort(here / "new", num_patients=6, seed=5)
    text = (here / "new" / "manifest.csv").read_text()
    (here / "new" / "manifest.csv").write_text(text.replace("P0", "N0"))
    settings = ["run_dir=runs/network", "network=final", "out=said"]
    ended = called(here, "predict", *settings, "manifest.path=new/manifest.csv", "use_labels=false")
    assert ended.returncode == 0, ended.stderr
    rows = (here / "said" / "patients.csv").read_text().splitlines()
    assert len(rows) == 1 + 6
    said = json.loads((here / "said" / "predict.json").read_text())
    assert "final/best.pt" in json.dumps(said)
    shutil.rmtree(here / "said")
    known = f"manifest.path={here}/cohort/manifest.csv"
    ended = called(here, "predict", *settings, known)
    assert ended.returncode == 1
    assert "of the plan" in ended.stderr
    assert not (here / "said" / "metrics.json").exists()
