"""MLflow's tables, made once: its migrations take seconds."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def _database(tmp_path: Path, empty_database: Path) -> None:
    """Where a run in tmp_path finds its database (one elsewhere makes its own)."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
