import json
import os
import posixpath
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from mlflow import MlflowClient
from synthetic_run_folder import (
    STARTED,
    artifacts,
    fail,
    fold_dir,
    history,
    losses,
    make_database,
    make_run_folder,
    replace_database,
    runs_at,
    train,
    write_result,
    write_summary,
)

from pipeline.files import write_json
from pipeline.tracking.journal import EpochEnded, Event, Journal, JournalTail
from pipeline.tracking.mirror import Mirror, sync
from pipeline.tracking.record import RunRecord
from pipeline.tracking.result import validation_metrics
from pipeline.tracking.run import metric


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return make_database(tmp_path)


@pytest.fixture
def run_dir(tmp_path: Path, uri: str) -> Path:
    return make_run_folder(tmp_path / "run", uri)


def catch_up(run_dir: Path) -> None:
    """One round by a process of its own."""
    with Mirror(run_dir) as mirror:
        mirror.begin()
        mirror.catch_up()


def test_every_epoch_is_there_once_after_any_number_of_starts(run_dir: Path, uri: str) -> None:
    with Mirror(run_dir) as mirror:
        for epoch in range(3):
            train(run_dir, 0, range(epoch, epoch + 1))
            mirror.catch_up()
            mirror.catch_up()
    train(run_dir, 0, range(3, 5))
    catch_up(run_dir)
    catch_up(run_dir)
    assert history(uri, runs_at(uri)["fold-00"], "train/loss") == losses(range(5))


def test_a_metric_that_is_missing_is_not_logged(run_dir: Path, uri: str) -> None:
    train(run_dir, 0, range(2))
    write_result(run_dir, 0)
    write_summary(run_dir)
    sync(run_dir)
    runs = runs_at(uri)
    assert set(runs["fold-00"].data.metrics) == {
        "train/loss",
        "test/image/auroc",
        "best/val/patient/auroc",
        "best/val/image/auroc",
        "threshold/image",
        "best_epoch",
        "num_epochs",
        "seconds",
    }
    assert runs["demo-abc123"].data.metrics == {
        **dict.fromkeys(("val/image/auroc", "val/image/auroc_min", "val/image/auroc_max"), 0.7),
        **dict.fromkeys(
            ("val/patient/auroc", "val/patient/auroc_min", "val/patient/auroc_max"), 0.8
        ),
        "best/val/image/auroc": 0.7,
        "best/val/patient/auroc": 0.8,
        "test/patient/auroc": 0.88,
        "test/patient/auroc_ci_low": 0.8,
        "test/patient/auroc_ci_high": 0.95,
    }


def test_parent_and_folds_carry_the_settings_and_the_manifest(run_dir: Path, uri: str) -> None:
    train(run_dir, 1, range(1))
    catch_up(run_dir)
    runs = runs_at(uri)
    parent, fold = runs["demo-abc123"], runs["fold-01"]
    settings = {"asked_for": "demo-abc123", "training.epochs": "3", "optimizer.lr": "0.001"}
    assert parent.data.params == settings
    assert fold.data.params == settings | {"fold": "1", "num_train_patients": "11"}
    assert fold.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (parent.data.tags["patientfold.role"], fold.data.tags["patientfold.role"]) == (
        "cv",
        "fold",
    )
    for run in (parent, fold):
        assert run.data.tags["patientfold.key"] == "abc123"
        assert run.data.tags["mlflow.source.git.commit"] == "f" * 40
        (used,) = run.inputs.dataset_inputs
        assert (used.dataset.name, used.dataset.digest) == ("demo", "d" * 36)
        assert json.loads(used.dataset.source)["uri"].endswith("demo.csv")


def test_the_parent_shows_the_validation_of_all_folds_and_is_compared_by_it(
    run_dir: Path, uri: str, tmp_path: Path
) -> None:
    client = MlflowClient(uri)
    tags = {"mlflow.experiment.primaryMetric.name": "test/patient/auroc"}
    former = client.create_experiment("demo", (tmp_path / "artifacts").as_uri(), tags)
    for fold in range(2):
        train(run_dir, fold, range(1))
        write_result(run_dir, fold)
    write_summary(run_dir)
    sync(run_dir)
    metrics = runs_at(uri)["demo-abc123"].data.metrics
    assert [metrics[f"val/image/auroc{end}"] for end in ("_min", "", "_max")] == [
        pytest.approx(value) for value in (0.7, 0.75, 0.8)
    ]
    mended = client.get_experiment(former).tags
    assert mended["mlflow.experiment.primaryMetric.name"] == "val/image/auroc"


def test_what_mlflow_opens_a_comparison_with_is_of_validation(run_dir: Path, uri: str) -> None:
    """Parallel coordinates take what was logged first; tables and scatter plots sort by name."""
    metrics = {"train/loss": 0.7, "val/loss": 0.6, "val/image/auroc": 0.5}
    for fold in range(2):
        with Journal(fold_dir(run_dir, fold) / "journal.jsonl") as journal:
            journal.append(EpochEnded(time=STARTED + fold, epoch=1, metrics=metrics))
        write_result(run_dir, fold)
    with Mirror(run_dir) as mirror:
        mirror.catch_up()  # before the test part's metrics are there, as in a training
        write_summary(run_dir)
        mirror.finish()
    runs = runs_at(uri)
    fold, parent = runs["fold-00"].data, runs["demo-abc123"].data
    assert next(iter(fold.metrics)) == "val/image/auroc"
    assert next(iter(parent.metrics)) == "best/val/image/auroc"
    for run in (fold, parent):
        assert min(run.metrics) == "best/val/image/auroc"
        assert min(run.params) == "asked_for"
        assert run.params["asked_for"] == "demo-abc123"
    assert fold.metrics["best/val/image/auroc"] == 0.7
    assert parent.metrics["best/val/image/auroc"] == parent.metrics["val/image/auroc"] == 0.75


def test_a_run_chosen_by_loss_has_it_under_the_name_that_its_folds_have(
    run_dir: Path, uri: str
) -> None:
    for fold in range(2):
        write_result(run_dir, fold)
        path = fold_dir(run_dir, fold) / "result.json"
        by_loss = {"select_by": "val/loss", "select_value": 0.5 + fold / 10}
        write_json(path, json.loads(path.read_text()) | by_loss)
        train(run_dir, fold, range(1))
    replace(RunRecord.load(run_dir), select_by="val/loss").save(run_dir)
    sync(run_dir)
    runs = runs_at(uri)
    losses = [runs[name].data.metrics["best/val/loss"] for name in ("fold-00", "fold-01")]
    assert losses == [0.5, 0.6]
    assert runs["demo-abc123"].data.metrics["best/val/loss"] == 0.55
    assert next(iter(runs["demo-abc123"].data.metrics)) == "best/val/loss"


def test_a_class_whose_name_ends_like_an_extreme_keeps_its_own_mean() -> None:
    chosen = {"select_by": "val/image/sensitivity_small", "select_value": 0.9}
    classes = {"sensitivity_small": 0.9, "sensitivity_small_max": 0.2}
    metrics = validation_metrics([{**chosen, "val": {"image": classes}}])
    assert metrics["val/image/sensitivity_small_min"] == 0.9
    assert metrics["val/image/sensitivity_small_max"] == 0.2
    assert metrics["val/image/sensitivity_small"] == 0.9
    assert metrics["best/val/image/sensitivity_small_max"] == 0.2


@pytest.mark.parametrize("num_done", [1, 2])
def test_folds_can_be_compared_before_all_are_done(run_dir: Path, uri: str, num_done: int) -> None:
    """As of folds=[0], which has no metrics.json."""
    for fold in range(num_done):
        train(run_dir, fold, range(1))
        write_result(run_dir, fold)
    sync(run_dir)
    sync(run_dir)
    parent = runs_at(uri)["demo-abc123"]
    assert parent.data.tags["patientfold.folds_done"] == f"{num_done} of 2"
    ((_, value),) = history(uri, parent, "val/image/auroc_max")
    assert value == pytest.approx((0.7, 0.8)[num_done - 1])


def test_only_the_parent_has_every_setting(run_dir: Path, uri: str) -> None:
    replace(RunRecord.load(run_dir), settings="folds=all").save(run_dir)
    train(run_dir, 0, range(1))
    catch_up(run_dir)
    runs = runs_at(uri)
    assert runs["demo-abc123"].data.tags["patientfold.settings"] == "folds=all"
    assert "patientfold.settings" not in runs["fold-00"].data.tags


def test_what_a_fold_is_chosen_by_is_shown_at_its_best_so_far(run_dir: Path, uri: str) -> None:
    with Journal(fold_dir(run_dir, 0) / "journal.jsonl") as journal:
        for epoch, (value, best) in enumerate([(0.5, True), (0.7, True), (0.6, False)], start=1):
            metrics = {"train/loss": 0.1, "val/image/auroc": value}
            time = STARTED + epoch
            journal.append(EpochEnded(time=time, epoch=epoch, metrics=metrics, best=best))
    catch_up(run_dir)
    fold = runs_at(uri)["fold-00"]
    assert next(iter(fold.data.metrics)) == "best/val/image/auroc"
    write_result(run_dir, 0)
    sync(run_dir)
    assert history(uri, fold, "best/val/image/auroc") == [(1, 0.5), (2, 0.7)]


def test_names_that_differ_in_a_sign_stay_distinct_and_readable() -> None:
    names = [
        *("<2cm", ">2cm", "≤2cm", "2cm", "_2cm", ":lt:2cm", "+", "-"),
        *("a/b", "a//b", "a/./b", "a/../b"),
        *("é", "[a]", "(a)", "a b", "x" * 300, "x" * 299 + "y"),
    ]
    keys = [metric(f"test/image/sensitivity/{name}", 1.0, 0.0, 0).key for name in names]
    assert len(set(keys)) == len(names)
    assert keys[0] == "test/image/sensitivity/:lt:2cm"
    assert all(len(key) <= 250 and posixpath.normpath(key) == key for key in keys)


def test_a_fold_that_has_not_begun_has_no_run(run_dir: Path, uri: str) -> None:
    train(run_dir, 0, range(1))
    (fold_dir(run_dir, 1) / "journal.jsonl").write_text('{"event": "sta')
    catch_up(run_dir)
    assert set(runs_at(uri)) == {"demo-abc123", "fold-00"}


def test_artifacts_are_uploaded(run_dir: Path, uri: str, tmp_path: Path) -> None:
    train(run_dir, 0, range(1))
    write_result(run_dir, 0)
    write_summary(run_dir)
    sync(run_dir)
    runs = runs_at(uri)
    parent, fold = runs["demo-abc123"], runs["fold-00"]
    assert artifacts(uri, fold) == {
        "journal.jsonl",
        "predictions_test.csv",
        "result.json",
    }
    assert artifacts(uri, parent) == {
        "plan.csv",
        "config.yaml",
        "predictions.csv",
        "metrics.json",
        "plots",
    }
    assert artifacts(uri, parent, "plots") == {"plots/roc.png"}
    assert parent.info.artifact_uri.startswith((tmp_path / "mlartifacts").as_uri())


def test_only_a_changed_file_is_uploaded_again(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_summary(run_dir)
    with Mirror(run_dir) as mirror:
        mirror.catch_up()
        log_artifact = Mock()
        monkeypatch.setattr("mlflow.MlflowClient.log_artifact", log_artifact)
        (run_dir / "config.yaml").write_text("training: {epochs: 4}\n")
        mirror.catch_up()
    uploaded = [Path(call.args[1]).name for call in log_artifact.call_args_list]
    assert uploaded == ["config.yaml"]


def test_a_finished_fold_is_left_alone(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checkpoint may be large, and its run may hold what a user has added."""
    train(run_dir, 0, range(3))
    write_result(run_dir, 0)
    sync(run_dir)
    log_artifact, set_terminated = Mock(), Mock()
    monkeypatch.setattr("mlflow.MlflowClient.log_artifact", log_artifact)
    monkeypatch.setattr("mlflow.MlflowClient.set_terminated", set_terminated)
    sync(run_dir)
    assert {Path(call.args[1]).parent for call in log_artifact.call_args_list} == {run_dir}
    set_terminated.assert_not_called()


def test_times_are_those_of_the_files_not_of_the_upload(run_dir: Path, uri: str) -> None:
    train(run_dir, 0, range(3))
    write_result(run_dir, 0)
    sync(run_dir)
    info = runs_at(uri)["fold-00"].info
    assert (info.start_time, info.end_time) == (STARTED * 1000, (STARTED + 50) * 1000)
    assert runs_at(uri)["demo-abc123"].info.start_time == STARTED * 1000


def test_a_fold_is_running_failed_running_again_and_finished(run_dir: Path, uri: str) -> None:
    train(run_dir, 0, range(2))
    catch_up(run_dir)
    assert runs_at(uri)["fold-00"].info.status == "RUNNING"
    fail(run_dir, 0)
    catch_up(run_dir)
    failed = runs_at(uri)["fold-00"]
    assert failed.info.status == "FAILED"
    assert failed.data.tags["patientfold.error"] == "loss is nan"
    assert artifacts(uri, failed) == {"journal.jsonl"}
    train(run_dir, 0, range(2, 3))
    catch_up(run_dir)
    again = runs_at(uri)["fold-00"]
    assert (again.info.run_id, again.info.status) == (failed.info.run_id, "RUNNING")
    assert "patientfold.error" not in again.data.tags
    write_result(run_dir, 0)
    catch_up(run_dir)
    assert runs_at(uri)["fold-00"].info.status == "FINISHED"
    assert history(uri, again, "train/loss") == losses(range(3))


def test_an_interrupted_run_is_killed_and_the_next_start_continues_it(
    run_dir: Path, uri: str
) -> None:
    train(run_dir, 0, range(3))
    write_result(run_dir, 0)
    train(run_dir, 1, range(1))
    with Mirror(run_dir) as mirror:
        mirror.finish("KILLED")
    killed = runs_at(uri)
    statuses = {name: run.info.status for name, run in killed.items()}
    assert statuses == {"demo-abc123": "KILLED", "fold-00": "FINISHED", "fold-01": "KILLED"}
    catch_up(run_dir)
    assert runs_at(uri)["demo-abc123"].info.status == "RUNNING"
    assert runs_at(uri)["fold-01"].info.status == "KILLED"  # until its worker starts
    train(run_dir, 1, range(1, 3))
    catch_up(run_dir)
    assert runs_at(uri)["fold-01"].info.status == "RUNNING"
    write_result(run_dir, 1)
    with Mirror(run_dir) as mirror:
        mirror.finish("FINISHED")
    finished = runs_at(uri)
    assert {run.info.status for run in finished.values()} == {"FINISHED"}
    assert {run.info.run_id for run in finished.values()} == {
        run.info.run_id for run in killed.values()
    }


def test_a_result_that_appears_while_the_journal_is_read_waits_a_round(
    run_dir: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(run_dir, 0, range(1))
    journal = fold_dir(run_dir, 0) / "journal.jsonl"
    seen = journal.read_bytes()
    train(run_dir, 0, range(1, 3))
    whole = journal.read_bytes()
    journal.write_bytes(seen)

    with Mirror(run_dir) as mirror:
        mirror.catch_up()
        read_new = JournalTail.read_new

        def finish_just_after(tail: JournalTail) -> list[Event]:
            events = read_new(tail)
            if tail.path == journal:
                journal.write_bytes(whole)
                write_result(run_dir, 0)
            return events

        monkeypatch.setattr(JournalTail, "read_new", finish_just_after)
        mirror.catch_up()
    monkeypatch.undo()
    assert runs_at(uri)["fold-00"].info.status == "RUNNING"
    catch_up(run_dir)
    assert runs_at(uri)["fold-00"].info.status == "FINISHED"
    assert history(uri, runs_at(uri)["fold-00"], "train/loss") == losses(range(3))


def test_more_than_a_call_may_carry(run_dir: Path, uri: str) -> None:
    record = RunRecord.load(run_dir)
    many = {f"setting_{number}": str(number) for number in range(250)}
    replace(record, params=many | {"long": "x" * 7000}).save(run_dir)
    train(run_dir, 0, range(1100))
    catch_up(run_dir)
    fold = runs_at(uri)["fold-00"]
    assert history(uri, fold, "train/loss") == losses(range(1100))
    assert many.items() <= fold.data.params.items()
    assert fold.data.params["long"] == "x" * 5999 + "…"


def test_names_that_mlflow_refuses_are_made_acceptable(run_dir: Path, uri: str) -> None:
    train(run_dir, 0, range(1))
    with Journal(fold_dir(run_dir, 0) / "journal.jsonl") as journal:
        metrics = {"val/f1(grade ≥ 2)": 0.5, "val//b[0]": 0.25}
        journal.append(EpochEnded(time=STARTED, epoch=9, metrics=metrics))
    record = RunRecord.load(run_dir)
    replace(record, params={"images.augment[0]": "flip"}).save(run_dir)
    catch_up(run_dir)
    fold = runs_at(uri)["fold-00"]
    assert fold.data.metrics["val/f1:28:grade :ge: 2:29:"] == 0.5
    assert fold.data.metrics["val/:empty:/b:5b:0:5d:"] == 0.25
    assert fold.data.params["images.augment:5b:0:5d:"] == "flip"


def test_a_setting_that_changed_on_the_way_keeps_its_first_value(run_dir: Path, uri: str) -> None:
    catch_up(run_dir)
    record = RunRecord.load(run_dir)
    replace(record, params={"optimizer.lr": "0.001", "training.epochs": "5"}).save(run_dir)
    catch_up(run_dir)
    parent = runs_at(uri)["demo-abc123"]
    assert parent.data.params["training.epochs"] == "3"
    later = {name: value for name, value in parent.data.tags.items() if ".later." in name}
    assert later == {"patientfold.later.training.epochs": "5"}


def test_a_new_summary_is_logged_and_an_old_one_is_not_logged_twice(
    run_dir: Path, uri: str
) -> None:
    write_summary(run_dir, auroc=0.8)
    catch_up(run_dir)
    os.utime(run_dir / "metrics.json", (STARTED, STARTED))  # as a copy of the folder would have
    catch_up(run_dir)
    assert history(uri, runs_at(uri)["demo-abc123"], "test/patient/auroc") == [(0, 0.8)]
    write_summary(run_dir, auroc=0.9)
    catch_up(run_dir)
    assert runs_at(uri)["demo-abc123"].data.metrics["test/patient/auroc"] == 0.9


@pytest.mark.parametrize(
    ("last", "expected"), [("result", "FINISHED"), ("failure", "FAILED"), ("kill", "KILLED")]
)
def test_sync_concludes_the_statuses_from_the_folder(
    run_dir: Path, uri: str, last: str, expected: str
) -> None:
    for fold in range(2):
        train(run_dir, fold, range(3))
    write_result(run_dir, 0)
    write_summary(run_dir)
    if last == "result":
        write_result(run_dir, 1)
    if last == "failure":
        fail(run_dir, 1)
    assert f"{expected}; folds: " in sync(run_dir)
    first = {name: run.info for name, run in runs_at(uri).items()}
    assert (first["demo-abc123"].status, first["fold-01"].status) == (expected, expected)
    os.utime(run_dir / "metrics.json")  # a new report does not move the end
    sync(run_dir)
    again = {name: run.info for name, run in runs_at(uri).items()}
    assert {name: vars(info) for name, info in again.items()} == {
        name: vars(info) for name, info in first.items()
    }


def test_sync_without_summary_is_not_finished(run_dir: Path) -> None:
    train(run_dir, 0, range(3))
    write_result(run_dir, 0)
    assert "KILLED; folds: 1 FINISHED" in sync(run_dir)


def test_the_runs_can_be_rebuilt_from_the_run_folder_alone(run_dir: Path, uri: str) -> None:
    train(run_dir, 0, range(3))
    write_result(run_dir, 0)
    write_summary(run_dir)
    sync(run_dir)
    first = runs_at(uri)
    replace_database(uri)
    sync(run_dir)
    again = runs_at(uri)
    assert set(again) == set(first) == {"demo-abc123", "fold-00"}
    for name, run in first.items():
        assert run.data.metrics == again[name].data.metrics
        assert run.data.params == again[name].data.params
        assert run.info.status == again[name].info.status == "FINISHED"
        assert run.info.start_time == again[name].info.start_time
