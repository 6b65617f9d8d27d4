"""One fold's folder -> its child run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.files import read_json
from pipeline.tracking.facts import epoch_points, result_metrics
from pipeline.tracking.journal import JournalTail
from pipeline.tracking.ledger import Ledger
from pipeline.tracking.run import MirroredRun
from pipeline.tracking.server import is_missing

if TYPE_CHECKING:
    from mlflow import MlflowClient

ERROR_TAG = "patientfold.error"
ARTIFACTS = ("best.pt", "predictions_val.csv", "predictions_test.csv", "journal.jsonl")


def forget_if_begun_anew(client: MlflowClient, ledger: Ledger, name: str, digest: str) -> None:
    """If the fold's folder was deleted and trained again, its old run goes to MLflow's bin.

    Otherwise one run would hold the epochs of two trainings.
    """
    from mlflow.exceptions import MlflowException

    entry = ledger.entry(name)
    if entry.journal in ("", digest):
        return
    try:
        if client.get_run(entry.run_id).info.lifecycle_stage == "active":
            client.delete_run(entry.run_id)
    except MlflowException as error:
        if not is_missing(error):
            raise
    ledger.restart(name)


class MirroredFold:
    """A fold that has begun."""

    def __init__(self, run: MirroredRun, folder: Path) -> None:
        self.run = run
        self._journal = folder / "journal.jsonl"
        self._result = folder / "result.json"
        self._artifacts = [folder / name for name in ARTIFACTS]
        self._tail = JournalTail(self._journal, run.entry.offset)

    @property
    def is_over(self) -> bool:
        """Whether the fold ended by itself."""
        return self.run.status in ("FINISHED", "FAILED")

    def catch_up(self) -> None:
        """Log what is new in the folder."""
        is_done = self._result.exists()  # asked first: the journal is complete if it is there
        records = self._tail.read_new()
        self.run.log(epoch_points(records))
        states = [record for record in records if record["event"] in ("start", "epoch", "failed")]
        if states and not is_done:
            self._set_state(states[-1])
        self.run.read_until(self._tail.offset)  # last: until here a kill means: log it again
        if is_done:
            self._finish(read_json(self._result))

    def kill(self) -> None:
        """Mark a fold that neither finished nor failed."""
        if not self.is_over:
            self.run.set_status("KILLED", self._journal.stat().st_mtime)

    def _set_state(self, record: Mapping[str, Any]) -> None:
        if record["event"] == "failed":
            self.run.set_tags({ERROR_TAG: record["error"]})
            self.run.upload(self._journal)  # with the traceback
            self.run.set_status("FAILED", record["time"])
        else:
            self.run.set_status("RUNNING")
            self.run.remove_tag(ERROR_TAG)

    def _finish(self, result: Mapping[str, Any]) -> None:
        if not self.run.is_uploaded(self._result):
            self.run.log_final(result_metrics(result), result["time"])
            for file in self._artifacts:
                if file.exists():
                    self.run.upload(file)
            self.run.upload(self._result)  # last: it marks the metrics and files as complete
        self.run.set_status("FINISHED", result["time"])
        self.run.remove_tag(ERROR_TAG)
