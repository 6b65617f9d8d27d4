"""Where MLflow keeps the runs: which addresses are allowed. String work only, no mlflow."""

from pathlib import Path
from urllib.parse import urlsplit

from pipeline.config import UserError

SQLITE = "sqlite:///"
ALLOWED = "sqlite:///PATH.db, http://HOST:PORT or https://HOST"


def check_tracking_uri(uri: str) -> None:
    """Refuse what MLflow would refuse later, or what would lose the runs.

    Raises:
        UserError: neither an SQLite file nor an http(s) server, or an address with a password.
    """
    if uri.startswith(SQLITE):
        path = uri.removeprefix(SQLITE).partition("?")[0]
        if not path or path == ":memory:" or path.endswith("/"):
            raise UserError(f"tracking.uri: expected {SQLITE}PATH.db with a file, got {uri!r}.")
        return
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        reason = ""
        if parts.scheme in ("", "file"):
            reason = " MLflow no longer keeps runs in a plain folder (since 3.13)."
        raise UserError(f"tracking.uri: expected {ALLOWED}, got {uri!r}.{reason}")
    if parts.username or parts.password:
        raise UserError(
            "tracking.uri: expected an address without user and password (it is kept in the run "
            "folder); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead."
        )


def absolute_tracking_uri(uri: str) -> str:
    """The same store for every working directory: an SQLite path made absolute.

    Raises:
        UserError: see check_tracking_uri.
    """
    check_tracking_uri(uri)
    if not uri.startswith(SQLITE):
        return uri.rstrip("/")
    path, mark, query = uri.removeprefix(SQLITE).partition("?")
    return f"{SQLITE}{Path(path).expanduser().absolute()}{mark}{query}"


def sqlite_path(uri: str) -> Path | None:
    """The database file of an SQLite address, None for a server."""
    if not uri.startswith(SQLITE):
        return None
    return Path(uri.removeprefix(SQLITE).partition("?")[0])
