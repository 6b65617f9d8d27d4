"""Which cross-validations a registered model of MLflow came from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tracking.postgres import is_postgres, need_driver, with_driver
from pipeline.tracking.server import SQLITE, reaching

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY_TAG = "patientfold.key"


def registered_keys(uri: str) -> frozenset[str]:
    """Keys of the runs whose networks are in versions of registered models at this server.

    Also of a version that somebody registered by hand, from a run or a logged model: the MLflow run
    that it is from says which cross-validation it is of.

    Raises:
        TrackingError: the server cannot be reached, or refuses.
    """
    if uri.startswith(SQLITE) and not _database(uri).exists():
        return frozenset()
    need_driver(uri)
    with reaching(uri):
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=with_driver(uri) if is_postgres(uri) else uri)
        return frozenset(key for version in _versions(client) if (key := _key(client, version)))


def _database(uri: str) -> Path:
    return Path(uri.removeprefix(SQLITE).partition("?")[0])


def _versions(client: MlflowClient) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_model_versions(page_token=token)
        yield from page
        if not (token := page.token):
            return


def _key(client: MlflowClient, version: Any) -> str:
    """Of the cross-validation that a version is of; "" where it is of none of ours."""
    from mlflow.exceptions import MlflowException

    if key := (version.tags or {}).get(KEY_TAG):
        return str(key)
    with suppress(MlflowException):  # a run that was deleted for good
        if version.run_id:
            return str(client.get_run(version.run_id).data.tags.get(KEY_TAG, ""))
    return ""
