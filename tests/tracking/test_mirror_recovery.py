import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from synthetic_run_folder import (
    STARTED,
    artifacts,
    fold_dir,
    history,
    losses,
    make_database,
    make_run_folder,
    model_files,
    models_at,
    replace_database,
    runs_at,
    train,
    write_result,
    write_summary,
)

from pipeline.config import UserError
from pipeline.tracking.mirror import Mirror, sync
from pipeline.tracking.record import RunRecord
from pipeline.tracking.server import TrackingError, absolute_tracking_uri

pytestmark = pytest.mark.slow
UNLIKE = {"patientfold.uid", "patientfold.cv", "patientfold.checkpoint", "mlflow.parentRunId"}
"""Tags of a model that hold ids."""
CLOSED = "http://127.0.0.1:9"  # the discard port: nothing listens


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return make_database(tmp_path)


@pytest.fixture
def run_dir(tmp_path: Path, uri: str) -> Path:
    """One fold finished, one begun."""
    run_dir = make_run_folder(tmp_path / "run", uri)
    train(run_dir, 0, range(3))
    write_result(run_dir, 0)
    train(run_dir, 1, range(2))
    write_summary(run_dir)
    return run_dir


def state(uri: str) -> dict[str, object]:
    """All that must be the same however often a process was killed on the way."""
    active = {model.model_id for model in models_at(uri).values()}
    models = {
        name: (
            model.status,
            model.params,
            sorted((point.key, point.value, point.step) for point in model.metrics),
            {k: v for k, v in model.tags.items() if k not in UNLIKE},
            model.source_run_id == runs_at(uri)[name.partition(" of ")[0]].info.run_id,
            model_files(uri, model),
        )
        for name, model in models_at(uri).items()
    }
    return models | {
        name: (
            run.info.status,
            run.info.end_time,
            run.data.params,
            run.data.metrics,
            {key: value for key, value in run.data.tags.items() if "uid" not in key}
            | {"mlflow.parentRunId": ""},
            [history(uri, run, metric) for metric in sorted(run.data.metrics)],
            artifacts(uri, run),
            [used.dataset.digest for used in run.inputs.dataset_inputs],
            [output.step for output in run.outputs.model_outputs if output.model_id in active],
        )
        for name, run in runs_at(uri).items()
        for name in [f"run {name}"]
    }


def test_a_runs_uid_follows_from_the_run_folder(
    run_dir: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it is known before any run can carry it, at every server."""
    from mlflow import MlflowClient

    def uids() -> dict[str, str]:
        return {name: run.data.tags["patientfold.uid"] for name, run in runs_at(uri).items()}

    sync(run_dir)
    first = uids()
    assert len(set(first.values())) == len(first) == 3
    replace_database(uri)
    record = RunRecord.load(run_dir)
    replace(record, tags={"another": "commit"}, started=STARTED + 99).save(run_dir)
    sync(run_dir)
    assert uids() == first
    monkeypatch.setattr(MlflowClient, "create_run", None)  # all of them are found
    sync(run_dir)


def test_what_was_mirrored_is_logged_again_without_doubles(run_dir: Path, uri: str) -> None:
    with Mirror(run_dir) as mirror:
        mirror.catch_up()
    first = state(uri)
    with Mirror(run_dir) as mirror:  # a new process, which knows nothing of the position
        mirror.catch_up()
        train(run_dir, 1, range(2, 3))
        mirror.catch_up()
    assert state(uri)["run fold-00"] == first["run fold-00"]
    assert history(uri, runs_at(uri)["fold-01"], "train/loss") == losses(range(3))


class LossyServer(ThreadingHTTPServer):
    """A tracking server that dies on "create run", after it may have made the run."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: list[str] = []


class LossyHandler(BaseHTTPRequestHandler):
    server: LossyServer

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = self.path.partition("?")[0].rpartition("/")[2]
        self.server.asked.append(asked)
        if asked == "create":
            self.close_connection = True
            return
        experiment = {"experiment_id": "1", "name": "demo", "lifecycle_stage": "active"}
        body = json.dumps({"experiment": experiment} if asked == "get-by-name" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815  (the names that http.server calls)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


class Killed(BaseException):
    """Stands for kill -9: no handler of the mirror may tidy up."""


@pytest.mark.slow
def test_a_kill_after_any_step_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    steps = 0
    kill_at = 0

    def killable(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            result = function(*args, **kwargs)
            steps += 1
            if steps == kill_at:
                raise Killed
            return result

        return step

    for name in (
        "create_run",
        "delete_run",
        "log_batch",
        "log_inputs",
        "set_terminated",
        "log_artifact",
        "create_logged_model",
        "log_outputs",
        "log_model_artifact",
        "set_logged_model_tags",
        "finalize_logged_model",
    ):
        monkeypatch.setattr(MlflowClient, name, killable(getattr(MlflowClient, name)))

    uri = make_database(tmp_path)
    template = make_run_folder(tmp_path / "template", uri, num_folds=1)
    train(template, 0, range(3))
    write_result(template, 0)
    write_summary(template)

    def mirror_with_kills(at: int) -> dict[str, object]:
        nonlocal steps, kill_at
        run_dir = tmp_path / f"run_{at}"
        shutil.copytree(template, run_dir)
        steps, kill_at = 0, at
        try:
            sync(run_dir)
        except Killed:
            kill_at = 0
            sync(run_dir)
        result = state(uri)
        replace_database(uri)
        return result

    undisturbed = mirror_with_kills(at=0)
    num_steps = steps
    assert num_steps > 20
    for at in range(1, num_steps + 1):
        assert mirror_with_kills(at) == undisturbed, f"killed after step {at}"


def test_a_deleted_database_is_filled_again(run_dir: Path, uri: str) -> None:
    sync(run_dir)
    first = state(uri)
    replace_database(uri)
    sync(run_dir)
    assert state(uri) == first


def test_a_run_deleted_in_the_ui_is_made_again(run_dir: Path, uri: str) -> None:
    from mlflow import MlflowClient

    sync(run_dir)
    first = state(uri)
    MlflowClient(uri).delete_run(runs_at(uri)["fold-00"].info.run_id)
    sync(run_dir)
    assert state(uri) == first


def test_folds_follow_a_parent_that_was_made_again(run_dir: Path, uri: str) -> None:
    from mlflow import MlflowClient

    sync(run_dir)
    MlflowClient(uri).delete_run(runs_at(uri)["demo-abc123"].info.run_id)
    sync(run_dir)
    runs = runs_at(uri)
    parent = runs["demo-abc123"].info.run_id
    assert runs["fold-00"].data.tags["mlflow.parentRunId"] == parent


def test_a_fold_trained_again_from_nothing_gets_a_run_of_its_own(run_dir: Path, uri: str) -> None:
    sync(run_dir)
    old = runs_at(uri)["fold-00"].info.run_id
    shutil.rmtree(run_dir / "fold_00")
    train(run_dir, 0, range(1, 3))
    sync(run_dir)
    new = runs_at(uri)["fold-00"]
    assert new.info.run_id != old
    assert history(uri, new, "train/loss") == losses(range(1, 3))


def test_a_moved_database_keeps_its_runs(run_dir: Path, uri: str, tmp_path: Path) -> None:
    sync(run_dir)
    ids = {name: run.info.run_id for name, run in runs_at(uri).items()}
    (tmp_path / "moved").mkdir()
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "moved" / "mlflow.db")
    moved = absolute_tracking_uri(f"sqlite:///{tmp_path}/moved/mlflow.db")
    sync(run_dir, uri=moved)
    assert {name: run.info.run_id for name, run in runs_at(moved).items()} == ids
    assert history(moved, runs_at(moved)["fold-00"], "train/loss") == losses(range(3))


def test_what_a_dead_server_missed_can_be_had_elsewhere(run_dir: Path, uri: str) -> None:
    path = run_dir / "tracking.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"uri": CLOSED}))
    with pytest.raises(TrackingError, match=f"MLflow at {CLOSED} cannot be reached"):
        sync(run_dir)
    sync(run_dir, uri=uri)
    assert history(uri, runs_at(uri)["fold-00"], "train/loss") == losses(range(3))
    with pytest.raises(TrackingError):
        sync(run_dir)
    sync(run_dir, uri=uri)
    assert history(uri, runs_at(uri)["fold-00"], "train/loss") == losses(range(3))


def as_the_first_version_left_it(run_dir: Path, uri: str) -> dict[str, str]:
    """Make mlflow.json and the server's runs those of the first version; name -> run id."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    for model in models_at(uri).values():
        client.delete_logged_model(model.model_id)  # it made none
    ids = {name: run.info.run_id for name, run in runs_at(uri).items()}
    uids = {"parent" if name == "demo-abc123" else name: 32 * name[-1] for name in ids}
    for name, run_id in ids.items():
        client.set_tag(run_id, "patientfold.uid", 32 * name[-1])
        if name.startswith("fold"):
            client.log_metric(run_id, "train/loss", 0.5, step=0)
    entry = {"journal": "0123456789abcdef", "offset": 100, "files": {}}
    runs = {name: {"run_id": uid, **entry} for name, uid in uids.items()}
    (run_dir / "mlflow.json").write_text(json.dumps({"uids": uids, "servers": {uri: runs}}))
    return ids


def test_folds_that_the_first_version_mirrored_are_logged_anew_and_once(
    run_dir: Path, uri: str
) -> None:
    """Their steps count from 0: a run with both would show each epoch twice."""
    from mlflow import MlflowClient

    sync(run_dir)
    first = state(uri)
    old = as_the_first_version_left_it(run_dir, uri)
    sync(run_dir)
    assert state(uri) == first
    new = {name: run.info.run_id for name, run in runs_at(uri).items()}
    assert [name for name in old if new[name] == old[name]] == ["demo-abc123"]
    for name in ("fold-00", "fold-01"):
        assert MlflowClient(uri).get_run(old[name]).info.lifecycle_stage == "deleted"
    sync(run_dir)
    assert {name: run.info.run_id for name, run in runs_at(uri).items()} == new


def test_a_create_whose_answer_was_lost_is_not_sent_blindly_again(run_dir: Path) -> None:
    """The server may have made the run: only a search by uid can say."""
    with LossyServer(("127.0.0.1", 0), LossyHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(TrackingError, match="cannot be reached"):
            sync(run_dir, uri=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert server.asked[-2:] == ["search", "create"]


def test_a_mirror_goes_on_after_an_error(
    run_dir: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    log_batch = MlflowClient.log_batch

    def fail_on_metrics(self: Any, run_id: str, metrics: Any = (), **kwargs: Any) -> None:
        if metrics:
            raise ConnectionResetError("lost")
        log_batch(self, run_id, **kwargs)

    with Mirror(run_dir) as mirror:
        mirror.catch_up()
        train(run_dir, 1, range(2, 3))
        with monkeypatch.context() as broken:
            broken.setattr(MlflowClient, "log_batch", fail_on_metrics)
            with pytest.raises(TrackingError, match="lost"):
                mirror.catch_up()
        mirror.catch_up()
    assert history(uri, runs_at(uri)["fold-01"], "train/loss") == losses(range(3))


def test_a_torn_journal_is_mirrored_without_its_last_line(run_dir: Path, uri: str) -> None:
    journal = fold_dir(run_dir, 1) / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"event": "epoch", "time": 1, "epoch": 2, "metr')
    sync(run_dir)
    train(run_dir, 1, range(2, 3))  # the worker cuts it off and goes on
    sync(run_dir)
    assert history(uri, runs_at(uri)["fold-01"], "train/loss") == losses(range(3))


def test_two_mirrors_of_one_run_folder_are_refused(run_dir: Path) -> None:
    with Mirror(run_dir), pytest.raises(UserError, match="being mirrored to MLflow by another"):
        sync(run_dir)
    sync(run_dir)


def test_a_deleted_experiment_is_named(run_dir: Path, uri: str) -> None:
    from mlflow import MlflowClient

    sync(run_dir)
    client = MlflowClient(uri)
    client.delete_experiment(client.get_experiment_by_name("demo").experiment_id)
    with pytest.raises(TrackingError, match=r"experiment 'demo' was deleted: restore it"):
        sync(run_dir)


def test_an_experiment_that_another_process_made_first_is_used(
    run_dir: Path, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    by_name = MlflowClient.get_experiment_by_name
    answers = 0

    def too_early(self: MlflowClient, name: str) -> Any:
        nonlocal answers
        answers += 1
        if answers == 1:
            self.create_experiment(name, artifact_location=(tmp_path / "artifacts").as_uri())
            return None
        return by_name(self, name)

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", too_early)
    sync(run_dir)
    assert set(runs_at(uri)) == {"demo-abc123", "fold-00", "fold-01"}


@pytest.mark.slow
def test_a_sweep_can_start_on_a_database_that_does_not_exist(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    processes = []
    for number in range(2):
        run_dir = make_run_folder(tmp_path / f"run_{number}", uri)
        record = json.loads((run_dir / "tracking.json").read_text())
        record["started"] += number
        (run_dir / "tracking.json").write_text(json.dumps(record))
        train(run_dir, number, range(1))
        code = (
            "import pathlib, sys, pipeline.tracking.mirror as t; t.sync(pathlib.Path(sys.argv[1]))"
        )
        command = [sys.executable, "-c", code, str(run_dir)]
        processes.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    errors = [process.communicate()[1] for process in processes]
    assert errors == ["", ""]  # no failure, and no chatter of mlflow or alembic
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("demo")
    assert experiment.artifact_location == (tmp_path / "new" / "mlartifacts").as_uri()
    assert len(client.search_runs([experiment.experiment_id])) == 4
