"""`patientfold compare` and `select`: finished runs, from their folders alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import called
from mlflow import MlflowClient
from mlflow.entities import Run
from system_runs import make_cohort, mlflow_client, run_cv

from pipeline.tracking.result import with_seal

MODELS = ("majority", "logistic")


@pytest.fixture(scope="module")
def study(made_once: Callable[..., Path]) -> Path:
    """runs/majority and runs/logistic of one plan, runs/other of another seed, runs/max by max."""

    def make(folder: Path) -> None:
        cohort = make_cohort(folder / "cohort", num_patients=24)
        settings = [*cohort.overrides, "name=study"]
        for name, more in {
            "majority": ["model=majority"],
            "logistic": ["model=logistic"],
            "other": ["model=majority", "split.seed=1"],
            "max": ["model=logistic", "evaluation.aggregate=max"],
        }.items():
            ended = run_cv(folder, *settings, *more, f"run_dir=runs/{name}")
            assert ended.returncode == 0, ended.stderr
        shutil.rmtree(folder / "cohort")  # neither images nor the manifest are needed

    return made_once("compared", make)


@pytest.fixture
def here(study: Path, tmp_path: Path) -> Path:
    """A copy whose MLflow is its own."""
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "runs").glob("*/tracking.json"):
        record = json.loads(path.read_text()) | {"uri": f"sqlite:///{tmp_path}/mlflow.db"}
        path.write_text(json.dumps(record))
    return tmp_path


def comparisons(client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    role = "tags.`patientfold.role` = 'comparison'"
    return list(client.search_runs([experiment.experiment_id], role))


def test_the_difference_is_told_written_drawn_and_logged(here: Path) -> None:
    ended = called(here, "compare", "runs=[runs/majority,runs/logistic]")
    assert ended.returncode == 0, ended.stderr
    assert "auroc, patient level; majority has 0.500" in ended.stdout
    (folder,) = (here / "comparisons").iterdir()
    found = json.loads((folder / "comparison.json").read_text())
    (one,) = found["compared"]
    of = one["difference"]
    metrics = {
        name: json.loads((here / "runs" / name / "metrics.json").read_text())["patient"]["auroc"]
        for name in MODELS
    }
    assert (of["first"], of["second"]) == tuple(metrics[name]["value"] for name in MODELS)
    assert of["interval"]["value"] == pytest.approx(of["second"] - of["first"])
    assert of["interval"]["low"] <= of["interval"]["value"] <= of["interval"]["high"]
    assert one["verdict"] in ended.stdout
    assert (folder / "forest.png").read_bytes().startswith(b"\x89PNG")
    client = mlflow_client(here)
    (run,) = comparisons(client)
    assert run.data.tags["mlflow.note.content"] == one["verdict"]
    logged = run.data.metrics["difference/patient/auroc/logistic"]
    assert logged == pytest.approx(of["interval"]["value"])
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert names == {"comparison.json", "forest.png"}
    again = called(here, "compare", "runs=[runs/majority,runs/logistic]")
    assert again.returncode == 0
    assert len(comparisons(client)) == 1


def test_no_file_is_uploaded_where_the_run_forbids_it(here: Path) -> None:
    path = here / "runs" / "majority" / "tracking.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"upload": "metrics"}))
    ended = called(here, "compare", "runs=[runs/majority,runs/logistic]")
    assert ended.returncode == 0, ended.stderr
    client = mlflow_client(here)
    (run,) = comparisons(client)
    assert "difference/patient/auroc/logistic" in run.data.metrics
    assert not client.list_artifacts(run.info.run_id)


def test_a_server_that_only_the_run_folder_names_is_refused(here: Path) -> None:
    for path in (here / "runs").glob("*/tracking.json"):
        record = json.loads(path.read_text()) | {"uri": "http://elsewhere:5000"}
        path.write_text(json.dumps(record))
    ended = called(here, "compare", "runs=[runs/majority,runs/logistic]")
    assert ended.returncode == 1
    assert "the run folder names the server http://elsewhere:5000" in ended.stderr
    assert "tracking.uri=http://elsewhere:5000" in ended.stderr


def test_of_three_runs_the_p_values_are_for_both_comparisons(here: Path) -> None:
    shutil.copytree(here / "runs" / "logistic", here / "runs" / "again")
    ended = called(here, "compare", "runs=[runs/majority,runs/logistic,runs/again]", "metric=brier")
    assert ended.returncode == 0, ended.stderr
    assert "that of 2 comparisons together (Holm)" in ended.stdout
    (folder,) = (here / "comparisons").iterdir()
    found = json.loads((folder / "comparison.json").read_text())
    for one in found["compared"]:
        assert one["p"] == pytest.approx(min(1, 2 * one["difference"]["p"]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs=[runs/majority]"], "name two run folders or more"),
        (["runs=[runs/majority,runs/majority]"], "a run folder is named twice"),
        (["runs=[runs/majority,runs/nowhere]"], "run folder runs/nowhere: no such folder"),
        (["runs=[runs/majority,runs/other]"], "runs/other has another plan than runs/majority"),
        (
            ["runs=[runs/logistic,runs/max]"],
            "runs/max has another evaluation.aggregate than runs/logistic: max, not mean",
        ),
        (["runs=[runs/majority,runs/logistic]", "metric=auc"], "metric=auc: unknown; there are"),
        (["runs=[runs/majority,runs/logistic]", "level=eye"], "level: "),
        (
            ["runs=[runs/majority,runs/logistic]", "level=slide"],
            "run folder runs/majority: there is no slide level; take level=patient or image",
        ),
        ([], "runs: missing"),
    ],
)
def test_what_cannot_be_compared_is_told(study: Path, words: list[str], message: str) -> None:
    ended = called(study, "compare", *words)
    assert ended.returncode == 1
    assert message in ended.stderr
    assert not (study / "comparisons").exists()


def test_a_run_that_is_not_done_is_refused(here: Path) -> None:
    (here / "runs" / "logistic" / "metrics.json").unlink()
    (here / "runs" / "logistic" / "predictions.csv").unlink()
    ended = called(here, "compare", "runs=[runs/majority,runs/logistic]")
    assert ended.returncode == 1
    assert "not all of its folds are done" in ended.stderr


def test_a_run_that_was_edited_is_refused(here: Path) -> None:
    path = here / "runs" / "logistic" / "predictions.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], *lines[2:]]))
    ended = called(here, "compare", "runs=[runs/majority,runs/logistic]")
    assert ended.returncode == 1
    assert "differs from the predictions of the folds" in ended.stderr


def test_a_split_by_image_is_no_result(here: Path) -> None:
    path = here / "runs" / "logistic" / "metrics.json"
    content = json.loads(path.read_text())
    del content["seal"]
    path.write_text(json.dumps(with_seal(content | {"unsafe": True})))
    ended = called(here, "compare", "runs=[runs/majority,runs/logistic]")
    assert ended.returncode == 1
    assert "runs/logistic was split by image (UNSAFE)" in ended.stderr


# --- select


def test_each_fold_is_tested_by_the_run_that_its_validation_chose(here: Path) -> None:
    ended = called(here, "select", "sweep=[runs/majority,runs/logistic]")
    assert ended.returncode == 0, ended.stderr
    (folder,) = (here / "comparisons").iterdir()
    found = json.loads((folder / "selection.json").read_text())
    results = [
        [
            json.loads((here / "runs" / name / f"fold_{k:02d}" / "result.json").read_text())
            for k in range(3)
        ]
        for name in MODELS
    ]
    values = [[result["select_value"] for result in of_run] for of_run in results]
    assert found["validation"] == values
    assert found["chosen"] == [int(values[1][k] > values[0][k]) for k in range(3)]
    expected = [
        results[run][k]["test"]["patient"]["auroc"] for k, run in enumerate(found["chosen"])
    ]
    assert found["summary"]["patient"]["auroc"]["per_fold"] == pytest.approx(expected)
    assert found["nested"] == pytest.approx(sum(expected) / 3)
    assert "nested selection: report this for the sweep" in ended.stdout
    assert found["best_test"] >= found["naive"]


def test_a_folder_of_runs_is_a_sweep(here: Path) -> None:
    for name in ("other", "max"):
        shutil.rmtree(here / "runs" / name)
    ended = called(here, "select", "sweep=runs")
    assert ended.returncode == 0, ended.stderr
    assert "2 settings, chosen by val/image/auroc" in ended.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep=runs"], "runs/other has another plan than"),
        (["sweep=cohort"], "no such folder"),
        (["sweep=comparisons"], "no such folder"),
        (["sweep=[runs/majority]"], "name two run folders or more"),
        ([], "sweep: missing"),
    ],
)
def test_what_is_no_sweep_is_told(study: Path, words: list[str], message: str) -> None:
    ended = called(study, "select", *words)
    assert ended.returncode == 1
    assert message in ended.stderr
