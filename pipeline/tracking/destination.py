"""Where a run's data goes, said before it goes there."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from pipeline.config import Upload
from pipeline.tracking.postgres import host_of, is_postgres
from pipeline.tracking.server import SQLITE
from pipeline.tracking.upload import GOES


def destination(uri: str, upload: Upload = "all") -> str:
    """One line: which files and numbers go where."""
    whose = "on this machine" if is_here(uri) else "on ANOTHER MACHINE"
    return f"MLflow gets {GOES[upload]} (tracking.upload={upload}): {uri}, {whose}"


def plain_http_warnings(uri: str) -> list[str]:
    """A warning when everyone on the way to the server can read along."""
    if is_here(uri) or urlsplit(uri).scheme != "http":
        return []
    return [
        f"tracking.uri {uri} is plain http: everyone on the way there can read the password, the "
        "patients' ids and the predictions; use https, or an ssh tunnel to http://localhost:PORT"
    ]


def is_here(uri: str) -> bool:
    """Whether the store is an SQLite file or a server of this machine."""
    if uri.startswith(SQLITE):
        return True
    host = (urlsplit(uri).hostname or "").lower()
    if is_postgres(uri):
        host = host_of(uri).lower() or "localhost"
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", socket.gethostname().lower()) or host.endswith(".localhost")
