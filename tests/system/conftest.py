"""Whole runs. MLflow's tables are made once: its migrations take seconds."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

QUICK = {"test_engine.py", "test_experiments.py", "test_extending.py", "test_non_interference.py"}
"""What `make test` takes of this room; the others are slow."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.name not in QUICK:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def empty_database(made_once: Callable[..., Path]) -> Path:
    def make(folder: Path) -> None:
        MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()

    return made_once("empty_database", make) / "mlflow.db"


@pytest.fixture(autouse=True)
def _database(tmp_path: Path, empty_database: Path) -> None:
    """Where a run in tmp_path finds its database (one elsewhere makes its own)."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
