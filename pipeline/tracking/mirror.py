"""A run folder's files -> its MLflow runs: one parent, and one child per fold that has begun."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.config import Upload, UserError
from pipeline.files import lock, read_json, refuse_foreign_files
from pipeline.tracking.journal import VERSION, EpochEnded, Event, Failed, JournalTail, Progressed
from pipeline.tracking.ledger import tries_of
from pipeline.tracking.record import RunRecord, former_uid
from pipeline.tracking.result import (
    KEPT,
    numbers,
    read_result,
    result_metrics,
    summary_metrics,
    validation_metrics,
)
from pipeline.tracking.run import MirroredRun, metric, milliseconds
from pipeline.tracking.server import absolute_tracking_uri, connect, reaching
from pipeline.tracking.upload import allowed, shown_error

if TYPE_CHECKING:
    from mlflow import MlflowClient

Status = Literal["FINISHED", "FAILED", "KILLED", "RUNNING"]

ERROR_TAG, FOLD_TAG, PARENT_TAG = "patientfold.error", "patientfold.fold", "mlflow.parentRunId"
FIT_TAG = "patientfold.fit"
"""Over- or under-fitting, where the learning curves show it."""
PRUNED_TAG, TESTED_TAG = "patientfold.pruned", "patientfold.settings_tested"
"""Why a sweep stopped the run early; how many settings were tested on its plan, at the time."""
PRUNED = "pruned.json"
"""In a run folder, while a sweep has stopped it after its first folds."""
NAME_PARAM = "asked_for"
"""The run's name: a first axis, of the sorted parameters, that names the runs of a sweep."""
RUN_FILES = (
    *("plan.csv", "plan.json", "cohort.csv"),
    *("config.yaml", "environment.json", "predictions.csv"),
)
FOLD_FILES = (*KEPT, "predictions_val.csv", "predictions_test.csv", "journal.jsonl")
SUMMARY, REPORT, RESULT = "metrics.json", "report.html", "result.json"


@dataclass
class _Fold:
    """A fold that has begun."""

    run: MirroredRun
    folder: Path
    tail: JournalTail
    last: Event
    """The last event that was read."""
    upload: Upload
    select_by: str

    def catch_up(self) -> None:
        """Log what is new in the folder."""
        path = self.folder / RESULT
        is_done = path.exists()  # asked first: the journal is complete if it is there
        if is_done and self.run.status == "FINISHED":
            return
        events = self.tail.read_new()
        self.last = [self.last, *events][-1]
        self.run.log(
            [  # with the journal's own time: the same event gives the same points
                metric(name, value, event.time, event.epoch)
                for event in events
                if isinstance(event, EpochEnded)
                for name, value in sorted(numbers(event.metrics), key=self._is_not_chosen_by)
            ]
        )
        if is_done:
            result = read_result(path)
            self.run.log_final(result_metrics(result), result["time"])
            for name in allowed((*FOLD_FILES, RESULT), self.upload):
                self.run.upload(self.folder / name)
            self.run.remove_tag(ERROR_TAG)
            self.run.set_status("FINISHED", result["time"])  # last: it marks the rest as complete
        elif any(not isinstance(event, Progressed) for event in events):
            self._show_state()

    def _is_not_chosen_by(self, named: tuple[str, float]) -> bool:
        """Sorts what the epochs are chosen by first: MLflow compares runs by their first metric."""
        return named[0] != self.select_by

    def _show_state(self) -> None:
        if isinstance(self.last, Failed):
            self.run.set_tags({ERROR_TAG: shown_error(self.last.error, self.upload)})
            for name in allowed(["journal.jsonl"], self.upload):  # with the traceback
                self.run.upload(self.folder / name)
            self.run.set_status("FAILED", self.last.time)
        elif self.run.status != "KILLED" or milliseconds(self.last.time) > (self.run.ended or 0):
            self.run.set_status("RUNNING")
            self.run.remove_tag(ERROR_TAG)


@dataclass
class _Server:
    """The runs as they stand at a server that answers."""

    client: MlflowClient
    experiment_id: str
    parent: MirroredRun
    folds: dict[int, _Fold] = field(default_factory=dict)


class Mirror(AbstractContextManager["Mirror"]):
    """Brings MLflow up to date with a run folder, any number of times, each fact once.

    Everything comes from files, so that nothing is lost while the server is down, and nothing is
    remembered beside them: runs are found by their uids, and the server drops a point that it has
    already. After an error the next call begins anew. Not for several threads at once.

    TrackingError when MLflow cannot be reached or refuses, UserError for a damaged file and, when
    it is made, while another process mirrors this run folder.
    """

    def __init__(self, run_dir: Path, uri: str | None = None, upload: Upload | None = None) -> None:
        refuse_foreign_files(run_dir)
        self._run_dir = run_dir
        self._record = RunRecord.load(run_dir)
        if uri is None and "${" in self._record.uri:
            raise UserError(
                f"{run_dir}: the tracking server's address came from the environment "
                f"({self._record.uri}) and is not recorded; give it with tracking.uri="
            )
        self.uri = absolute_tracking_uri(uri or self._record.uri)
        self._upload = upload or self._record.upload
        self._server: _Server | None = None
        self._lock = ExitStack()
        refusal = (
            f"{run_dir} is being mirrored to MLflow by another process: its cross-validation is "
            "still running, and fills the MLflow runs itself."
        )
        self._lock.enter_context(lock(run_dir / "mlflow.lock", refusal))

    def begin(self) -> None:
        """Show the cross-validation as running (again); the folds' states follow their journals."""
        with self._reached() as server:
            server.parent.set_status("RUNNING")

    def catch_up(self) -> None:
        """Create the runs that are missing and log what is new."""
        with self._reached() as server:
            for fold in range(len(self._record.fold_params)):
                if fold not in server.folds:
                    self._add_fold(server, fold)
            for begun in server.folds.values():
                begun.catch_up()
            self._catch_up_parent(server.parent)

    def finish(self, status: Status | None = None) -> str:
        """Catch up, then set the final statuses; returns a summary line.

        A fold that did not end is KILLED. Without `status`, the cross-validation is FINISHED when
        all folds that began have finished and metrics.json is there.
        """
        self.catch_up()
        with self._reached() as server:
            for fold in server.folds.values():
                if fold.run.status not in ("FINISHED", "FAILED"):
                    fold.run.set_status("KILLED", fold.last.time)
            self._log_validation(server.parent)
            folds = Counter(fold.run.status for fold in server.folds.values())
            if (self._run_dir / PRUNED).exists():
                status = "KILLED"
            if status is None:
                is_done = set(folds) == {"FINISHED"} and (self._run_dir / SUMMARY).exists()
                status = "FAILED" if folds["FAILED"] else "FINISHED" if is_done else "KILLED"
            files = [*self._run_dir.glob(SUMMARY), *self._run_dir.glob("fold_*/*.json*")]
            last_changes = [file.stat().st_mtime for file in files]
            server.parent.set_status(status, max(last_changes, default=self._record.started))
        counts = ", ".join(f"{number} {name}" for name, number in sorted(folds.items()))
        return f"{self._run_dir} -> {self.uri}: {status}; folds: {counts or 'none begun'}."

    def __exit__(self, *error: object) -> None:
        self._lock.close()

    @contextmanager
    def _reached(self) -> Iterator[_Server]:
        server, self._server = self._server, None  # forgotten if anything goes wrong
        with reaching(self.uri):
            server = server or self._connect()
            yield server
        self._server = server

    def _connect(self) -> _Server:
        record = self._record
        client, experiment_id = connect(self.uri, record.experiment, record.select_by)
        parent = MirroredRun(client, experiment_id, self._uid, record.run_name, record.started)
        params = {NAME_PARAM: record.run_name, **record.params}
        own = {"mlflow.note.content": record.note, "patientfold.settings": record.settings}
        own = {name: text for name, text in own.items() if text}
        tags = {**record.tags, **own, "patientfold.role": "cv"}
        parent.describe(tags, params, record.dataset)
        return _Server(client, experiment_id, parent)

    @property
    def _uid(self) -> str:
        """Of the parent run."""
        if former := former_uid(self._run_dir):
            return former
        record = self._record  # of it, what stays when the run folder is continued
        return _digest(json.dumps([record.experiment, record.run_name, record.started]))

    def _add_fold(self, server: _Server, fold: int) -> None:
        """Find or create a fold's run, once it has begun."""
        folder = self._run_dir / f"fold_{fold:02d}"
        path = folder / "journal.jsonl"
        events = JournalTail(path).read_new()
        if not events:
            return
        record, parent = self._record, server.parent.run_id
        name = f"fold-{fold:02d} of {record.run_name}"
        with path.open() as file:  # a fold that was begun anew has another first line
            uid = _digest(f"{self._uid} {VERSION} {file.readline()}")
        replaces = f"tags.`{PARENT_TAG}` = '{parent}' and tags.`{FOLD_TAG}` = '{fold}'"
        run = MirroredRun(server.client, server.experiment_id, uid, name, events[0].time, replaces)
        tags = {PARENT_TAG: parent, "patientfold.role": "fold", FOLD_TAG: str(fold)}
        params = {NAME_PARAM: record.run_name, **record.params, "fold": str(fold)}
        params |= record.fold_params[fold]
        run.describe({**record.tags, **tags}, params, record.dataset)
        tail, select_by = JournalTail(path), record.select_by
        server.folds[fold] = _Fold(run, folder, tail, events[0], self._upload, select_by)

    def _catch_up_parent(self, parent: MirroredRun) -> None:
        for name in allowed((*RUN_FILES, REPORT), self._upload):
            parent.upload(self._run_dir / name)
        plots = {path.name: path for path in sorted((self._run_dir / "plots").glob("*.png"))}
        for name in allowed(plots, self._upload):
            parent.upload(plots[name], "plots")
        summary = self._run_dir / SUMMARY
        for name in allowed([SUMMARY], self._upload):
            parent.upload(self._run_dir / name)
        if summary.exists():
            self._log_validation(parent)  # first, as a fold's select_by is
            content = read_json(summary)
            if found := content.get("fit"):
                parent.set_tags({FIT_TAG: found[0]["note"]})
            parent.log_final(summary_metrics(content), summary.stat().st_mtime)

    def _log_validation(self, parent: MirroredRun) -> None:
        """What settings are chosen by: over the folds that are done, which may not be all."""
        num_folds = len(self._record.fold_params)
        paths = [self._run_dir / f"fold_{fold:02d}" / RESULT for fold in range(num_folds)]
        if results := [read_result(path) for path in paths if path.exists()]:
            parent.set_tags({"patientfold.folds_done": f"{len(results)} of {num_folds}"})
            ended = max(float(result["time"]) for result in results)
            parent.log_final(validation_metrics(results), ended)
        if (path := self._run_dir / PRUNED).exists():
            found = read_json(path)
            text = f"after {len(found['folds'])} folds: {found['mean']:.4f}, median "
            parent.set_tags({PRUNED_TAG: f"{text}{found['median']:.4f}"})
        else:
            parent.remove_tag(PRUNED_TAG)
        if (num := self._num_tested) is not None:
            parent.set_tags({TESTED_TAG: str(num)})

    @property
    def _num_tested(self) -> int | None:
        """How many settings were tested on the plan up to now, where there is a ledger."""
        with suppress(UserError):
            plan = self._record.tags.get("patientfold.plan_hash", "")
            tries = tries_of(plan, Path(self._record.ledger)) if self._record.ledger else None
            return None if tries is None else tries.num
        return None


def sync(run_dir: Path, uri: str | None = None, upload: Upload | None = None) -> str:
    """Mirror the run folder to MLflow once and set the final statuses; returns a summary line.

    Another `uri` than the recorded one makes the runs there, and leaves the recorded one alone.
    What is uploaded is recorded too, unless `upload` says otherwise.

    Raises what Mirror does; UserError while the cross-validation is still running.
    """
    with Mirror(run_dir, uri, upload) as mirror:
        return mirror.finish()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
