"""A run folder's files -> its MLflow runs: one parent, and one child per fold that has begun."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pipeline.files import read_json
from pipeline.tracking.journal import (
    VERSION,
    EpochEnded,
    Event,
    Failed,
    JournalTail,
    Progressed,
)
from pipeline.tracking.ledger import Ledger, only_mirror
from pipeline.tracking.record import RunRecord
from pipeline.tracking.result import numbers, read_result, result_metrics, summary_metrics
from pipeline.tracking.run import Experiment, MirroredRun, Point, milliseconds
from pipeline.tracking.server import connect, reaching
from pipeline.tracking.uri import absolute_tracking_uri

Status = Literal["FINISHED", "FAILED", "KILLED", "RUNNING"]

ERROR_TAG = "patientfold.error"
RUN_FILES = (
    "plan.csv",
    "plan.json",
    "config.yaml",
    "environment.json",
    "predictions.csv",
    "report.html",
)
FOLD_FILES = (
    "best.pt",
    "predictions_val.csv",
    "predictions_test.csv",
    "journal.jsonl",
    "result.json",
)
SUMMARY = "metrics.json"


@dataclass
class _Fold:
    """A fold that has begun."""

    run: MirroredRun
    folder: Path
    tail: JournalTail
    last: Event
    """The last event that was read."""

    def catch_up(self, events: list[Event]) -> None:
        """Log the events, and what is new in the folder besides."""
        result = self.folder / "result.json"
        is_done = result.exists()  # asked first: the journal is complete if it is there
        if is_done and self.run.status == "FINISHED":
            return
        events = events + self.tail.read_new()
        self.run.log(_points(events))
        for event in events:
            self.last = event
        if is_done:
            self._finish(result)
        elif any(not isinstance(event, Progressed) for event in events):
            self._show_state()

    def kill(self) -> None:
        """Mark a fold that neither finished nor failed."""
        if self.run.status not in ("FINISHED", "FAILED"):
            self.run.set_status("KILLED", self.last.time)

    def _show_state(self) -> None:
        if isinstance(self.last, Failed):
            self.run.set_tags({ERROR_TAG: self.last.error})
            self.run.upload(self.folder / "journal.jsonl")  # with the traceback
            self.run.set_status("FAILED", self.last.time)
        elif self.run.status != "KILLED" or milliseconds(self.last.time) > (self.run.ended or 0):
            self.run.set_status("RUNNING")
            self.run.remove_tag(ERROR_TAG)

    def _finish(self, path: Path) -> None:
        result = read_result(path)
        self.run.log_final(result_metrics(result), result["time"])
        for name in FOLD_FILES:
            self.run.upload(self.folder / name)
        self.run.remove_tag(ERROR_TAG)
        self.run.set_status("FINISHED", result["time"])  # last: it marks the rest as complete


@dataclass
class _Server:
    """The runs as they stand at a server that answers."""

    experiment: Experiment
    parent: MirroredRun
    folds: dict[int, _Fold] = field(default_factory=dict)


class Mirror:
    """Brings MLflow up to date with a run folder, any number of times, each fact once.

    Everything comes from files, so that nothing is lost while the server is down. It can be begun
    at any state of the server: runs are found by their uids, and what is there is not logged again.
    After an error the next call connects anew. Not for several threads at once.

    Raises (every method):
        TrackingError: MLflow cannot be reached or refuses.
        UserError: a damaged file; another process mirrors this run folder (when made).
    """

    def __init__(self, run_dir: Path, uri: str | None = None) -> None:
        self._run_dir = run_dir
        self._record = RunRecord.load(run_dir)
        self.uri = absolute_tracking_uri(uri or self._record.uri)
        self._server: _Server | None = None
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
                self._catch_up_fold(server, fold)
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
    def _reached(self) -> Iterator[_Server]:
        server, self._server = self._server, None  # forgotten if anything goes wrong
        with reaching(self.uri):
            server = server or self._connect()
            yield server
        self._server = server

    def _connect(self) -> _Server:
        record, ledger = self._record, Ledger(self._run_dir)
        experiment = Experiment(*connect(self.uri, record.experiment), ledger)
        parent = MirroredRun(experiment, "parent", record.run_name, record.started)
        parent.describe({**record.tags, "patientfold.role": "cv"}, record.params, record.dataset)
        return _Server(experiment, parent)

    def _catch_up_fold(self, server: _Server, fold: int) -> None:
        if fold in server.folds:
            server.folds[fold].catch_up([])
            return
        folder = self._run_dir / f"fold_{fold:02d}"
        tail = JournalTail(folder / "journal.jsonl")
        events = tail.read_new()
        if not events:
            return
        name, record = f"fold-{fold:02d}", self._record
        run = MirroredRun(server.experiment, name, name, events[0].time, _digest(tail.path))
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
        server.folds[fold] = _Fold(run, folder, tail, events[-1])
        server.folds[fold].catch_up(events)

    def _catch_up_parent(self, parent: MirroredRun) -> None:
        for name in RUN_FILES:
            parent.upload(self._run_dir / name)
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


def sync(run_dir: Path, running: Collection[int] = (), uri: str | None = None) -> str:
    """Mirror the run folder to MLflow and set the final statuses; returns a summary line.

    A fold without result and without failure is KILLED unless it is in `running`; the
    cross-validation is FINISHED when all folds that began have finished and metrics.json is there.
    Another `uri` than the recorded one makes the runs there, and leaves the recorded one alone.

    Raises:
        TrackingError: MLflow cannot be reached or refuses.
        UserError: not a run folder, a damaged file, or a cross-validation that is still running.
    """
    with Mirror(run_dir, uri) as mirror:
        mirror.catch_up()
        status = _outcome(mirror.statuses(), running, (run_dir / SUMMARY).exists())
        mirror.finish(status, running)
        folds = Counter(mirror.statuses().values())
        counts = ", ".join(f"{num} {name}" for name, num in sorted(folds.items()))
        return f"{run_dir} -> {mirror.uri}: {status}; folds: {counts or 'none begun'}."


def _outcome(folds: dict[int, str], running: Collection[int], has_summary: bool) -> Status:
    if running:
        return "RUNNING"
    if "FAILED" in folds.values():
        return "FAILED"
    if has_summary and set(folds.values()) == {"FINISHED"}:
        return "FINISHED"
    return "KILLED"


def _digest(journal: Path) -> str:
    """Of the first line, and of how epochs are counted: what makes two trainings one run."""
    with journal.open("rb") as file:
        return f"{VERSION}-{hashlib.sha256(file.readline()).hexdigest()[:16]}"


def _points(events: list[Event]) -> list[Point]:
    """The epochs' metrics with the journal's own time: the same event gives the same points."""
    return [
        Point(name, value, event.time, event.epoch)
        for event in events
        if isinstance(event, EpochEnded)
        for name, value in numbers(event.metrics)
    ]
