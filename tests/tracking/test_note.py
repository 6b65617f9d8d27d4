"""The note on a run's page."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from synthetic_run_folder import (
    fold_dir,
    make_database,
    make_run_folder,
    runs_at,
    train,
    write_result,
    write_summary,
)

from pipeline.config import Upload
from pipeline.files import read_json, write_json
from pipeline.tracking.mirror import Mirror, sync
from pipeline.tracking.note import NOTE_TAG, cv_note, fold_note
from pipeline.tracking.record import RunRecord

BEGUN = "Cross-validation of lenet5 on demo: 40 images of 10 patients.\n\nSplit: kfold, 2 folds."


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return make_database(tmp_path)


@pytest.fixture
def run_dir(tmp_path: Path, uri: str) -> Path:
    folder = make_run_folder(tmp_path / "run", uri)
    replace(RunRecord.load(folder), note=BEGUN).save(folder)
    return folder


def notes(uri: str) -> dict[str, str]:
    return {name: run.data.tags[NOTE_TAG] for name, run in runs_at(uri).items()}


def test_it_says_what_the_run_is_and_then_what_came_of_it(run_dir: Path, uri: str) -> None:
    train(run_dir, 0, range(1))
    with Mirror(run_dir) as mirror:
        mirror.catch_up()
        begun = notes(uri)
        assert begun["demo-abc123"].splitlines()[1].strip() == "Result: not yet, 0 of 2 folds done."
        assert begun["fold-00"].startswith("Fold 0 of 2 folds of demo-abc123.")
        assert "test is not opened yet" in begun["fold-00"]
        for fold in range(2):
            train(run_dir, fold, range(1, 3))
            write_result(run_dir, fold)
        write_summary(run_dir)
        mirror.catch_up()
        (run_dir / "report.html").write_text("<html>")  # written after metrics.json
        mirror.catch_up()
    first, headline, split = notes(uri)["demo-abc123"].split("  \n")
    assert [first, split] == BEGUN.split("\n\n")
    assert headline == (
        "**Test, patient level: AUROC 0.880 [0.800, 0.950]**; folds 0.860 to 0.900. "
        "More in report.html (Artifacts)."
    )
    of_fold = notes(uri)["fold-01"]
    assert "Epoch 2 of 3 was chosen by val/image/auroc (0.800)" in of_fold
    assert "Test part: image level AUROC 0.900." in of_fold
    assert len(of_fold.splitlines()) <= 5


@pytest.mark.parametrize(("upload", "named"), [("all", True), ("no_patients", False)])
def test_a_report_that_is_not_uploaded_is_not_named(
    run_dir: Path, uri: str, upload: Upload, named: bool
) -> None:
    write_summary(run_dir)
    (run_dir / "report.html").write_text("<html>")
    sync(run_dir, upload=upload)
    assert ("report.html" in notes(uri)["demo-abc123"]) is named


def test_somebodys_own_note_stays(run_dir: Path, uri: str) -> None:
    train(run_dir, 0, range(1))
    sync(run_dir)
    client = MlflowClient(uri)
    for run in runs_at(uri).values():
        client.set_tag(run.info.run_id, NOTE_TAG, "the one for the paper")
    write_result(run_dir, 0)
    write_summary(run_dir)
    sync(run_dir)
    assert set(notes(uri).values()) == {"the one for the paper"}


def test_a_leaking_split_is_said_first(run_dir: Path) -> None:
    record = RunRecord.load(run_dir)
    record = replace(record, tags={**record.tags, "patientfold.unsafe": "true"})
    for note in (cv_note(record, None, 0), fold_note(record, 0, None)):
        assert note.startswith("**UNSAFE, optimistic: split by image")


def test_what_cannot_be_computed_is_left_out(run_dir: Path) -> None:
    record = RunRecord.load(run_dir)
    without = {"patient": None, "image": {"auroc": {"value": None}}}
    assert "no test metric can be computed" in cv_note(record, without, 2)
    write_result(run_dir, 0)
    path = fold_dir(run_dir, 0) / "result.json"
    write_json(path, json.loads(path.read_text()) | {"test": {"patient": None, "image": {}}})
    assert "Test part" not in fold_note(record, 0, read_json(path))


def test_the_headline_is_of_what_the_epochs_were_chosen_by(run_dir: Path) -> None:
    record = replace(RunRecord.load(run_dir), select_by="val/image/average_precision")
    entry = {"value": 0.5, "ci_low": 0.4, "ci_high": 0.7, "marks": ["unstable", "imprecise"]}
    summary = {
        "patient": {"auroc": entry | {"value": 0.9}, "average_precision": entry},
        "num": {"patients": 12},
    }
    assert (
        "**Test, patient level: average precision 0.500 [0.400, 0.700]**, 95 % interval over "
        "12 patients; unstable and imprecise." in cv_note(record, summary, 2)
    )
