"""The final network, once its training has begun: its folder, and its run and model in MLflow.

It was tested on nobody, so that neither has a metric of how good it is: the run shows how the
training went, a tag what the cross-validation lets one expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.tracking.fold_run import ERROR_TAG, show_state
from pipeline.tracking.journal import EpochEnded, Event, JournalTail, Progressed
from pipeline.tracking.note import final_note
from pipeline.tracking.record import RunRecord
from pipeline.tracking.result import KEPT, numbers
from pipeline.tracking.run import MirroredRun, metric
from pipeline.tracking.untested import FINAL_JSON, read_untested
from pipeline.tracking.upload import allowed

if TYPE_CHECKING:
    from pipeline.config import Upload
    from pipeline.tracking.models import Models

ROLE: Final = "final"
UNTESTED_TAG, EXPECTED_TAG = "patientfold.untested", "patientfold.expected"


@dataclass
class FinalRun:
    """What MLflow has of it."""

    run: MirroredRun
    models: Models
    record: RunRecord
    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    folder: Path
    tail: JournalTail
    last: Event
    """The last event that was read."""
    upload: Upload

    def catch_up(self) -> None:
        """Log what is new in the folder."""
        is_done = (self.folder / FINAL_JSON).exists()  # asked first: the journal is complete then
        if is_done and self.run.status == "FINISHED":
            return
        events = self.tail.read_new()
        self.last = [self.last, *events][-1]
        epochs = [event for event in events if isinstance(event, EpochEnded)]
        self.run.log(
            [
                metric(name, value, event.time, event.epoch)
                for event in epochs
                for name, value in numbers(event.metrics)
            ]
        )
        if is_done:
            result = read_untested(self.folder.parent)
            assert result is not None, "it is there"
            self._conclude(result)
        elif any(not isinstance(event, Progressed) for event in events):
            show_state(self.run, self.last, self.folder, self.upload)

    def _conclude(self, result: Mapping[str, Any]) -> None:
        expected = {EXPECTED_TAG: result["expected"]["line"]}
        tags, epochs = {**self.tags, **expected}, int(result["num_epochs"])
        model = self.models.of(self.run, ROLE, self.name, tags, self.params, epochs)
        self.run.set_tags(expected)
        for name in allowed((FINAL_JSON, "journal.jsonl"), self.upload):
            self.run.upload(self.folder / name)
        for name in allowed(KEPT, self.upload):
            if model is not None:
                model.upload(self.folder / name, self.run.run_id, is_there=False)
            else:
                self.run.upload(self.folder / name)
        note = final_note(self.record, result)
        self.run.set_note(note)
        self.run.remove_tag(ERROR_TAG)
        if model is not None:
            model.finish(note)
        self.run.set_status("FINISHED", result["time"])  # last: it marks the rest as complete
