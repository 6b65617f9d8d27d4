"""The ledger outlives run folders; the locked patients are opened once, and touch no fold."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import called
from PIL import Image
from run_copies import trained_elsewhere
from system_runs import Cohort, make_cohort, run_cv

from pipeline.engine.finished import Finished
from pipeline.splits import load_plan
from pipeline.tracking.ledger import tries_of

MODELS = ("majority", "logistic", "lenet5")


@pytest.fixture(scope="module")
def study(made_once: Callable[..., Path]) -> Path:
    """Runs of one plan with locked patients, runs/<model>, and runs/open of one without."""

    def make(folder: Path) -> None:
        cohort = make_cohort(folder / "cohort", num_patients=27)
        settings = [*cohort.overrides, "name=study", "training.epochs=2"]
        for name in MODELS:
            ended = run_cv(
                folder,
                *settings,
                f"model={name}",
                "split.locked_fraction=0.3",
                f"run_dir=runs/{name}",
            )
            assert ended.returncode == 0, ended.stderr
            (folder / f"{name}.txt").write_text(ended.stdout)
        ended = run_cv(folder, *settings, "model=majority", "run_dir=runs/open")
        assert ended.returncode == 0, ended.stderr
        assert "settings were tested" not in ended.stdout

    return made_once("with_locked", make)


@pytest.fixture
def here(study: Path, tmp_path: Path) -> Path:
    """A copy; the manifest is named by where it was made."""
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    return tmp_path


def plan_hash(run_dir: Path) -> str:
    found: str = json.loads((run_dir / "plan.json").read_text())["plan_hash"]
    return found


# --- the ledger


def test_the_count_is_told_from_the_second_setting_on(study: Path) -> None:
    told = [(study / f"{name}.txt").read_text() for name in MODELS]
    assert "were tested on this plan" not in told[0]
    assert "2 settings were tested on this plan: the best of 2 is optimistic" in told[1]
    assert "3 settings were tested on this plan: the best of 3 is optimistic" in told[2]


def test_deleted_run_folders_still_count_and_the_same_setting_counts_once(here: Path) -> None:
    plan = plan_hash(here / "runs" / "open")
    shutil.rmtree(here / "runs" / "open")
    settings = [*Cohort(here / "cohort").overrides, "name=study", "training.epochs=2"]
    for model, num in (("majority", 1), ("logistic", 2)):
        ended = run_cv(here, *settings, f"model={model}", f"run_dir=runs/again_{model}")
        assert ended.returncode == 0, ended.stderr
        tries = tries_of(plan, here / "ledger.jsonl")
        assert tries is not None
        assert tries.num == num
    assert "2 settings were tested" in ended.stdout
    shutil.rmtree(here / "runs")
    assert tries_of(plan, here / "ledger.jsonl") == tries


def test_a_ledger_that_cannot_be_written_costs_no_run(here: Path) -> None:
    settings = [*Cohort(here / "cohort").overrides, "model=logistic", "run_dir=runs/x"]
    ended = run_cv(here, *settings, "tracking.ledger=cohort")
    assert ended.returncode == 0, ended.stderr
    assert "ledger cohort cannot be" in ended.stdout
    assert (here / "runs" / "x" / "metrics.json").exists()
    before = (here / "ledger.jsonl").read_text()
    ended = run_cv(here, *settings, "tracking.ledger=null")
    assert ended.returncode == 0
    assert "were tested on this plan" not in ended.stdout
    assert (here / "ledger.jsonl").read_text() == before


def test_select_says_what_it_was_not_given(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    ended = called(here, "select", "sweep=[runs/majority,runs/logistic]")
    assert ended.returncode == 0, ended.stderr
    assert "1 setting of 3 tested on this plan is not here" in ended.stdout
    assert "the nested value is still a little too good" in ended.stdout
    ended = called(here, "select", "sweep=[runs/majority,runs/logistic,runs/lenet5]")
    assert ended.returncode == 0, ended.stderr
    assert "too good: only" not in ended.stdout
    assert Finished.read(Path("runs/logistic")).optimism.startswith("3 settings were tested")


# --- the locked patients


@pytest.mark.parametrize("model", MODELS)
def test_they_are_predicted_by_the_mean_of_the_folds_models(
    here: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    run_dir = Path("runs") / model
    config, environment = (
        (run_dir / name).read_bytes() for name in ("config.yaml", "environment.json")
    )
    ended = called(here, "unlock", f"run_dir={run_dir}")
    assert ended.returncode == 0, ended.stderr
    assert "opened for the first time, after 3 settings tested on this plan" in ended.stdout
    locked = load_plan(run_dir / "plan.csv").locked
    table = pd.read_csv(run_dir / "locked" / "predictions.csv", dtype={"patient_id": str})
    assert set(table["patient_id"]) == locked
    assert len(locked) > 5
    found = json.loads((run_dir / "locked" / "metrics.json").read_text())
    thresholds = [
        json.loads(path.read_text())["thresholds"]["patient"]
        for path in sorted(run_dir.glob("fold_*/result.json"))
    ]
    assert found["thresholds"]["patient"] == pytest.approx(np.median(thresholds))
    assert found["patient"]["auroc"]["ci_low"] <= found["patient"]["auroc"]["value"]
    assert [of["run_dir"] for of in found["opened"]] == [str(run_dir)]
    run = Finished.read(run_dir)
    assert run.locked is not None
    assert run.optimism == ""
    assert (run_dir / "config.yaml").read_bytes() == config
    assert (run_dir / "environment.json").read_bytes() == environment
    if model == "logistic":  # a bright square: the demo cohort can be told apart
        assert found["patient"]["auroc"]["value"] > 0.8


def test_they_are_opened_on_a_machine_without_the_gpu_that_trained(here: Path) -> None:
    other = {"engine.device": "cuda", "engine.devices_per_fold": 2, "engine.kind": "ray"}
    other["training.precision"] = "float16"
    trained_elsewhere(here / "runs" / "lenet5", other)
    ended = called(here, "unlock", "run_dir=runs/lenet5", CUDA_VISIBLE_DEVICES="")
    assert ended.returncode == 0, ended.stderr


def test_a_second_opening_is_refused_and_on_record_when_it_is_asked_for(here: Path) -> None:
    assert called(here, "unlock", "run_dir=runs/logistic").returncode == 0
    same = called(here, "unlock", "run_dir=runs/logistic")
    other = called(here, "unlock", "run_dir=runs/majority")
    assert (same.returncode, other.returncode) == (1, 1)
    assert "its locked patients were opened before" in same.stderr
    assert "were opened 1 time before" in other.stderr
    assert "for runs/logistic" in other.stderr
    assert not (here / "runs" / "majority" / "locked").exists()
    again = called(here, "unlock", "run_dir=runs/majority", "again=true")
    assert again.returncode == 0, again.stderr
    assert "opened for 2 runs, first on" in again.stdout
    found = json.loads((here / "runs" / "majority" / "locked" / "metrics.json").read_text())
    assert [of["run_dir"] for of in found["opened"]] == ["runs/logistic", "runs/majority"]
    tries = tries_of(plan_hash(here / "runs" / "logistic"), here / "ledger.jsonl")
    assert tries is not None
    assert len(tries.opened) == 2


def test_what_was_interrupted_after_it_was_recorded_is_completed(here: Path) -> None:
    assert called(here, "unlock", "run_dir=runs/logistic").returncode == 0
    first = (here / "runs" / "logistic" / "locked" / "predictions.csv").read_bytes()
    shutil.rmtree(here / "runs" / "logistic" / "locked")
    again = called(here, "unlock", "run_dir=runs/logistic")
    assert again.returncode == 0, again.stderr
    assert (here / "runs" / "logistic" / "locked" / "predictions.csv").read_bytes() == first
    assert (here / "ledger.jsonl").read_text().count('"opened"') == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run_dir=runs/open"], "its plan has no locked patients"),
        (["run_dir=runs/nowhere"], "no such folder"),
        (["run_dir=runs/lenet5", "ledger=cohort"], "ledger cohort cannot be"),
        ([], "run_dir: missing"),
    ],
)
def test_what_cannot_be_opened_is_told_and_opens_nothing(
    here: Path, words: list[str], message: str
) -> None:
    ended = called(here, "unlock", *words)
    assert ended.returncode == 1
    assert message in ended.stderr
    assert '"opened"' not in (here / "ledger.jsonl").read_text()
    assert not list(here.glob("runs/*/locked"))


def test_images_and_models_that_are_not_what_they_were_open_nothing(here: Path) -> None:
    weights = here / "runs" / "lenet5" / "fold_00" / "best.pt"
    shutil.copy(here / "runs" / "lenet5" / "fold_01" / "best.pt", weights)
    ended = called(here, "unlock", "run_dir=runs/lenet5")
    assert ended.returncode == 1
    assert "best.pt was changed after the fold was done" in ended.stderr
    assert '"opened"' not in (here / "ledger.jsonl").read_text()


def test_a_locked_patient_is_forgotten_too(here: Path) -> None:
    assert called(here, "unlock", "run_dir=runs/logistic").returncode == 0
    patient = min(load_plan(here / "runs" / "logistic" / "plan.csv").locked)
    ended = called(here, "forget", f"patient={patient}", "yes=true")
    assert ended.returncode == 0, ended.stderr
    left = here / "runs" / "logistic" / "locked"
    assert not (left / "predictions.csv").exists()
    assert patient not in (here / "ledger.jsonl").read_text()


def _with_noise(cohort: Cohort, patients: frozenset[str], folder: Path) -> Cohort:
    """The same cohort with pixels and labels of some patients replaced by noise."""
    shutil.copytree(cohort.folder, folder)
    generator = np.random.default_rng(1)
    labels = {p: str(generator.choice(["healthy", "lesion"])) for p in sorted(patients)}
    rows = cohort.rows()
    for row in rows:
        if row["patient_id"] in patients:
            noise = generator.integers(0, 256, (24, 24), dtype=np.uint8)
            Image.fromarray(noise).save(folder / row["image_path"])
            row["label"] = labels[row["patient_id"]]
    Cohort(folder).write_rows(rows)
    return Cohort(folder)


def test_noise_in_the_locked_patients_changes_nothing_in_any_fold(
    here: Path, tmp_path: Path
) -> None:
    """One frozen plan, adopted for the noisy manifest; every fold is bit for bit the same."""
    real = here / "runs" / "lenet5"
    plan = load_plan(real / "plan.csv")
    noisy = _with_noise(Cohort(here / "cohort"), plan.locked, tmp_path / "noisy")
    settings = [*noisy.overrides, "name=study", "model=lenet5", "training.epochs=2"]
    ended = called(
        here, "plan", *settings, "plan.action=grow", f"split.file={real}/plan.csv", "plan.out=n.csv"
    )
    assert ended.returncode == 0, ended.stderr
    ended = run_cv(here, *settings, "split.file=n.csv", "run_dir=runs/noisy")
    assert ended.returncode == 0, ended.stderr
    assert load_plan(here / "n.csv").locked == plan.locked
    for fold in range(plan.num_folds):
        one, other = (here / "runs" / of / f"fold_{fold:02d}" for of in ("lenet5", "noisy"))
        for name in ("predictions_val.csv", "predictions_test.csv"):
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
        results = [json.loads((of / "result.json").read_text()) for of in (one, other)]
        for name in ("best_epoch", "select_value", "thresholds", "normalisation", "test"):
            assert results[0][name] == results[1][name], name
