"""mlflow.json: which MLflow runs belong to a run folder, and how far each one is filled."""

import uuid
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipeline.files import lock, read_json, write_json

FILE_NAME = "mlflow.json"
LOCK_NAME = "mlflow.lock"
PARENT = "parent"


@dataclass
class Entry:
    """One run at one server."""

    run_id: str = ""
    """Empty until the server has confirmed the run."""
    journal: str = ""
    """Digest of the journal's first record: another one means the fold was begun anew."""
    offset: int = 0
    """Bytes of the journal that are in MLflow."""
    files: dict[str, list[int]] = field(default_factory=dict)
    """Uploaded artifacts: name -> [size, modification time in ns]."""


class Ledger:
    """The ids and positions of one run folder at one server; names are "parent", "fold-00", ...

    A run's uid is the same at every server and is on disk before the run is created, so that a
    run whose id was lost (killed in between, a moved database) is found again by its tag.
    """

    def __init__(self, run_dir: Path, uri: str) -> None:
        self._path = run_dir / FILE_NAME
        data = read_json(self._path) if self._path.exists() else {"uids": {}, "servers": {}}
        self._uids: dict[str, str] = data["uids"]
        self._others = {other: runs for other, runs in data["servers"].items() if other != uri}
        self._uri = uri
        self._runs = {name: Entry(**entry) for name, entry in data["servers"].get(uri, {}).items()}

    def uid(self, name: str) -> str:
        """The run's uid, written to disk before it is handed out."""
        if name not in self._uids:
            self._uids[name] = uuid.uuid4().hex
            self.save()
        return self._uids[name]

    def entry(self, name: str) -> Entry:
        """The run's entry; call save after a change."""
        return self._runs.setdefault(name, Entry())

    def restart(self, name: str) -> Entry:
        """Forget the run at this server: everything will be logged again."""
        self._runs[name] = Entry()
        self.save()
        return self._runs[name]

    def save(self) -> None:
        """Write mlflow.json in one step."""
        runs = {name: asdict(entry) for name, entry in self._runs.items()}
        write_json(self._path, {"uids": self._uids, "servers": self._others | {self._uri: runs}})


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
