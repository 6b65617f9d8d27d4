"""LoggedModels: what the Models tab ranks."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from synthetic_run_folder import (
    artifacts,
    fold_dir,
    history,
    make_database,
    make_run_folder,
    model_files,
    models_at,
    runs_at,
    train,
    write_result,
    write_summary,
)

from pipeline.tracking.mirror import Mirror, sync
from pipeline.tracking.models import MirroredModel, Models
from pipeline.tracking.record import RunRecord
from pipeline.tracking.run import MirroredRun

CV, FOLDS = "demo-abc123", ["fold-00 of demo-abc123", "fold-01 of demo-abc123"]


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return make_database(tmp_path)


@pytest.fixture
def run_dir(tmp_path: Path, uri: str) -> Path:
    """Two folds that are done."""
    folder = make_run_folder(tmp_path / "run", uri)
    for fold in range(2):
        train(folder, fold, range(3))
        write_result(folder, fold)
    write_summary(folder)
    return folder


def values(model: Any) -> dict[str, float]:
    return {point.key: point.value for point in model.metrics}


def test_folds_and_their_cross_validation_are_ranked_by_validation(run_dir: Path, uri: str) -> None:
    sync(run_dir)
    order = {"field_name": "metrics.best/val/image/auroc", "ascending": False}
    ranked = models_at(uri, order_by=[order | {"dataset_name": "demo"}])
    assert list(ranked) == [FOLDS[1], CV, FOLDS[0]]
    best = "metrics.`best/val/image/auroc` > 0.72"
    assert set(models_at(uri, filter_string=best)) == {FOLDS[1], CV}
    assert {model.status for model in ranked.values()} == {"READY"}
    runs = runs_at(uri)
    assert ranked[FOLDS[0]].source_run_id == runs["fold-00"].info.run_id
    assert ranked[CV].source_run_id == runs[CV].info.run_id
    assert values(ranked[FOLDS[1]]) == pytest.approx(
        {
            "best/val/image/auroc": 0.8,
            "best/val/patient/auroc": 0.8,
            "test/image/auroc": 0.9,
        }
    )
    assert values(ranked[CV]) == pytest.approx(
        {
            "best/val/image/auroc": 0.75,
            "best/val/patient/auroc": 0.8,
            "test/patient/auroc": 0.88,
            "test/patient/auroc_ci_low": 0.8,
            "test/patient/auroc_ci_high": 0.95,
        }
    )
    for model in ranked.values():
        assert {(p.dataset_name, p.dataset_digest) for p in model.metrics} == {("demo", "d" * 36)}


def test_a_model_says_what_it_is_and_is_shown_on_its_run(run_dir: Path, uri: str) -> None:
    sync(run_dir)
    fold = models_at(uri)[FOLDS[1]]
    assert fold.model_type == "fold"
    settings = {"asked_for": CV, "training.epochs": "3", "optimizer.lr": "0.001", "fold": "1"}
    assert fold.params == settings
    assert fold.tags["patientfold.key"] == "abc123"
    assert fold.tags["mlflow.note.content"].startswith("Fold 1 of 2 folds")
    (output,) = runs_at(uri)["fold-01"].outputs.model_outputs
    assert (output.model_id, output.step) == (fold.model_id, 2)


def test_the_weights_are_kept_once(run_dir: Path, uri: str) -> None:
    sync(run_dir)
    fold = models_at(uri)[FOLDS[0]]
    assert model_files(uri, fold) == {"best.pt"}
    assert fold.tags["patientfold.checkpoint"] == f"models:/{fold.model_id}/best.pt"
    assert "best.pt" not in artifacts(uri, runs_at(uri)["fold-00"])


def test_any_number_of_mirrors_make_each_model_once(run_dir: Path, uri: str) -> None:
    sync(run_dir)
    first = {name: model.model_id for name, model in models_at(uri).items()}
    points = history(uri, runs_at(uri)[CV], "test/patient/auroc")
    for _ in range(2):
        sync(run_dir)
    again = models_at(uri)
    assert {name: model.model_id for name, model in again.items()} == first
    assert {len(model.metrics) for model in again.values()} == {3, 5}
    assert len(runs_at(uri)["fold-00"].outputs.model_outputs) == 1
    assert history(uri, runs_at(uri)[CV], "test/patient/auroc") == points


def test_a_deleted_model_is_made_again(run_dir: Path, uri: str) -> None:
    sync(run_dir)
    first = models_at(uri)
    MlflowClient(uri).delete_logged_model(first[FOLDS[0]].model_id)
    sync(run_dir)
    again = models_at(uri)
    assert set(again) == set(first)
    assert values(again[FOLDS[0]]) == values(first[FOLDS[0]])


def test_a_fold_trained_anew_leaves_no_model_of_the_old_one(run_dir: Path, uri: str) -> None:
    sync(run_dir)
    shutil.rmtree(fold_dir(run_dir, 0))
    train(run_dir, 0, range(1, 3))
    sync(run_dir)
    assert FOLDS[0] not in models_at(uri)
    write_result(run_dir, 0)
    sync(run_dir)
    assert models_at(uri)[FOLDS[0]].source_run_id == runs_at(uri)["fold-00"].info.run_id


def without_models(monkeypatch: pytest.MonkeyPatch, answer: Exception) -> None:
    """A server that answers so when it is asked for models."""

    def refuse(*_: object, **__: object) -> None:
        raise answer

    for name in ("search_logged_models", "create_logged_model", "log_outputs"):
        monkeypatch.setattr(MlflowClient, name, refuse)


@pytest.mark.parametrize(
    "answer",
    [
        NotImplementedError(),
        MlflowException("no such endpoint", error_code=1_000_000),
        MlflowException("404", error_code=404),
    ],
)
def test_a_server_without_models_gets_everything_else(
    run_dir: Path, uri: str, monkeypatch: pytest.MonkeyPatch, answer: Exception
) -> None:
    if isinstance(answer, MlflowException):
        answer.error_code = (
            "ENDPOINT_NOT_FOUND" if answer.message != "404" else "RESOURCE_DOES_NOT_EXIST"
        )
    without_models(monkeypatch, answer)
    assert "FINISHED; folds: 2 FINISHED" in sync(run_dir)
    runs = runs_at(uri)
    assert runs["fold-00"].data.metrics["best/val/image/auroc"] == 0.7
    assert runs[CV].data.metrics["test/patient/auroc"] == 0.88
    assert "best.pt" in artifacts(uri, runs["fold-00"])


def test_runs_from_before_models_get_them_without_doubles(
    run_dir: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that their runs have are not uploaded a second time."""
    with monkeypatch.context() as former:
        without_models(former, NotImplementedError())
        sync(run_dir)
    (run_dir / "metrics.json").touch()  # as a copy of the folder would be
    points = [history(uri, run, "best/val/image/auroc") for run in runs_at(uri).values()]
    sync(run_dir)
    fold = models_at(uri)[FOLDS[0]]
    assert values(fold)["best/val/image/auroc"] == 0.7
    assert values(models_at(uri)[CV])["test/patient/auroc"] == 0.88
    run = runs_at(uri)["fold-00"]
    assert fold.tags["patientfold.checkpoint"] == f"runs:/{run.info.run_id}/best.pt"
    assert model_files(uri, fold) == set()
    assert [history(uri, r, "best/val/image/auroc") for r in runs_at(uri).values()] == points
    assert len(history(uri, runs_at(uri)[CV], "test/patient/auroc")) == 1


def test_a_name_that_mlflow_refuses_is_made_acceptable(run_dir: Path, uri: str) -> None:
    path = run_dir / "tracking.json"
    record = replace(RunRecord.load(run_dir), run_name="resnet10 lr=0.01 path='a/b:c'")
    path.unlink()
    record.save(run_dir)
    sync(run_dir)
    assert "resnet10 lr=0·01 path=a-b-c" in models_at(uri)


def test_a_mirror_that_is_up_to_date_asks_for_no_models(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    of = Models.of

    def remember(self: Models, *args: Any) -> MirroredModel | None:
        asked.append(args)
        return of(self, *args)

    monkeypatch.setattr(Models, "of", remember)
    with Mirror(run_dir) as mirror:
        mirror.catch_up()
        before = len(asked)
        mirror.catch_up()
        assert 0 < before == len(asked)


def test_a_model_has_its_metrics_in_the_order_given_also_those_its_run_had_before(
    run_dir: Path, uri: str
) -> None:
    """The table has them in this order: the metric that chose the epochs is its first column."""
    sync(run_dir)
    client, record = MlflowClient(uri), RunRecord.load(run_dir)
    experiment = client.get_experiment_by_name(record.experiment)
    assert experiment is not None
    run = MirroredRun(client, experiment.experiment_id, "another", "another", 1.0)
    run.log_final({"best/val/chosen": 0.7}, 1.0)
    model = Models(client, experiment.experiment_id, "another", record.dataset).of(
        run, "fold", "another", {}, {}
    )
    assert model is not None
    run.log_final({"best/val/chosen": 0.7, "best/val/also": 0.6}, 2.0, model)
    found = client.get_logged_model(model.id)
    assert list(values(found)) == ["best/val/chosen", "best/val/also"]
