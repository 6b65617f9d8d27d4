"""The final network in MLflow: a run and a model that pass for no result."""

from pathlib import Path
from typing import Any

import pytest
from synthetic_run_folder import (
    STARTED,
    artifacts,
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

from pipeline.config import Upload
from pipeline.files import write_json
from pipeline.tracking.background import BackgroundMirror
from pipeline.tracking.journal import EpochEnded, Failed, Journal, Started, Stopped
from pipeline.tracking.mirror import Mirror, sync
from pipeline.tracking.untested import FINAL, FINAL_JSON, expected_of, seal_untested

NAME = "final of demo-abc123"
SUMMARY = {
    "patient": {"auroc": {"value": 0.88, "ci_low": 0.8, "ci_high": 0.95, "per_fold": [0.9, 0.86]}},
    "image": {},
    "num": {"patients": 40},
}


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


def begin_final(run_dir: Path) -> Path:
    folder = run_dir / FINAL
    folder.mkdir()
    with Journal(folder / "journal.jsonl") as journal:
        journal.append(Started(time=STARTED + 500, fold=-1, epochs=2))
        for epoch in (1, 2):
            metrics = {"train/loss": 1 / epoch, "train/lr": 0.1}
            journal.append(EpochEnded(time=STARTED + 500 + epoch, epoch=epoch, metrics=metrics))
    return folder


def end_final(run_dir: Path) -> None:
    folder = run_dir / FINAL
    (folder / "best.pt").write_bytes(b"weights of everybody")
    result = {
        "key": "abc123",
        "fold": -1,
        "untested": "tested on nobody",
        "num_epochs": 2,
        "folds": {},
        "thresholds": {"image": 0.4, "patient": None},
        "expected": expected_of(SUMMARY, "val/image/auroc", "3 settings were tested"),
        "rule": "2 epochs, the median of the folds' (1 to 3).",
        "time": STARTED + 600,
    }
    write_json(folder / FINAL_JSON, seal_untested(result, folder))


def test_it_is_a_run_and_a_model_without_a_metric_of_how_good_they_are(
    run_dir: Path, uri: str
) -> None:
    sync(run_dir)
    before = runs_at(uri)
    assert set(before) == {"demo-abc123", "fold-00", "fold-01"}
    begin_final(run_dir)
    end_final(run_dir)
    for _ in range(2):  # the second time nothing is new
        sync(run_dir)
        runs, models = runs_at(uri), models_at(uri)
        final, parent = runs["final"], runs["demo-abc123"]
        assert final.info.status == parent.info.status == "FINISHED"
        assert final.data.tags["patientfold.untested"] == "true"
        assert final.data.tags["patientfold.role"] == "final"
        assert final.data.tags["mlflow.parentRunId"] == parent.info.run_id
        expected = final.data.tags["patientfold.expected"]
        assert expected == (
            "expected AUROC 0.880 [0.800, 0.950], 95 % interval over 40 patients (patient level), "
            "from cross-validation of the same settings; this network itself was tested on nobody"
        )
        assert set(final.data.metrics) == {"train/loss", "train/lr"}
        assert history(uri, final, "train/loss") == [(1, 1.0), (2, 0.5)]
        assert artifacts(uri, final) == {FINAL_JSON, "journal.jsonl"}
        assert models[NAME].metrics in (None, [])
        assert models[NAME].tags["patientfold.untested"] == "true"
        assert model_files(uri, models[NAME]) == {"best.pt"}
        assert "tested on nobody" in models[NAME].tags["mlflow.note.content"]
        assert "3 settings were tested" in final.data.tags["mlflow.note.content"]
    assert NAME not in models_at(uri, filter_string="metrics.`test/patient/auroc` > 0")
    assert {name: run.info.run_id for name, run in before.items()} == {
        name: runs[name].info.run_id for name in before
    }
    assert parent.data.metrics == before["demo-abc123"].data.metrics


@pytest.mark.slow
def test_one_that_is_trained_anew_takes_the_place_of_the_former(run_dir: Path, uri: str) -> None:
    begin_final(run_dir)
    end_final(run_dir)
    sync(run_dir)
    former = runs_at(uri)["final"].info.run_id
    for path in (run_dir / FINAL).iterdir():
        path.unlink()
    (run_dir / FINAL).rmdir()
    folder = begin_final(run_dir)
    journal = folder / "journal.jsonl"
    journal.write_text(journal.read_text().replace(f"{STARTED + 500}", f"{STARTED + 800}", 1))
    end_final(run_dir)
    sync(run_dir)
    assert runs_at(uri)["final"].info.run_id != former  # and no two of one name
    assert len(models_at(uri)) == 4


def _stopped(run_dir: Path, uri: str, folder: Path, event: Any) -> None:
    """As the command when Ctrl-C comes; `event` is the last line of the journal."""
    mirror = BackgroundMirror(run_dir, lambda _: None, uri=uri, folds=[-1], is_beside=True)
    with mirror:
        if event is not None:
            with Journal(folder / "journal.jsonl") as journal:
                journal.append(event)
        raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize(
    ("event", "status"),
    [
        (Failed(time=STARTED + 900, error="P07: too dark"), "FAILED"),
        (Stopped(time=STARTED + 900, reason="Ctrl-C"), "KILLED"),
        (None, "KILLED"),
    ],
)
def test_however_it_ends_the_cross_validation_stays_finished(
    run_dir: Path, uri: str, event: Any, status: str
) -> None:
    sync(run_dir)
    folder = begin_final(run_dir)
    with pytest.raises(KeyboardInterrupt):
        _stopped(run_dir, uri, folder, event)
    runs = runs_at(uri)
    assert runs["final"].info.status == status
    assert runs["demo-abc123"].info.status == "FINISHED"
    end_final(run_dir)
    sync(run_dir)
    assert runs_at(uri)["final"].info.status == "FINISHED"


@pytest.mark.parametrize(
    ("upload", "files", "weights"),
    [
        ("all", {FINAL_JSON, "journal.jsonl"}, {"best.pt"}),
        ("no_patients", {FINAL_JSON}, {"best.pt"}),
        ("metrics", set(), set()),
    ],
)
def test_what_may_leave_the_machine_holds_for_it(
    run_dir: Path, uri: str, upload: Upload, files: set[str], weights: set[str]
) -> None:
    begin_final(run_dir)
    end_final(run_dir)
    with Mirror(run_dir, upload=upload) as mirror:
        mirror.finish()
    assert artifacts(uri, runs_at(uri)["final"]) == files
    assert model_files(uri, models_at(uri)[NAME]) == weights
