"""mlflow.json: by what a run folder's MLflow runs are found, and which files they hold."""

import uuid
from contextlib import AbstractContextManager
from pathlib import Path

from pipeline.files import lock, read_json, write_json

FILE_NAME = "mlflow.json"
LOCK_NAME = "mlflow.lock"


class Ledger:
    """The uids of a run folder's runs ("parent", "fold-00", ...) and the files that were uploaded.

    A run's uid is the same at every server and is on disk before the run is created, so that a
    run is found again by its tag however a process ended, and in a moved database too.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / FILE_NAME
        data = read_json(self._path) if self._path.exists() else {}
        self._uids: dict[str, str] = data.get("uids", {})
        self._files: dict[str, dict[str, list[int]]] = data.get("files", {})
        for runs in data.get("servers", {}).values():  # as the first version kept them
            self._files |= {entry["run_id"]: entry["files"] for entry in runs.values()}

    def uid(self, name: str) -> str:
        """The run's uid, written to disk before it is handed out."""
        if name not in self._uids:
            self._uids[name] = uuid.uuid4().hex
            self._save()
        return self._uids[name]

    def is_uploaded(self, run_id: str, name: str, file: Path) -> bool:
        """Whether the run holds this very version of the file."""
        return self._files.get(run_id, {}).get(name) == version_of(file)

    def note_upload(self, run_id: str, name: str, version: list[int]) -> None:
        """Remember that the run holds this version of the file."""
        self._files.setdefault(run_id, {})[name] = version
        self._save()

    def _save(self) -> None:
        write_json(self._path, {"uids": self._uids, "files": self._files})


def version_of(file: Path) -> list[int]:
    """What differs after every change: size and time of the change in ns."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns]


def only_mirror(run_dir: Path) -> AbstractContextManager[None]:
    """Hold the run folder's mirror lock; the system frees it when the process dies.

    Raises:
        UserError: another process (or another mirror in this one) holds it.
    """
    refusal = (
        f"{run_dir} is being mirrored to MLflow by another process: its cross-validation is still "
        "running, and fills the MLflow runs itself."
    )
    return lock(run_dir / LOCK_NAME, refusal)
