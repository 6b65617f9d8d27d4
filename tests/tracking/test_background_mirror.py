import threading
from pathlib import Path
from unittest.mock import Mock

import pytest
from synthetic_run_folder import (
    history,
    losses,
    make_database,
    make_run_folder,
    runs_at,
    train,
    write_result,
    write_summary,
)

from pipeline.tracking.background import BackgroundMirror
from pipeline.tracking.mirror import Mirror, sync
from pipeline.tracking.server import TrackingError

PATIENCE_S = 120.0
"""Importing mlflow and making a run takes long on a busy machine."""
CLOSED = "http://127.0.0.1:9"  # the discard port: nothing listens


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return make_database(tmp_path)


@pytest.fixture
def run_dir(tmp_path: Path, uri: str) -> Path:
    return make_run_folder(tmp_path / "run", uri)


class Warnings(list[str]):
    """Collects what is reported to the user, and lets a test wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Event()

    def __call__(self, message: str) -> None:
        self.append(message)
        self.arrived.set()


@pytest.mark.slow
def test_it_mirrors_while_the_folds_train(
    run_dir: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught_up = threading.Event()
    threads: set[threading.Thread] = set()
    catch_up = Mirror.catch_up

    def observed(mirror: Mirror) -> None:
        catch_up(mirror)
        threads.add(threading.current_thread())
        caught_up.set()

    monkeypatch.setattr(Mirror, "catch_up", observed)
    warnings = Warnings()
    with BackgroundMirror(run_dir, warnings, PATIENCE_S, interval_s=0.01):
        train(run_dir, 0, range(3))
        caught_up.clear()
        assert caught_up.wait(PATIENCE_S)
        caught_up.clear()
        assert caught_up.wait(PATIENCE_S)
        running = runs_at(uri)
        write_result(run_dir, 0)
        write_summary(run_dir)
    assert running["demo-abc123"].info.status == running["fold-00"].info.status == "RUNNING"
    assert {run.info.status for run in runs_at(uri).values()} == {"FINISHED"}
    assert history(uri, runs_at(uri)["fold-00"], "train/loss") == losses(range(3))
    assert warnings == []
    assert {thread.name for thread in threads} == {"mlflow-mirror"}
    sync(run_dir)  # the lock is free


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_an_error_in_the_training_sets_the_status_and_goes_through(
    run_dir: Path, uri: str, error: type[BaseException], status: str
) -> None:
    train(run_dir, 0, range(1))
    with pytest.raises(error), BackgroundMirror(run_dir, Warnings(), interval_s=0.01):
        raise error
    assert runs_at(uri)["demo-abc123"].info.status == status
    assert runs_at(uri)["fold-00"].info.status == "KILLED"


def test_a_dead_server_is_reported_once_and_how_to_finish_later(tmp_path: Path, uri: str) -> None:
    run_dir = make_run_folder(tmp_path / "other", CLOSED)
    train(run_dir, 0, range(2))
    warnings = Warnings()
    with BackgroundMirror(run_dir, warnings, interval_s=0.01, retry_s=0.01):
        assert warnings.arrived.wait(PATIENCE_S)
    assert len(warnings) == 2
    assert warnings[0].startswith(f"MLflow at {CLOSED} cannot be reached. The training goes on")
    assert f"patientfold sync run_dir={run_dir}" in warnings[1]
    assert "nothing is lost" in warnings[1]
    sync(run_dir, uri=uri)
    assert history(uri, runs_at(uri)["fold-00"], "train/loss") == losses(range(2))


def test_a_server_that_comes_back_gets_everything(
    run_dir: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    catch_up = Mirror.catch_up
    calls = 0
    recovered = threading.Event()

    def down_at_first(mirror: Mirror) -> None:
        nonlocal calls
        calls += 1
        if calls <= 3:
            raise TrackingError("away")
        catch_up(mirror)
        recovered.set()

    monkeypatch.setattr(Mirror, "catch_up", down_at_first)
    train(run_dir, 0, range(3))
    warnings = Warnings()
    with BackgroundMirror(run_dir, warnings, interval_s=0.01, retry_s=0.01):
        assert recovered.wait(PATIENCE_S)
    assert warnings == ["away The training goes on; the mirror keeps trying."]
    assert history(uri, runs_at(uri)["fold-00"], "train/loss") == losses(range(3))


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyError("gone"), ImportError("mlflow")])
def test_no_error_of_the_mirror_reaches_the_training(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(Mirror, "catch_up", Mock(side_effect=error))
    warnings = Warnings()
    with BackgroundMirror(run_dir, warnings, interval_s=0.01, retry_s=0.01):
        assert warnings.arrived.wait(PATIENCE_S)
    assert len(warnings) == 2


def test_the_end_waits_no_longer_than_asked(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(Mirror, "begin", lambda _: release.wait(30))
    warnings = Warnings()
    with BackgroundMirror(run_dir, warnings, timeout_s=0.05, interval_s=0.01) as mirror:
        pass
    (message,) = warnings
    assert "did not take everything within 0.05 s" in message
    release.set()
    mirror._thread.join(30)
