"""The MLflow server: reaching it, its experiment, and its limits. Imports mlflow when used."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.config import UserError
from pipeline.files import lock
from pipeline.tracking.uri import sqlite_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # The mirror tries again itself, and looks by uid first: a blind second POST of "create run",
    # after a lost answer, would make a second run.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # else the UI asks, or guesses
    "mlflow.experiment.primaryMetric.name": "test/patient/auroc",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "True",
}


class TrackingError(UserError):
    """MLflow cannot be reached or refuses; nothing is lost, the run folder has all of it."""


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Turn the many errors of a tracking server into TrackingError."""
    _quieten()
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, (requests.ConnectionError, requests.Timeout)):
            raise TrackingError(f"MLflow at {uri} cannot be reached.") from error
        text = " ".join(str(error).split())
        text = text if len(text) <= 300 else text[:299] + "…"
        raise TrackingError(f"MLflow at {uri}: {text}") from error


def connect(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    """A client and the experiment's id; the experiment and an SQLite database are made if missing.

    Raises:
        TrackingError: the experiment was deleted.
    """
    from mlflow import MlflowClient

    path = sqlite_path(uri)
    if path is None:
        client = MlflowClient(tracking_uri=uri)
        return client, _experiment_id(client, experiment, None)
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path.with_name(f"{path.name}.lock"), f"{path} is locked.", patience_s=math.inf):
        # else the runs of a sweep would migrate it all at once
        client = MlflowClient(tracking_uri=uri)
        artifacts = (path.parent / "mlartifacts").as_uri()
        return client, _experiment_id(client, experiment, artifacts)


def is_missing(error: Exception) -> bool:
    """Whether the server answered that the thing does not exist."""
    return getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"


def _experiment_id(client: MlflowClient, name: str, artifacts: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifacts, EXPERIMENT_TAGS))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"MLflow experiment {name!r} was deleted: restore it (mlflow experiments restore "
            f"--experiment-id {found.experiment_id}) or choose another name."
        )
    return str(found.experiment_id)


def _quieten() -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401  (sets its own levels when it is imported)

    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.WARNING)
