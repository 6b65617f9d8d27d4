"""The final network, once its training has begun: its folder, and its run and model in MLflow.

It was tested on nobody, so that neither has a metric of how good it is: the run shows how the
training went, a tag what the cross-validation lets one expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.tracking.note import final_note
from pipeline.tracking.trained_run import JOURNAL, TrainedRun
from pipeline.tracking.untested import FINAL_JSON, read_untested

ROLE: Final = "final"
UNTESTED_TAG, EXPECTED_TAG = "patientfold.untested", "patientfold.expected"


@dataclass
class FinalRun(TrainedRun):
    """What MLflow has of it."""

    name: str

    def catch_up(self) -> None:
        """Log what is new in the folder."""
        is_done = (self.folder / FINAL_JSON).exists()  # asked first: the journal is complete then
        if is_done and self.run.status == "FINISHED":
            return
        has_news = self.follow()
        if is_done:
            result = read_untested(self.folder.parent)
            assert result is not None, "it is there"
            self._conclude(result)
        elif has_news:
            self.show_state()

    def _conclude(self, result: Mapping[str, Any]) -> None:
        expected = {EXPECTED_TAG: result["expected"]["line"]}
        tags, epochs = {**self.tags, **expected}, int(result["num_epochs"])
        model = self.models.of(self.run, ROLE, self.name, tags, self.params, epochs)
        self.run.set_tags(expected)
        self.hand_in((FINAL_JSON, JOURNAL), model, is_there=False)
        self.finish(final_note(self.record, result), result["time"], model)
