"""A run folder's files -> its MLflow runs: one parent, and one child per fold that has begun."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.config import Upload, UserError
from pipeline.files import lock, read_json, refuse_foreign_files
from pipeline.tracking.final_run import ROLE, UNTESTED_TAG, FinalRun
from pipeline.tracking.fold_run import RESULT, FoldRun
from pipeline.tracking.journal import VERSION, Event, JournalTail
from pipeline.tracking.ledger import tries_of
from pipeline.tracking.models import FOLD_TAG, MirroredModel, Models
from pipeline.tracking.note import cv_note, final_note, fold_note
from pipeline.tracking.record import RunRecord, former_uid
from pipeline.tracking.result import read_result, summary_metrics, validation_metrics
from pipeline.tracking.run import MirroredRun
from pipeline.tracking.server import absolute_tracking_uri, connect, reaching
from pipeline.tracking.sharing import MIRRORING, MirroredElsewhereError
from pipeline.tracking.trained_run import JOURNAL
from pipeline.tracking.untested import FINAL, FINAL_JSON
from pipeline.tracking.upload import allowed
from pipeline.tracking.views import NAME_PARAM, named_params

if TYPE_CHECKING:
    from mlflow import MlflowClient

Status = Literal["FINISHED", "FAILED", "KILLED", "RUNNING"]

PARENT_TAG = "mlflow.parentRunId"
FIT_TAG = "patientfold.fit"
"""Over- or under-fitting, where the learning curves show it."""
PRUNED_TAG, TESTED_TAG = "patientfold.pruned", "patientfold.settings_tested"
"""Why a sweep stopped the run early; how many settings were tested on its plan, at the time."""
PRUNED = "pruned.json"
"""In a run folder, while a sweep has stopped it after its first folds."""
RUN_FILES = (
    *("plan.csv", "plan.json", "cohort.csv"),
    *("config.yaml", "environment.json", "predictions.csv"),
)
ENDED = ("FINISHED", "FAILED")
SUMMARY, REPORTS = "metrics.json", ("report.html", "report.md")


@dataclass
class _Server:
    """The runs as they stand at a server that answers."""

    client: MlflowClient
    experiment_id: str
    parent: MirroredRun
    models: Models
    summarised: tuple[float, str] | None = None
    """When the metrics.json that is logged was written, and the report that the note names."""
    folds: dict[int, FoldRun] = field(default_factory=dict)
    final: FinalRun | None = None


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
        try:
            self._lock.enter_context(lock(run_dir / MIRRORING, refusal))
        except UserError as error:
            raise MirroredElsewhereError(str(error)) from None

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
            server.final = server.final or self._final(server)
            if server.final is not None:
                server.final.catch_up()
            self._catch_up_parent(server)

    def finish(self, status: Status | None = None, ours: Collection[int] | None = None) -> str:
        """Catch up, then set the final statuses; returns a summary line.

        A fold that did not end is KILLED. Without `status`, the cross-validation is FINISHED when
        all folds that began have finished and metrics.json is there. With `ours`, only these folds
        come to an end: the run goes on in other commands, which mirror it from now on.
        """
        self.catch_up()
        with self._reached() as server:
            for number, fold in server.folds.items():
                is_over = fold.run.status in ENDED
                if not is_over and (ours is None or number in ours):
                    fold.run.set_status("KILLED", fold.last.time)
            if (final := server.final) is not None and final.run.status not in ENDED:
                final.run.set_status("KILLED", final.last.time)
            if server.summarised is None and ours is None:
                self._log_validation(server.parent)
            folds = Counter(fold.run.status for fold in server.folds.values())
            if ours is not None:
                status = "RUNNING"
            elif (self._run_dir / PRUNED).exists():
                status = "KILLED"
            elif status == "FINISHED":  # of this command; others may have failed before
                status = next((s for s in ("FAILED", "KILLED") if folds[s]), status)
            if status is None:
                is_done = set(folds) == {"FINISHED"} and (self._run_dir / SUMMARY).exists()
                status = "FAILED" if folds["FAILED"] else "FINISHED" if is_done else "KILLED"
            files = [*self._run_dir.glob(SUMMARY), *self._run_dir.glob("fold_*/*.json*")]
            last_changes = [file.stat().st_mtime for file in files]
            ended = max(last_changes, default=self._record.started)
            server.parent.set_status(status, None if status == "RUNNING" else ended)
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
        client, experiment_id = connect(
            self.uri,
            record.experiment,
            record.select_by,
            named_params(record.run_name, record.params),
        )
        parent = MirroredRun(client, experiment_id, self._uid, record.run_name, record.started)
        params = {NAME_PARAM: record.run_name, **record.params}
        own = {"patientfold.settings": record.settings} if record.settings else {}
        parent.describe({**record.tags, **own, "patientfold.role": "cv"}, params, record.dataset)
        models = Models(client, experiment_id, self._uid, record.dataset)
        models.drop_former(parent)
        return _Server(client, experiment_id, parent, models)

    @property
    def _uid(self) -> str:
        """Of the parent run."""
        if former := former_uid(self._run_dir):
            return former
        record = self._record  # of it, what stays when the run folder is continued
        return _digest(json.dumps([record.experiment, record.run_name, record.started]))

    def _add_fold(self, server: _Server, fold: int) -> None:
        """Find or create a fold's run, once it has begun."""
        folder, record = self._run_dir / f"fold_{fold:02d}", self._record
        name = f"fold-{fold:02d} of {record.run_name}"
        tags = {**record.tags, "patientfold.role": "fold", FOLD_TAG: str(fold)}
        if (begun := self._begun(server, folder, name, tags)) is None:
            return
        run, first, tags = begun
        params = {NAME_PARAM: record.run_name, **record.params, "fold": str(fold)}
        run.describe(tags, {**params, **record.fold_params[fold]}, record.dataset)
        server.models.drop_former(run, str(fold))
        if not (folder / RESULT).exists():
            run.set_note(fold_note(record, fold, None))
        tail, models = JournalTail(folder / JOURNAL), server.models
        server.folds[fold] = FoldRun(
            run, models, record, tags, params, folder, tail, first, self._upload, fold
        )

    def _final(self, server: _Server) -> FinalRun | None:
        """The run of the final network, found or created, once its training has begun."""
        folder, record = self._run_dir / FINAL, self._record
        name = f"final of {record.run_name}"
        tags = {**record.tags, "patientfold.role": ROLE, FOLD_TAG: ROLE, UNTESTED_TAG: "true"}
        if (begun := self._begun(server, folder, name, tags)) is None:
            return None
        run, first, tags = begun
        params = {NAME_PARAM: record.run_name, **record.params}
        run.describe(tags, params, record.dataset)
        server.models.drop_former(run, ROLE)
        if not (folder / FINAL_JSON).exists():
            run.set_note(final_note(record, None))
        tail, models = JournalTail(folder / JOURNAL), server.models
        return FinalRun(run, models, record, tags, params, folder, tail, first, self._upload, name)

    def _begun(
        self, server: _Server, folder: Path, name: str, tags: Mapping[str, str]
    ) -> tuple[MirroredRun, Event, dict[str, str]] | None:
        """The run of a folder in which training has begun, its first event, and all its tags."""
        path, parent = folder / JOURNAL, server.parent.run_id
        events = JournalTail(path).read_new()
        if not events:
            return None
        with path.open() as file:  # a fold that was begun anew has another first line
            uid = _digest(f"{self._uid} {VERSION} {file.readline()}")
        replaces = f"tags.`{PARENT_TAG}` = '{parent}' and tags.`{FOLD_TAG}` = '{tags[FOLD_TAG]}'"
        run = MirroredRun(server.client, server.experiment_id, uid, name, events[0].time, replaces)
        return run, events[0], {**tags, PARENT_TAG: parent}

    def _catch_up_parent(self, server: _Server) -> None:
        parent, reports = server.parent, [*allowed(REPORTS, self._upload)]
        for name in (*allowed(RUN_FILES, self._upload), *reports):
            parent.upload(self._run_dir / name)
        plots = {path.name: path for path in sorted((self._run_dir / "plots").glob("*.png"))}
        for name in allowed(plots, self._upload):
            parent.upload(plots[name], "plots")
        summary = self._run_dir / SUMMARY
        for name in allowed([SUMMARY], self._upload):
            parent.upload(self._run_dir / name)
        if not summary.exists():
            parent.set_note(cv_note(self._record, None, len(self._results)))
            return
        report = next((name for name in reports if (self._run_dir / name).exists()), "")
        version = summary.stat().st_mtime, report  # a report is written after it
        if server.summarised != version:
            self._summarise(server, summary, *version)
            server.summarised = version

    def _summarise(self, server: _Server, summary: Path, time: float, report: str) -> None:
        """The numbers over folds, and the model that is ranked by them."""
        parent, model = server.parent, self._model(server)
        self._log_validation(parent, model)  # first, as a fold's select_by is
        content = read_json(summary)
        if found := content.get("fit"):
            parent.set_tags({FIT_TAG: found[0]["note"]})
        parent.log_final(summary_metrics(content), time, model)
        note = cv_note(self._record, content, len(self._results), report)
        parent.set_note(note)
        if model is not None:
            model.finish(note)

    def _model(self, server: _Server) -> MirroredModel | None:
        """The whole cross-validation as one model, so that it is ranked beside the folds'."""
        record = self._record
        tags = {**record.tags, "patientfold.role": "cv"}
        params = {NAME_PARAM: record.run_name, **record.params}
        return server.models.of(server.parent, "cross-validation", record.run_name, tags, params)

    @property
    def _results(self) -> list[Path]:
        """Of the folds that are done."""
        num_folds = len(self._record.fold_params)
        paths = [self._run_dir / f"fold_{fold:02d}" / RESULT for fold in range(num_folds)]
        return [path for path in paths if path.exists()]

    def _log_validation(self, parent: MirroredRun, model: MirroredModel | None = None) -> None:
        """What settings are chosen by: over the folds that are done, which may not be all."""
        if results := [read_result(path) for path in self._results]:
            num_done = f"{len(results)} of {len(self._record.fold_params)}"
            parent.set_tags({"patientfold.folds_done": num_done})
            ended = max(float(result["time"]) for result in results)
            parent.log_final(validation_metrics(results), ended, model)
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
