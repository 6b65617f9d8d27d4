"""A training that has begun, of a fold or of the final network, and what MLflow has of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.tracking.journal import EpochEnded, Event, Failed, JournalTail, Progressed, Stopped
from pipeline.tracking.result import KEPT, numbers
from pipeline.tracking.run import MirroredRun, metric, milliseconds
from pipeline.tracking.upload import allowed, shown_error

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.entities import Metric

    from pipeline.config import Upload
    from pipeline.tracking.models import MirroredModel, Models
    from pipeline.tracking.record import RunRecord

ERROR_TAG = "patientfold.error"
JOURNAL = "journal.jsonl"


@dataclass
class TrainedRun:
    """Its run in MLflow, and how far its folder has been read."""

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

    def points(self, event: EpochEnded) -> list[Metric]:
        """An epoch's metrics, with the journal's own time: the same event gives the same points."""
        named = numbers(event.metrics)
        return [metric(name, value, event.time, event.epoch) for name, value in named]

    def follow(self) -> bool:
        """Log the epochs that are new in the journal; did more happen than steps within one?"""
        events = self.tail.read_new()
        self.last = [self.last, *events][-1]
        epochs = [event for event in events if isinstance(event, EpochEnded)]
        self.run.log([point for event in epochs for point in self.points(event)])
        return any(not isinstance(event, Progressed) for event in events)

    def hand_in(self, names: Iterable[str], model: MirroredModel | None, is_there: bool) -> None:
        """Upload files of the folder to the run, and what is kept of the network to its model.

        `is_there`: as in `MirroredModel.upload`.
        """
        for name in allowed(names, self.upload):
            self.run.upload(self.folder / name)
        for name in allowed(KEPT, self.upload):
            if model is not None:
                model.upload(self.folder / name, self.run.run_id, is_there)
            else:
                self.run.upload(self.folder / name)

    def finish(self, note: str, time: float, model: MirroredModel | None) -> None:
        """All is there."""
        self.run.set_note(note)
        self.run.remove_tag(ERROR_TAG)
        if model is not None:
            model.finish(note)
        self.run.set_status("FINISHED", time)  # last: it marks the rest as complete

    def show_state(self) -> None:
        """The state of a training that has not ended well yet, by the last line of its journal."""
        run, last = self.run, self.last
        if isinstance(last, Failed):
            run.set_tags({ERROR_TAG: shown_error(last.error, self.upload)})
            for name in allowed([JOURNAL], self.upload):  # with the traceback
                run.upload(self.folder / name)
            run.set_status("FAILED", last.time)
        elif isinstance(last, Stopped):
            run.set_status("KILLED", last.time)
        elif run.status != "KILLED" or milliseconds(last.time) > (run.ended or 0):
            run.set_status("RUNNING")
            run.remove_tag(ERROR_TAG)
