"""PostgreSQL as MLflow's store: postgresql://USER@HOST/NAME, for many processes at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from urllib.parse import parse_qs, urlsplit

from pipeline.config import UserError

POSTGRES = "postgresql://"
MIGRATING = 0x70666F6C64
"""The number of the lock that is held while tables and experiments are made."""
SECRETS = ("password", "sslpassword", "passfile")
"""What libpq would take from an address."""


def is_postgres(uri: str) -> bool:
    """Whether it is meant for PostgreSQL, whatever driver it names."""
    return urlsplit(uri).scheme.partition("+")[0] in ("postgresql", "postgres")


def check_postgres(uri: str) -> None:
    """UserError for an address that names no database."""
    if not uri.startswith(POSTGRES):
        raise UserError(f"tracking.uri: expected {POSTGRES}USER@HOST/NAME, got {uri!r}.")
    if not urlsplit(uri).path.strip("/"):
        raise UserError(
            f"tracking.uri: expected {POSTGRES}USER@HOST/NAME with the name of a database, got "
            f"{uri!r}."
        )


def need_driver(uri: str) -> None:
    """UserError for an address of PostgreSQL without the driver that reaches it."""
    if is_postgres(uri) and find_spec("psycopg2") is None:
        raise UserError(
            f"tracking.uri {uri}: the driver psycopg2 is not installed: pip install "
            "'patientfold[postgres]'"
        )


def refuse_postgres_password(uri: str) -> None:
    """UserError for an address that holds a password; it is not repeated."""
    parts = urlsplit(uri)
    if parts.password is not None or parse_qs(parts.query).keys() & {*SECRETS}:
        raise UserError(
            "tracking.uri: expected an address without a password (it is kept in the run folder); "
            "write it into ~/.pgpass, or set PGPASSWORD."
        )


def with_driver(uri: str) -> str:
    """The address as SQLAlchemy and MLflow get it: without a name, the driver is another in each
    version of SQLAlchemy. Addresses of other stores stay as they are.
    """
    driver = POSTGRES.replace("://", "+psycopg2://")
    return uri.replace(POSTGRES, driver, 1) if uri.startswith(POSTGRES) else uri


def host_of(uri: str) -> str:
    """Of the server; "" for one of this machine that is reached through a socket's file."""
    parts = urlsplit(uri)
    host = parts.hostname or next(iter(parse_qs(parts.query).get("host", [])), "")
    return "" if host.startswith("/") else host


@contextmanager
def postgres_lock(uri: str) -> Iterator[None]:
    """Alone among all who use the database, on any machine; given back however this one ends."""
    from sqlalchemy import NullPool, create_engine, text

    with create_engine(with_driver(uri), poolclass=NullPool).connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATING})
        yield
