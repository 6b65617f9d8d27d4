"""Patch -> slide -> patient, whole: trained, reported, mirrored, compared, selected, forgotten."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from command_line import called
from system_runs import Cohort, make_cohort, mlflow_client, mlflow_runs, run_cv

from pipeline.engine.finished import Finished
from pipeline.evaluation.metrics import metrics

MODELS = ("majority", "logistic")
SLIDES = [
    "name=study",
    "manifest.columns.slide=glass",
    "evaluation.middle=slide",
    "evaluation.aggregate=max",
    "training.select_by=val/slide/auroc",
    "privacy.pseudonyms=true",
]


def with_slides(folder: Path) -> list[str]:
    """A cohort of patients with one to three slides of one or two patches; its settings."""
    cohort = make_cohort(folder / "cohort", num_patients=24)
    path = cohort.folder / "manifest.csv"
    table = pd.read_csv(path, dtype=str)
    number = table.groupby("patient_id").cumcount()
    table["glass"] = "Glass-" + table["patient_id"] + "-" + (number // 2 + number // 3).astype(str)
    table.to_csv(path, index=False)
    return [*cohort.overrides, *SLIDES]


@pytest.fixture(scope="module")
def study(made_once: Callable[..., Path]) -> Path:
    def make(folder: Path) -> None:
        settings = with_slides(folder)
        for name in MODELS:
            ended = run_cv(folder, *settings, f"model={name}", f"run_dir=runs/{name}")
            assert ended.returncode == 0, ended.stderr
            (folder / f"{name}.txt").write_text(ended.stdout)

    return made_once("slides", make)


def test_every_level_has_its_numbers(study: Path) -> None:
    run_dir = study / "runs" / "logistic"
    summary = json.loads((run_dir / "metrics.json").read_text())
    num = summary["num"]
    assert num["patients"] == 24 < num["middle"] < num["images"]
    assert {path.name for path in (run_dir / "plots").glob("confusion_*.png")} == {
        f"confusion_{level}.png" for level in ("patient", "slide", "image")
    }
    told = (study / "logistic.txt").read_text()
    assert told.index("Test results, patient level") < told.index("Test results, slide level")
    assert summary["operating_points"].keys() == {"patient", "slide", "image"}
    for level in ("patient", "slide", "image"):
        entry = summary[level]["auroc"]
        assert entry["ci_low"] < entry["value"] <= entry["ci_high"]
        assert entry["num_positive"] == 8, "patients, whatever the level"
    client = mlflow_client(study)
    parents, folds = mlflow_runs(client, "study")
    for run in parents:
        assert "test/slide/auroc" in run.data.metrics
        assert "test/slide/auroc_ci_low" in run.data.metrics
        assert "best/val/slide/auroc" in run.data.metrics
    of_logistic = [run for run in folds if "logistic" in run.data.tags["patientfold.run_dir"]]
    assert len(of_logistic) == 3
    for run in of_logistic:
        path = run_dir / f"fold_{int(run.data.params['fold']):02d}" / "result.json"
        result = json.loads(path.read_text())
        steps = client.get_metric_history(run.info.run_id, "val/slide/auroc")
        assert len(steps) == result["num_epochs"]
        assert run.data.metrics["threshold/slide"] == result["thresholds"]["slide"]


def test_the_run_folder_alone_gives_the_same_slides(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study / "runs" / "logistic", tmp_path / "run")
    run = Finished.read(tmp_path / "run")
    assert run.levels == ["patient", "slide", "image"]
    for level in run.levels:
        table = run.cases(level)
        for fold, rows in table.groupby("fold"):
            found = metrics(rows, run.classes, level)
            assert found == pytest.approx(run.results[int(str(fold))]["test"][level])
    slides = run.cases("slide")
    assert slides["slide"].str.fullmatch("k-[0-9a-f]{16}").all()
    assert len(slides) == run.summary["num"]["middle"]


def test_no_file_names_a_slide_and_forget_finds_those_that_hold_its_pseudonym(
    study: Path, tmp_path: Path
) -> None:
    files = [path for path in (study / "runs").rglob("*") if path.is_file()]
    files += [*(study / "mlartifacts").rglob("*.csv"), study / "mlflow.db"]
    assert len(files) > 30
    assert not [path for path in files if b"Glass-" in path.read_bytes()]
    predictions = study / "runs" / "logistic" / "predictions.csv"
    table = pd.read_csv(predictions, dtype=str)
    naming = {path for path in files if table["slide"][0].encode() in path.read_bytes()}
    here = Path(shutil.copytree(study, tmp_path / "copy"))
    ended = called(here, "forget", "patient=P00", "yes=true")
    assert ended.returncode == 0, ended.stderr
    kept = {path for path in naming if (here / path.relative_to(study)).exists()}
    assert naming
    assert {path for path in kept if "runs" in path.parts} == set()


def test_the_same_command_continues_and_other_slides_are_another_run(
    study: Path, tmp_path: Path
) -> None:
    here = Path(shutil.copytree(study, tmp_path / "copy"))
    settings = [
        *Cohort(here / "cohort").overrides,
        *SLIDES,
        "model=logistic",
        "run_dir=runs/logistic",
    ]
    ended = run_cv(here, *settings)
    assert ended.returncode == 0, ended.stderr
    assert "all folds are done already" in ended.stdout
    path = here / "cohort" / "manifest.csv"
    path.write_text(path.read_text().replace("Glass-P05-1", "Glass-P05-0"))
    ended = run_cv(here, *settings)
    assert ended.returncode == 1
    assert "slide hash: " in ended.stderr


def test_runs_are_compared_and_selected_by_slides(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "runs").glob("*/tracking.json"):
        record = json.loads(path.read_text()) | {"uri": f"sqlite:///{tmp_path}/mlflow.db"}
        path.write_text(json.dumps(record))
    runs = "[runs/majority,runs/logistic]"
    ended = called(tmp_path, "compare", f"runs={runs}", "level=slide")
    assert ended.returncode == 0, ended.stderr
    assert "auroc, slide level; majority has 0.500" in ended.stdout
    assert "McNemar" not in ended.stdout, "slides of a patient are not independent"
    (folder,) = (tmp_path / "comparisons").iterdir()
    of = json.loads((folder / "comparison.json").read_text())["compared"][0]["difference"]
    summary = json.loads((tmp_path / "runs" / "logistic" / "metrics.json").read_text())
    assert of["second"] == summary["slide"]["auroc"]["value"]
    ended = called(tmp_path, "select", f"sweep={runs}", "level=slide")
    assert ended.returncode == 0, ended.stderr
    assert "Test results, slide level" in ended.stdout
    (path,) = (tmp_path / "comparisons").glob("*/selection.json")
    found = json.loads(path.read_text())
    assert found["nested"] == found["summary"]["slide"]["auroc"]["value"]
    for command in (("compare", f"runs={runs}"), ("select", f"sweep={runs}")):
        ended = called(tmp_path, *command, "level=study")
        assert ended.returncode == 1
        assert "there is no study level; take level=patient or slide or image" in ended.stderr
