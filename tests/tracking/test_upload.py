"""`tracking.upload`: which files and texts reach the tracking server."""

import socket
from pathlib import Path
from typing import get_args

import pytest
from synthetic_run_folder import (
    artifacts,
    fail,
    fold_dir,
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
from pipeline.files import read_json, write_json
from pipeline.tracking.destination import destination, is_here, plain_http_warnings
from pipeline.tracking.mirror import sync
from pipeline.tracking.trained_run import ERROR_TAG
from pipeline.tracking.upload import GOES

NUMBERS: tuple[set[str], set[str]] = set(), set()
NO_PATIENTS = (
    {"config.yaml", "metrics.json", "plots"},
    {"result.json"},
)
ALL = (
    NO_PATIENTS[0] | {"plan.csv", "predictions.csv", "report.html", "report.md"},
    NO_PATIENTS[1] | {"predictions_test.csv", "journal.jsonl"},
)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return make_database(tmp_path)


@pytest.fixture
def run_dir(tmp_path: Path, uri: str) -> Path:
    """Fold 0 is done, fold 1 failed."""
    folder = make_run_folder(tmp_path / "run", uri)
    train(folder, 0, range(2))
    write_result(folder, 0)
    train(folder, 1, range(1))
    fail(folder, 1)
    write_summary(folder)
    for name in ("report.html", "report.md"):
        (folder / name).write_text("P01 is a patient.")
    return folder


def record_policy(run_dir: Path, upload: str) -> None:
    path = run_dir / "tracking.json"
    write_json(path, read_json(path) | {"upload": upload})


@pytest.mark.parametrize(
    ("upload", "expected"), [("all", ALL), ("no_patients", NO_PATIENTS), ("metrics", NUMBERS)]
)
def test_only_what_the_policy_allows_is_uploaded(
    run_dir: Path, uri: str, upload: Upload, expected: tuple[set[str], set[str]]
) -> None:
    record_policy(run_dir, upload)
    sync(run_dir)
    runs = runs_at(uri)
    assert set(artifacts(uri, runs["demo-abc123"])) == expected[0]
    assert set(artifacts(uri, runs["fold-00"])) == expected[1]
    models = models_at(uri)
    weights = model_files(uri, models["fold-00 of demo-abc123"])
    assert weights == ({"best.pt"} if upload != "metrics" else set())
    assert model_files(uri, models["demo-abc123"]) == set()
    assert runs["demo-abc123"].data.metrics["test/patient/auroc"] == 0.88
    assert runs["fold-00"].data.metrics["best/val/patient/auroc"] == 0.8
    assert ("loss is nan" in runs["fold-01"].data.tags[ERROR_TAG]) is (upload == "all")
    assert bool(artifacts(uri, runs["fold-01"])) is (upload == "all")


def test_a_folder_of_an_earlier_version_is_mirrored_whole(run_dir: Path, uri: str) -> None:
    path = run_dir / "tracking.json"
    record = read_json(path)
    assert record.pop("upload") == "all"
    write_json(path, record)
    sync(run_dir)
    assert set(artifacts(uri, runs_at(uri)["fold-00"])) == ALL[1]


def test_sync_can_be_asked_for_less(run_dir: Path, uri: str) -> None:
    sync(run_dir, upload="metrics")
    assert artifacts(uri, runs_at(uri)["fold-00"]) == set()
    assert fold_dir(run_dir, 0).exists()


def test_every_policy_says_what_goes() -> None:
    assert set(GOES) == set(get_args(Upload))


@pytest.mark.parametrize(
    ("uri", "here"),
    [
        ("sqlite:///mlflow.db", True),
        ("http://localhost:5000", True),
        ("http://LocalHost:5000", True),
        ("http://127.0.0.2:5000", True),
        ("http://[::1]:5000", True),
        ("http://mlflow.localhost", True),
        (f"http://{socket.gethostname()}:5000", True),
        ("http://localhost.example", False),
        ("http://notlocalhost", False),
        ("https://mlflow.clinic.example", False),
        ("http://10.0.0.7:5000", False),
    ],
)
def test_another_machine_is_told_from_this_one(uri: str, here: bool) -> None:
    assert is_here(uri) is here
    assert ("on ANOTHER MACHINE" in destination(uri)) is not here
    assert bool(plain_http_warnings(uri)) is (not here and uri.startswith("http:"))


@pytest.mark.parametrize("upload", get_args(Upload))
def test_what_goes_is_said_as_the_policy_has_it(upload: Upload) -> None:
    line = destination("https://mlflow.clinic.example", upload)
    assert f"tracking.upload={upload}" in line
    assert ("predictions" in line) is (upload == "all")
    assert ("checkpoints" in line) is (upload != "metrics")


def test_an_error_is_gone_once_the_fold_is_done(run_dir: Path, uri: str) -> None:
    sync(run_dir)
    assert ERROR_TAG in runs_at(uri)["fold-01"].data.tags
    train(run_dir, 1, range(1, 3))  # no mirror looked before it was done
    write_result(run_dir, 1)
    sync(run_dir)
    run = runs_at(uri)["fold-01"]
    assert run.info.status == "FINISHED"
    assert ERROR_TAG not in run.data.tags
