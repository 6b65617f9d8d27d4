"""A run folder's files -> its MLflow runs: one parent, and one child per fold that has begun."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from pipeline.files import read_json
from pipeline.tracking.facts import summary_metrics
from pipeline.tracking.fold import MirroredFold, forget_if_begun_anew
from pipeline.tracking.journal import first_record
from pipeline.tracking.ledger import PARENT, Ledger, only_mirror
from pipeline.tracking.record import RunRecord
from pipeline.tracking.run import MirroredRun
from pipeline.tracking.server import connect, reaching
from pipeline.tracking.uri import absolute_tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

Status = Literal["FINISHED", "FAILED", "KILLED", "RUNNING"]

ARTIFACTS = ("plan.csv", "plan.json", "config.yaml", "environment.json", "predictions.csv")
SUMMARY, REPORT = "metrics.json", "report.html"


@dataclass
class Server:
    """The runs as they stand at a server that answers."""

    client: MlflowClient
    experiment_id: str
    ledger: Ledger
    parent: MirroredRun
    folds: dict[int, MirroredFold] = field(default_factory=dict)


class Mirror:
    """Brings MLflow up to date with a run folder, any number of times, each fact once.

    Everything comes from files, so that nothing is lost while the server is down. After an error
    the next call connects anew and goes on from mlflow.json. Not for several threads at once.

    Raises (every method):
        TrackingError: MLflow cannot be reached or refuses.
        UserError: a damaged file; another process mirrors this run folder (when made).
    """

    def __init__(self, run_dir: Path, uri: str | None = None) -> None:
        self._run_dir = run_dir
        self._record = RunRecord.load(run_dir)
        self.uri = absolute_tracking_uri(uri or self._record.uri)
        self._server: Server | None = None
        self._lock = ExitStack()
        self._lock.enter_context(only_mirror(run_dir))

    def begin(self) -> None:
        """Show the cross-validation as running (again); the folds' states follow their journals."""
        with self._reached() as server:
            server.parent.set_status("RUNNING")

    def catch_up(self) -> None:
        """Create the runs that are missing and log what is new."""
        with self._reached() as server:
            for fold in range(self._record.num_folds):
                if mirrored := self._fold(server, fold):
                    mirrored.catch_up()
            self._catch_up_parent(server.parent)

    def finish(self, status: Status, running: Collection[int] = ()) -> None:
        """Catch up, then set the parent's status; a fold that did not end, and is not running,
        is KILLED.
        """
        self.catch_up()
        with self._reached() as server:
            for fold, mirrored in server.folds.items():
                if fold not in running:
                    mirrored.kill()
            server.parent.set_status(status, self._last_change())

    def statuses(self) -> dict[int, str]:
        """Fold -> status at the server, of the folds that had begun at the last catch_up."""
        assert self._server is not None, "catch_up comes first"
        return {fold: mirrored.run.status for fold, mirrored in self._server.folds.items()}

    def close(self) -> None:
        """Let other processes mirror this run folder."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _reached(self) -> Iterator[Server]:
        server, self._server = self._server, None  # forgotten if anything goes wrong
        with reaching(self.uri):
            server = server or self._connect()
            yield server
        self._server = server

    def _connect(self) -> Server:
        client, experiment_id = connect(self.uri, self._record.experiment)
        ledger = Ledger(self._run_dir, self.uri)
        record = self._record
        parent = MirroredRun(client, experiment_id, ledger, PARENT, record.run_name, record.started)
        parent.describe({**record.tags, "patientfold.role": "cv"}, record.params, record.dataset)
        return Server(client, experiment_id, ledger, parent)

    def _fold(self, server: Server, fold: int) -> MirroredFold | None:
        if fold in server.folds:
            return server.folds[fold]
        folder = self._run_dir / f"fold_{fold:02d}"
        first = first_record(folder / "journal.jsonl")
        if first is None:
            return None
        name, record = f"fold-{fold:02d}", self._record
        digest = hashlib.sha256(json.dumps(first).encode()).hexdigest()[:16]
        forget_if_begun_anew(server.client, server.ledger, name, digest)
        run = MirroredRun(
            server.client, server.experiment_id, server.ledger, name, name, first["time"]
        )
        run.describe(
            {
                **record.tags,
                "mlflow.parentRunId": server.parent.run_id,
                "patientfold.role": "fold",
                "patientfold.fold": str(fold),
            },
            {**record.params, "fold": str(fold), **record.fold_params[fold]},
            record.dataset,
        )
        run.entry.journal = digest
        server.ledger.save()
        server.folds[fold] = MirroredFold(run, folder)
        return server.folds[fold]

    def _catch_up_parent(self, parent: MirroredRun) -> None:
        for name in (*ARTIFACTS, REPORT):
            if (file := self._run_dir / name).exists():
                parent.upload(file)
        for plot in sorted((self._run_dir / "plots").glob("*.png")):
            parent.upload(plot, "plots")
        summary = self._run_dir / SUMMARY
        if summary.exists() and not parent.is_uploaded(summary):
            parent.log_final(summary_metrics(read_json(summary)), summary.stat().st_mtime)
            parent.upload(summary)  # after its metrics: it marks them as logged

    def _last_change(self) -> float:
        files = [self._run_dir / SUMMARY, *self._run_dir.glob("fold_*/*.json*")]
        times = [file.stat().st_mtime for file in files if file.exists()]
        return max(times, default=self._record.started)
