"""Several commands on one run folder: one mirrors for all, and the last one ends the run."""

import threading
from pathlib import Path

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

from pipeline.files import lock
from pipeline.tracking.background import BackgroundMirror
from pipeline.tracking.mirror import Mirror
from pipeline.tracking.sharing import MirroredElsewhereError, Sharing

PATIENCE_S = 120.0


def test_only_the_last_command_is_alone_at_its_end(tmp_path: Path) -> None:
    with Sharing(tmp_path) as first, Sharing(tmp_path) as second:
        with first.ending(0) as is_last:
            assert not is_last
        with second.ending(0) as is_last:
            assert is_last


def test_commands_end_one_after_the_other(tmp_path: Path) -> None:
    order: list[str] = []
    with Sharing(tmp_path) as first, Sharing(tmp_path) as second:

        def end_second() -> None:
            with second.ending(PATIENCE_S):
                order.append("second")

        with first.ending(0):
            thread = threading.Thread(target=end_second)
            thread.start()
            thread.join(0.3)
            order.append("first")
        thread.join()
    assert order == ["first", "second"]


def _status(run_dir: Path, uri: str, ours: tuple[int, ...] | None) -> dict[str, str]:
    with Mirror(run_dir) as mirror:
        mirror.finish("FINISHED", ours)
    return {name: run.info.status for name, run in runs_at(uri).items()}


def test_a_command_that_ends_before_another_leaves_its_folds_running(tmp_path: Path) -> None:
    uri = make_database(tmp_path)
    run_dir = make_run_folder(tmp_path / "run", uri)
    train(run_dir, 0, range(3))
    write_result(run_dir, 0)
    train(run_dir, 1, range(1))
    expected = {"demo-abc123": "RUNNING", "fold-00": "FINISHED", "fold-01": "RUNNING"}
    assert _status(run_dir, uri, (0,)) == expected
    train(run_dir, 1, range(1, 3))
    write_result(run_dir, 1)
    write_summary(run_dir)
    assert set(_status(run_dir, uri, None).values()) == {"FINISHED"}


def test_a_fold_that_another_command_lost_is_not_called_finished(tmp_path: Path) -> None:
    uri = make_database(tmp_path)
    run_dir = make_run_folder(tmp_path / "run", uri)
    train(run_dir, 0, range(3))
    write_result(run_dir, 0)
    train(run_dir, 1, range(1))
    expected = {"demo-abc123": "KILLED", "fold-00": "FINISHED", "fold-01": "KILLED"}
    assert _status(run_dir, uri, None) == expected


def test_who_mirrors_is_waited_for_and_its_place_is_taken(tmp_path: Path) -> None:
    """Two commands, a fold each: whichever mirrors, all is there once when both have ended."""
    uri = make_database(tmp_path)
    run_dir = make_run_folder(tmp_path / "run", uri)
    warnings: list[str] = []

    def command(fold: int) -> BackgroundMirror:
        return BackgroundMirror(
            run_dir, warnings.append, PATIENCE_S, interval_s=0.01, folds=(fold,)
        )

    with command(1):
        with command(0):
            for fold in (0, 1):
                train(run_dir, fold, range(3))
            write_result(run_dir, 0)
        write_result(run_dir, 1)
        write_summary(run_dir)
    runs = runs_at(uri)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for fold in (0, 1):
        assert history(uri, runs[f"fold-0{fold}"], "train/loss") == losses(range(3))
    assert warnings == []


def test_a_second_mirror_of_one_folder_is_refused(tmp_path: Path) -> None:
    run_dir = make_run_folder(tmp_path / "run", "sqlite:////nowhere/mlflow.db")
    with (
        lock(run_dir / "mlflow.lock", "not free"),
        pytest.raises(MirroredElsewhereError, match="being mirrored"),
    ):
        Mirror(run_dir)
