"""The MLflow server: its address, reaching it, its experiment. Imports mlflow only when used."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.config import UserError
from pipeline.files import lock, make_private, make_private_file
from pipeline.tracking.postgres import (
    check_postgres,
    is_postgres,
    need_driver,
    postgres_lock,
    refuse_postgres_password,
    with_driver,
)
from pipeline.tracking.views import experiment_tags

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
KIND_TAG = {"mlflow.experimentKind": "custom_model_development"}  # else the UI asks, or guesses
PRIMARY_METRIC = "mlflow.experiment.primaryMetric.name"
GREATER_IS_BETTER = "mlflow.experiment.primaryMetric.greaterIsBetter"
SQLITE = "sqlite:///"
ALLOWED = "sqlite:///PATH.db, postgresql://USER@HOST/NAME, http://HOST:PORT or https://HOST"
ARTIFACTS = "mlartifacts"
"""The folder of uploaded files: beside an SQLite file, of PostgreSQL in the current folder."""


class TrackingError(UserError):
    """MLflow cannot be reached or refuses; nothing is lost, the run folder has all of it."""


def check_tracking_uri(uri: str) -> None:
    """UserError for what is no address of a server, and for one that cannot be reached from here
    without a package that is missing.
    """
    _check_address(uri)
    need_driver(uri)


def _check_address(uri: str) -> None:
    """UserError for all but a database or an http(s) server, and for one with a password."""
    refuse_password(uri)
    parts = urlsplit(uri)
    if is_postgres(uri):
        check_postgres(uri)
    elif uri.startswith(SQLITE):
        path = uri.removeprefix(SQLITE).partition("?")[0]
        if not path or path == ":memory:" or path.endswith("/"):
            raise UserError(f"tracking.uri: expected {SQLITE}PATH.db with a file, got {uri!r}.")
    elif parts.scheme not in ("http", "https") or not parts.hostname:
        is_folder = parts.scheme in ("", "file")
        reason = " MLflow no longer keeps runs in a plain folder (since 3.13)." * is_folder
        raise UserError(f"tracking.uri: expected {ALLOWED}, got {uri!r}.{reason}")


def refuse_password(uri: str) -> None:
    """UserError for an address with a password, which it does not repeat."""
    parts = urlsplit(uri)
    if is_postgres(uri):
        refuse_postgres_password(uri)
    elif parts.scheme in ("http", "https") and (parts.username or parts.password):
        raise UserError(
            "tracking.uri: expected an address without user and password (it is kept in the run "
            "folder); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead."
        )


def absolute_tracking_uri(uri: str) -> str:
    """The same checked store for every working directory: an SQLite path made absolute."""
    _check_address(uri)
    if not uri.startswith(SQLITE):
        return uri.rstrip("/")
    name, mark, query = uri.removeprefix(SQLITE).partition("?")
    path = Path(name).expanduser().absolute()
    if unfit := re.search(r"[?]|%[0-9a-fA-F]{2}", str(path)):
        raise UserError(
            f"tracking.uri {uri}: the database would be {path}, but {unfit[0]!r} means something "
            "else in an SQLite address; rename that folder, or name another: "
            "tracking.uri=sqlite:////FOLDER/mlflow.db"
        )
    return f"{SQLITE}{path}{mark}{query}"


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Turn the many errors of a tracking server into TrackingError."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401  (sets its own levels when it is imported)
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, (requests.ConnectionError, requests.Timeout)):
            raise TrackingError(f"MLflow at {uri} cannot be reached.") from error
        text = shorten(str(error), 300, placeholder="…")
        raise TrackingError(f"MLflow at {uri}: {text}") from error


def connect(
    uri: str, experiment: str, primary_metric: str, varied: Sequence[str] = ()
) -> tuple[MlflowClient, str]:
    """A client and the experiment's id; the experiment and an SQLite database are made if missing.

    The UI compares by the primary metric: one of validation, never of test. An experiment keeps
    the one of validation that it has, and is described with links to views by it, which show the
    params that are `varied`.
    TrackingError when the experiment was deleted.
    """
    from mlflow import MlflowClient

    need_driver(uri)
    if is_postgres(uri):
        with postgres_lock(uri):  # else the runs of a sweep would make its tables all at once
            client = MlflowClient(tracking_uri=with_driver(uri))
            folder = Path.cwd() / ARTIFACTS
            make_private(folder)
            artifacts = folder.as_uri()
            return client, _experiment_id(client, experiment, artifacts, primary_metric, varied)
    if not uri.startswith(SQLITE):
        client = MlflowClient(tracking_uri=uri)
        return client, _experiment_id(client, experiment, None, primary_metric, varied)
    path = Path(uri.removeprefix(SQLITE).partition("?")[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path.with_name(f"{path.name}.lock"), f"{path} is locked.", patience_s=math.inf):
        # else the runs of a sweep would migrate it all at once
        if not path.exists() or not path.stat().st_size:
            _make_database(path)
        make_private(path.parent / ARTIFACTS)
        client = MlflowClient(tracking_uri=uri)
        artifacts = (path.parent / ARTIFACTS).as_uri()
        return client, _experiment_id(client, experiment, artifacts, primary_metric, varied)


def _make_database(path: Path) -> None:
    """An empty database, whole or not there: one that fills its disk half-way is of no use."""
    from mlflow import MlflowClient

    fresh = path.with_name(f".{path.name}.new")
    try:
        make_private_file(fresh)
        MlflowClient(tracking_uri=f"{SQLITE}{fresh}").search_experiments(max_results=1)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _experiment_id(
    client: MlflowClient,
    name: str,
    artifacts: str | None,
    primary_metric: str,
    varied: Sequence[str],
) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            client.create_experiment(name, artifacts, KIND_TAG)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
                raise
        found = client.get_experiment_by_name(name)
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"MLflow experiment {name!r} was deleted: restore it (mlflow experiments restore "
            f"--experiment-id {found.experiment_id}) or choose another name."
        )
    there = found.tags.get(PRIMARY_METRIC, "test/")
    chosen = primary_metric if there.startswith("test/") else there  # nobody may choose on test
    tags = KIND_TAG | {PRIMARY_METRIC: chosen, GREATER_IS_BETTER: str(chosen != "val/loss")}
    tags |= experiment_tags(found.experiment_id, chosen, found.tags, varied)
    for tag, value in tags.items():
        if found.tags.get(tag) != value:
            client.set_experiment_tag(found.experiment_id, tag, value)
    return str(found.experiment_id)
