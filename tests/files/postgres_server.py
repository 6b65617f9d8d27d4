"""A PostgreSQL server of our own in a folder, reached through a socket's file, without a port."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

NEEDED = ("initdb", "pg_ctl", "createdb")


def postgres_binaries() -> Path | None:
    """The folder with initdb, pg_ctl and createdb, where PostgreSQL is installed."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if all((folder / n).exists() for n in NEEDED)), None)


@contextmanager
def postgres_server() -> Iterator[str]:
    """The address of an empty database `mlflow` while the block runs."""
    binaries = postgres_binaries()
    assert binaries is not None
    folder = Path(mkdtemp(prefix="pg", dir="/tmp"))  # a socket's name may have 107 bytes
    try:
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
        data = folder / "data"
        _run(binaries / "initdb", "-D", data, "-A", "trust", "-U", "me", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        control = binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log"
        _run(*control, "-o", options, "start")
        try:
            _run(binaries / "createdb", "-h", folder, "-U", "me", "mlflow")
            yield f"postgresql://me@/mlflow?host={folder}"
        finally:
            _run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _run(*command: object) -> None:
    words = [str(word) for word in command]
    user = "postgres" if os.getuid() == 0 else None
    subprocess.run(words, check=True, capture_output=True, user=user, cwd="/")
