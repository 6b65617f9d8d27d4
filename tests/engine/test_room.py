"""What `runs prune` takes, and what it never touches."""

import multiprocessing
from collections.abc import Collection
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from run_copies import SERVER, as_of_sweep, checkpoints, copy_of

from pipeline.config import UserError
from pipeline.engine.finished import Finished
from pipeline.engine.overview import overview
from pipeline.engine.room import Sought, beaten_runs, exported_keys, remove_checkpoints
from pipeline.engine.soundness import check_run_folder, read_environment
from pipeline.files import lock, read_json, write_json
from pipeline.tracking.mirror import PRUNED
from pipeline.tracking.removed import gone, is_removed

NOTHING = Sought()
VALUES = {"worse": 0.7, "best": 0.9, "middle": 0.8}


@pytest.fixture
def sweep(one_run: Path, tmp_path: Path) -> list[Path]:
    """The run folders of a sweep."""
    return [
        as_of_sweep(copy_of(one_run, tmp_path / "runs" / name, {"training.seed": seed}), value)
        for seed, (name, value) in enumerate(VALUES.items())
    ]


def beaten(run_dirs: Collection[Path], sought: Sought = NOTHING) -> list[str]:
    return [one.run_dir.name for one in beaten_runs([*run_dirs], sought)[0]]


def spared(run_dirs: Collection[Path], sought: Sought = NOTHING) -> dict[str, str]:
    return {one.path.name: one.why for one in beaten_runs([*run_dirs], sought)[1]}


def test_all_but_the_best_by_validation_are_beaten(sweep: list[Path]) -> None:
    found, kept = beaten_runs(sweep, NOTHING)
    assert [one.run_dir.name for one in found] == ["worse", "middle"]
    assert kept == []
    assert found[0].why == "val/patient/auroc 0.7000, the best of its sweep has 0.9000"
    assert sorted(found[0].files) == checkpoints(sweep[0])
    assert len(found[0].files) == 2 * len(Finished(sweep[0]).results)


def test_of_losses_the_smallest_is_the_best(sweep: list[Path]) -> None:
    for run_dir, value in zip(sweep, (0.3, 0.5, 0.2), strict=True):
        as_of_sweep(run_dir, value, select_by="val/loss")
    assert beaten(sweep) == ["worse", "best"]


def test_equals_stay_both(sweep: list[Path]) -> None:
    as_of_sweep(sweep[2], 0.9)
    assert beaten(sweep) == ["worse"]


@pytest.mark.parametrize("tag", ["patientfold.sweep", "patientfold.plan_hash"])
def test_runs_of_another_sweep_or_plan_beat_nobody(sweep: list[Path], tag: str) -> None:
    _tag(sweep[1], tag, "another")
    assert beaten(sweep) == ["worse"]  # by middle


def test_runs_of_no_sweep_are_left_alone(sweep: list[Path]) -> None:
    for run_dir in sweep:
        _tag(run_dir, "patientfold.sweep", "")
    assert beaten(sweep) == []


def test_a_run_with_folds_to_come_is_left_alone_unless_the_sweep_has_stopped_it(
    sweep: list[Path],
) -> None:
    (sweep[0] / "fold_01" / "result.json").unlink()
    assert beaten(sweep) == ["middle"]
    write_json(sweep[0] / PRUNED, {"folds": [0], "mean": 0.7, "median": 0.8, "objective": 0.7})
    assert beaten(sweep) == ["worse", "middle"]
    assert not any("fold_01" in name for name in beaten_runs(sweep, NOTHING)[0][0].files)


def test_a_run_that_was_stopped_early_is_never_the_best(sweep: list[Path]) -> None:
    (sweep[1] / "fold_01" / "result.json").unlink()
    write_json(sweep[1] / PRUNED, {"folds": [0], "mean": 0.9, "median": 0.95, "objective": 0.8})
    assert "middle" not in beaten(sweep)


@pytest.mark.parametrize(
    ("name", "why"),
    [("final", "a final network was trained"), ("locked", "the locked patients were opened")],
)
def test_a_run_that_was_chosen_keeps_its_checkpoints(
    sweep: list[Path], name: str, why: str
) -> None:
    (sweep[0] / name).mkdir()
    assert beaten(sweep) == ["middle"]
    assert why in spared(sweep)["worse"]


def test_a_run_chosen_between_the_question_and_the_answer_keeps_them_too(
    sweep: list[Path],
) -> None:
    found = beaten_runs(sweep, NOTHING)[0][0]
    (sweep[0] / "final").mkdir()
    with pytest.raises(UserError, match="a final network was trained"):
        remove_checkpoints(found)
    assert sorted(found.files) == checkpoints(sweep[0])


def test_an_exported_run_keeps_them(sweep: list[Path], tmp_path: Path) -> None:
    bundle = tmp_path / "exports" / "demo" / "one" / "bundle.json"
    bundle.parent.mkdir(parents=True)
    write_json(bundle, {"key": read_environment(sweep[0])["key"]})
    (tmp_path / "exports" / "broken").mkdir()
    (tmp_path / "exports" / "broken" / "bundle.json").write_text("{")
    sought = Sought(exported_keys(tmp_path / "exports"))
    assert beaten(sweep, sought) == ["middle"]
    assert "exported" in spared(sweep, sought)["worse"]


def test_a_registered_run_keeps_them_and_so_does_one_of_which_nobody_knows(
    sweep: list[Path],
) -> None:
    key, asked = read_environment(sweep[0])["key"], []

    def registered(uri: str) -> Collection[str]:
        asked.append(uri)
        return [key]

    def silent(uri: str) -> Collection[str]:
        raise UserError(f"{uri} does not answer")

    assert beaten(sweep, Sought(registered=registered)) == ["middle"]
    assert spared(sweep, Sought(registered=registered)) == {
        "worse": "a registered model came from it"
    }
    assert set(asked) == {SERVER}
    assert beaten(sweep, Sought(registered=silent)) == []
    assert "does not answer" in spared(sweep, Sought(registered=silent))["worse"]


def test_weights_that_another_run_began_with_stay(
    sweep: list[Path], one_run: Path, tmp_path: Path
) -> None:
    weights = str(sweep[0] / "fold_00" / "best.pt")
    later = copy_of(one_run, tmp_path / "runs" / "later", {"init.weights": weights})
    assert beaten([*sweep, later]) == ["middle"]
    assert "init.weights" in spared([*sweep, later])["worse"]


def _hold(path: Path, ready: Connection) -> None:
    with lock(path, "held"):
        ready.send(None)
        ready.recv()


@pytest.mark.parametrize("name", [".lock", "mlflow.lock"])
def test_a_run_in_use_is_not_touched(sweep: list[Path], name: str) -> None:
    found = beaten_runs(sweep, NOTHING)[0][0]
    before = checkpoints(sweep[0])
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_hold, args=(sweep[0] / name, theirs)
    )
    process.start()
    try:
        ours.recv()
        assert spared(sweep)["worse"] == "in use"
        with pytest.raises(UserError, match="in use by another process"):
            remove_checkpoints(found)
        assert checkpoints(sweep[0]) == before
        if name == ".lock":
            assert overview(sweep[0]).state == "running"
    finally:
        ours.send(None)
        process.join()


def test_what_is_removed_is_noted_and_all_else_reads_as_before(sweep: list[Path]) -> None:
    run_dir, before = sweep[0], _files(sweep[0])
    found = beaten_runs(sweep, NOTHING)[0][0]
    metrics = Finished.read(run_dir).metrics
    assert remove_checkpoints(found) == found.bytes > 0
    after = _files(run_dir)
    new = {"removed.json", ".lock", "mlflow.lock"}
    assert {name: data for name, data in after.items() if name not in new} == {
        name: data for name, data in before.items() if name not in found.files
    }
    assert checkpoints(run_dir) == []
    check_run_folder(run_dir)
    assert Finished.read(run_dir).metrics.equals(metrics)
    seen = overview(run_dir)
    assert (seen.state, seen.pruned, seen.problem) == ("done", len(found.files), None)
    assert beaten_runs(sweep, NOTHING)[0][0].run_dir.name == "middle"  # nothing more to remove


def test_what_is_gone_says_so_and_how_to_have_it_back(sweep: list[Path]) -> None:
    path = sweep[0] / "fold_00" / "best.pt"
    other = sweep[1] / "fold_00" / "best.pt"
    other.unlink()
    assert gone(other) == f"{other} is missing: the fold's network was deleted, train it again"
    data = path.read_bytes()
    remove_checkpoints(beaten_runs(sweep, NOTHING)[0][0])
    assert is_removed(path)
    assert "`patientfold runs prune` removed it on 20" in gone(path)
    assert f"delete {path.parent}" in gone(path)
    path.write_bytes(data)  # a copy from MLflow
    assert not is_removed(path)
    check_run_folder(sweep[0])
    (sweep[0] / "removed.json").write_text("{}")
    assert not is_removed(sweep[0] / "fold_01" / "best.pt")


def _files(run_dir: Path) -> dict[str, bytes]:
    paths = [path for path in run_dir.rglob("*") if path.is_file()]
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in paths}


def _tag(run_dir: Path, name: str, value: str) -> None:
    content = read_json(run_dir / "tracking.json")
    content["tags"][name] = value
    write_json(run_dir / "tracking.json", content)
