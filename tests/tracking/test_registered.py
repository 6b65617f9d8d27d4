"""Which runs a registered model came from, however it was registered."""

from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from synthetic_run_folder import make_database

from pipeline.config import UserError
from pipeline.tracking.registered import registered_keys


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    uri = make_database(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # where MLflow looks for a model of a version
    return MlflowClient(uri)


def run_of(client: MlflowClient, key: str) -> str:
    found = client.get_experiment_by_name("other")
    assert found is not None
    run = client.create_run(found.experiment_id, tags={"patientfold.key": key})
    return str(run.info.run_id)


def test_versions_are_traced_by_tag_run_and_logged_model(
    client: MlflowClient, tmp_path: Path
) -> None:
    client.create_registered_model("chest")
    assert registered_keys(client.tracking_uri) == frozenset()
    by_run, removed = run_of(client, "of-run"), run_of(client, "of-a-deleted-run")
    experiment = client.get_run(by_run).info.experiment_id
    of_model = run_of(client, "of-model")
    model = client.create_logged_model(experiment, "fold", source_run_id=of_model)
    source = str(tmp_path / "model")
    client.create_model_version("chest", source, tags={"patientfold.key": "of-tag"})
    client.create_model_version("chest", source, by_run)
    client.create_model_version("chest", source, removed)
    client.create_model_version("chest", f"models:/{model.model_id}")
    client.create_model_version("chest", source)  # of another project
    client.delete_run(removed)
    assert registered_keys(client.tracking_uri) == {
        *("of-tag", "of-run", "of-model", "of-a-deleted-run")
    }


def test_no_database_is_made_and_a_server_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    assert registered_keys(f"sqlite:///{tmp_path}/mlflow.db") == frozenset()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mlflow.db").write_text("no database")
    with pytest.raises(UserError, match="MLflow at"):
        registered_keys(f"sqlite:///{tmp_path}/mlflow.db")
    assert mlflow.active_run() is None
