"""Versions in a real registry: found again, described, and one of them the champion."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from synthetic_run_folder import make_database, make_run_folder

from pipeline.config import UserError
from pipeline.tracking.comparison import log_comparison
from pipeline.tracking.registry import (
    ALIAS,
    BUNDLE,
    KEY,
    NETWORK,
    PLAN,
    RUN_DIR,
    VERDICT,
    Registry,
    refuse_upload,
    registry,
)


def tags(bundle: str, run_dir: Path) -> dict[str, str]:
    return {
        KEY: "k" * 64,
        RUN_DIR: str(run_dir),
        PLAN: "p" * 64,
        NETWORK: "folds",
        BUNDLE: bundle,
    }


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return make_database(tmp_path)


@pytest.fixture
def run_dir(tmp_path: Path, uri: str) -> Path:
    return make_run_folder(tmp_path / "run", uri)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bundle" / "data").mkdir(parents=True)
    (tmp_path / "bundle" / "MLmodel").write_text("flavors: {}\n")
    (tmp_path / "bundle" / "data" / "weights").write_bytes(b"weights")
    return tmp_path / "bundle"


def added(models: Registry, folder: Path, run_dir: Path, bundle: str) -> tuple[str, bool]:
    return models.add(folder, tags(bundle, run_dir), "export demo", "# Model card")


def test_a_bundle_becomes_one_version_however_often(uri: str, run_dir: Path, folder: Path) -> None:
    with registry(run_dir, "lesions", uri) as models:
        assert models.champion is None
        assert added(models, folder, run_dir, "a") == ("1", True)
        assert added(models, folder, run_dir, "a") == ("1", False)
        assert added(models, folder, run_dir, "b") == ("2", True)
    client = MlflowClient(uri)
    version = client.get_model_version("lesions", "1")
    assert version.description == "# Model card"
    assert version.tags[KEY] == "k" * 64
    assert {file.path for file in client.list_artifacts(version.run_id, "model")} == {
        "model/MLmodel",
        "model/data",
    }
    run = client.get_run(version.run_id)
    assert run.data.tags["patientfold.role"] == "export"
    assert run.info.status == "FINISHED"


def test_the_alias_moves_only_when_it_is_decided_and_why_is_kept(
    uri: str, run_dir: Path, folder: Path
) -> None:
    with registry(run_dir, "lesions", uri) as models:
        first, _ = added(models, folder, run_dir, "a")
        models.decide(first, True, "the first")
        second, _ = added(models, folder, run_dir, "b")
        models.decide(second, False, "not better")
        assert models.champion is not None
        assert models.champion.number == first
        assert models.champion.run_dir == str(run_dir)
        client = MlflowClient(uri)
        assert client.get_model_version_by_alias("lesions", ALIAS).version == int(first)
        assert client.get_model_version("lesions", second).tags[VERDICT] == "not better"
        models.decide(second, True, "replace=true")
        assert models.champion.number == second


def test_versions_of_other_names_are_not_ours(uri: str, run_dir: Path, folder: Path) -> None:
    with registry(run_dir, "lesions", uri) as models:
        models.decide(added(models, folder, run_dir, "a")[0], True, "the first")
    with registry(run_dir, "others", uri) as models:
        assert models.champion is None
        assert added(models, folder, run_dir, "a") == ("1", True)


def test_no_file_leaves_a_run_that_forbids_it(uri: str, run_dir: Path) -> None:
    with pytest.raises(UserError, match=r"tracking\.upload=metrics lets no file of"):
        refuse_upload(run_dir, uri, "metrics")
    refuse_upload(run_dir, uri, "no_patients")
    with pytest.raises(UserError, match="takes its server from the environment"):
        refuse_upload(run_dir, None)


def test_a_registration_that_fails_leaves_no_run_that_seems_to_run(
    uri: str, run_dir: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patch, registry(run_dir, "lesions", uri) as models:
        patch.setattr(MlflowClient, "log_artifacts", full)
        with pytest.raises(OSError, match="no room"):
            added(models, folder, run_dir, "a")
    client = MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'demo'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    with registry(run_dir, "lesions", uri) as models:
        assert added(models, folder, run_dir, "a") == ("1", True)
    (again,) = client.search_runs([experiment.experiment_id])
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")


def test_a_comparison_that_fails_leaves_no_run_that_seems_to_run(
    uri: str, run_dir: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no room")

    interval = {"value": 0.1, "low": 0.0, "high": 0.2}
    other = {"name": "b", "verdict": "better", "difference": {"interval": interval}, "p": 0.5}
    record = {"first": "a", "metric": "auroc", "level": "patient", "compared": [other]}
    monkeypatch.setattr(MlflowClient, "log_artifact", full)
    with pytest.raises(UserError, match="no room"):
        log_comparison(run_dir, folder, record, uri)
    client = MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'demo'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
