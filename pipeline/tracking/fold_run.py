"""A fold that has begun: its folder, and its run and model in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tracking.journal import EpochEnded, Event, Failed, JournalTail, Progressed, Stopped
from pipeline.tracking.note import fold_note
from pipeline.tracking.record import RunRecord
from pipeline.tracking.result import BEST, KEPT, numbers, read_result, result_metrics
from pipeline.tracking.run import MirroredRun, metric, milliseconds
from pipeline.tracking.upload import allowed, shown_error

if TYPE_CHECKING:
    from mlflow.entities import Metric

    from pipeline.config import Upload
    from pipeline.tracking.models import MirroredModel, Models

ERROR_TAG = "patientfold.error"
RESULT = "result.json"
FOLD_FILES = ("predictions_val.csv", "predictions_test.csv", "journal.jsonl")


@dataclass
class FoldRun:
    """What MLflow has of a fold."""

    number: int
    run: MirroredRun
    models: Models
    record: RunRecord
    tags: Mapping[str, str]
    params: Mapping[str, str]
    folder: Path
    tail: JournalTail
    last: Event
    """The last event that was read."""
    upload: Upload

    def catch_up(self) -> None:
        """Log what is new in the folder."""
        path = self.folder / RESULT
        is_done = path.exists()  # asked first: the journal is complete if it is there
        was_done = self.run.status == "FINISHED"
        if is_done and was_done and self.models.is_ready(self.run):
            return
        events = self.tail.read_new()
        self.last = [self.last, *events][-1]
        epochs = [event for event in events if isinstance(event, EpochEnded)]
        self.run.log([point for event in epochs for point in self._points(event)])
        if is_done:
            self._conclude(read_result(path), was_done)
        elif any(not isinstance(event, Progressed) for event in events):
            show_state(self.run, self.last, self.folder, self.upload)

    def _conclude(self, result: Mapping[str, Any], was_done: bool) -> None:
        """`was_done`: all but the model is there, of a version that made none."""
        model = self._model(result)
        self.run.log_final(result_metrics(result), result["time"], model)
        for name in allowed((*FOLD_FILES, RESULT), self.upload):
            self.run.upload(self.folder / name)
        for name in allowed(KEPT, self.upload):
            if model is not None:
                model.upload(self.folder / name, self.run.run_id, was_done)
            else:
                self.run.upload(self.folder / name)
        note = fold_note(self.record, self.number, result)
        self.run.set_note(note)
        self.run.remove_tag(ERROR_TAG)
        if model is not None:
            model.finish(note)
        self.run.set_status("FINISHED", result["time"])  # last: it marks the rest as complete

    def _model(self, result: Mapping[str, Any]) -> MirroredModel | None:
        name = f"fold-{self.number:02d} of {self.record.run_name}"
        return self.models.of(
            self.run, "fold", name, self.tags, self.params, int(result["best_epoch"])
        )

    def _points(self, event: EpochEnded) -> list[Metric]:
        """An epoch's metrics, with the journal's own time: the same event gives the same points.

        What the epochs are chosen by comes first, at its best so far: MLflow compares runs by
        their first metric.
        """
        select_by, found = self.record.select_by, dict(numbers(event.metrics))
        values = {select_by: found[select_by]} if select_by in found else {}
        if event.best:
            values = {BEST + name: value for name, value in values.items()} | values
        return [metric(*named, event.time, event.epoch) for named in (values | found).items()]


def show_state(run: MirroredRun, last: Event, folder: Path, upload: Upload) -> None:
    """The state of a training that has not ended well yet, by the last line of its journal."""
    if isinstance(last, Failed):
        run.set_tags({ERROR_TAG: shown_error(last.error, upload)})
        for name in allowed(["journal.jsonl"], upload):  # with the traceback
            run.upload(folder / name)
        run.set_status("FAILED", last.time)
    elif isinstance(last, Stopped):
        run.set_status("KILLED", last.time)
    elif run.status != "KILLED" or milliseconds(last.time) > (run.ended or 0):
        run.set_status("RUNNING")
        run.remove_tag(ERROR_TAG)
