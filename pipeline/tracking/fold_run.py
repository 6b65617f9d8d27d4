"""A fold that has begun: its folder, and its run and model in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.tracking.journal import EpochEnded
from pipeline.tracking.note import fold_note
from pipeline.tracking.result import BEST, numbers, read_result, result_metrics
from pipeline.tracking.run import metric
from pipeline.tracking.trained_run import JOURNAL, TrainedRun

if TYPE_CHECKING:
    from mlflow.entities import Metric

    from pipeline.tracking.models import MirroredModel

RESULT = "result.json"
FOLD_FILES = ("predictions_val.csv", "predictions_test.csv", JOURNAL, RESULT)


@dataclass
class FoldRun(TrainedRun):
    """What MLflow has of a fold."""

    number: int

    def catch_up(self) -> None:
        """Log what is new in the folder."""
        path = self.folder / RESULT
        is_done = path.exists()  # asked first: the journal is complete if it is there
        was_done = self.run.status == "FINISHED"
        if is_done and was_done and self.models.is_ready(self.run):
            return
        has_news = self.follow()
        if is_done:
            self._conclude(read_result(path), was_done)
        elif has_news:
            self.show_state()

    def _conclude(self, result: Mapping[str, Any], was_done: bool) -> None:
        """`was_done`: all but the model is there, of a version that made none."""
        model = self._model(result)
        self.run.log_final(result_metrics(result), result["time"], model)
        self.hand_in(FOLD_FILES, model, was_done)
        self.finish(fold_note(self.record, self.number, result), result["time"], model)

    def _model(self, result: Mapping[str, Any]) -> MirroredModel | None:
        name = f"fold-{self.number:02d} of {self.record.run_name}"
        return self.models.of(
            self.run, "fold", name, self.tags, self.params, int(result["best_epoch"])
        )

    def points(self, event: EpochEnded) -> list[Metric]:
        """As of any training; what the epochs are chosen by comes first, at its best so far: MLflow
        compares runs by their first metric.
        """
        select_by, found = self.record.select_by, dict(numbers(event.metrics))
        values = {select_by: found[select_by]} if select_by in found else {}
        if event.best:
            values = {BEST + name: value for name, value in values.items()} | values
        return [metric(*named, event.time, event.epoch) for named in (values | found).items()]
