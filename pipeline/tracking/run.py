"""One MLflow run: found exactly, filled without doubles."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.tracking.facts import Point
from pipeline.tracking.ledger import Ledger
from pipeline.tracking.record import DatasetRecord
from pipeline.tracking.server import is_missing

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

UID_TAG = "patientfold.uid"
PARAM_LENGTH, TAG_LENGTH, DIGEST_LENGTH = 6000, 8000, 36


class MirroredRun:
    """A run at the server and its entry in the ledger.

    It is found by its recorded id, else by its uid tag, else created: never by name or age. A run
    that was deleted at the server is created again, with its position back at the start.
    """

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        ledger: Ledger,
        name: str,
        run_name: str,
        started: float,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._name = name
        self.entry = ledger.entry(name)
        run = self._recorded()
        if run is None:
            self.entry = ledger.restart(name)
            run = self._by_uid(experiment_id) or client.create_run(
                experiment_id,
                start_time=_milliseconds(started),
                tags={UID_TAG: ledger.uid(name)},
                run_name=run_name,
            )
            self.entry.run_id = run.info.run_id
            ledger.save()
        self.run_id: str = run.info.run_id
        self.status: str = run.info.status
        self._tags: dict[str, str] = dict(run.data.tags)
        self._params: dict[str, str] = dict(run.data.params)

    def _recorded(self) -> Run | None:
        from mlflow.exceptions import MlflowException

        if not self.entry.run_id:
            return None
        try:
            run = self._client.get_run(self.entry.run_id)
        except MlflowException as error:
            if is_missing(error):
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _by_uid(self, experiment_id: str) -> Run | None:
        uid = self._ledger.uid(self._name)  # on disk before any run can carry it
        found = self._client.search_runs([experiment_id], f"tags.`{UID_TAG}` = '{uid}'")
        return min(found, key=lambda run: run.info.run_id, default=None)

    def describe(
        self, tags: Mapping[str, str], params: Mapping[str, str], dataset: DatasetRecord
    ) -> None:
        """Set the tags, params and dataset that are not there yet.

        MLflow keeps a param's first value for good; a later one (the same run folder continued
        with another device) goes into the tag patientfold.later.<param>.
        """
        from mlflow.entities import Param

        clean = {_key(name): _shorten(value, PARAM_LENGTH) for name, value in params.items()}
        later = {
            f"patientfold.later.{name}": value
            for name, value in clean.items()
            if self._params.get(name, value) != value
        }
        self.set_tags({**tags, **later})
        new = [Param(name, value) for name, value in clean.items() if name not in self._params]
        self._client.log_batch(self.run_id, params=new, synchronous=True)
        self._params = {**clean, **self._params}
        self._client.log_inputs(self.run_id, datasets=[_dataset_input(dataset)])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set the tags whose values differ."""
        from mlflow.entities import RunTag

        clean = {_key(name): _shorten(value, TAG_LENGTH) for name, value in tags.items()}
        new = {name: value for name, value in clean.items() if self._tags.get(name) != value}
        run_tags = [RunTag(*tag) for tag in new.items()]
        self._client.log_batch(self.run_id, tags=run_tags, synchronous=True)
        self._tags |= new

    def remove_tag(self, name: str) -> None:
        """Remove a tag if it is there."""
        if name in self._tags:
            self._client.delete_tag(self.run_id, name)
            del self._tags[name]

    def log(self, points: Sequence[Point]) -> None:
        """Log the points; one that is there already (same name, time, step, value) is dropped."""
        from mlflow.entities import Metric

        metrics = [
            Metric(_key(point.name), point.value, _milliseconds(point.time), point.step)
            for point in points
        ]
        self._client.log_batch(self.run_id, metrics=metrics, synchronous=True)

    def log_final(self, values: Mapping[str, float], time: float) -> None:
        """Log values without a history, at step 0 (the UI then draws bars, not lines)."""
        there = self._client.get_run(self.run_id).data.metrics
        self.log(
            [
                Point(name, value, time, step=0)
                for name, value in values.items()
                if there.get(_key(name)) != value
            ]
        )

    def is_uploaded(self, file: Path) -> bool:
        """Whether this very version of the file is at the server, in no folder."""
        return self.entry.files.get(file.name) == _version(file)

    def upload(self, file: Path, folder: str | None = None) -> None:
        """Upload a file unless this version is there already."""
        version = _version(file)  # before: a change during the upload is uploaded again
        name = f"{folder}/{file.name}" if folder else file.name
        if self.entry.files.get(name) == version:
            return
        self._client.log_artifact(self.run_id, str(file), folder)
        self.entry.files[name] = version
        self._ledger.save()

    def read_until(self, offset: int) -> None:
        """Remember that the journal is in MLflow up to this byte."""
        if offset != self.entry.offset:
            self.entry.offset = offset
            self._ledger.save()

    def set_status(self, status: str, ended: float | None = None) -> None:
        """RUNNING, or FINISHED, FAILED or KILLED with the unix time of the end."""
        if status == self.status:
            return
        if status == "RUNNING":
            self._client.update_run(self.run_id, status=status)
        else:
            assert ended is not None, "a run that is over has an end"
            self._client.set_terminated(self.run_id, status, _milliseconds(ended))
        self.status = status


def _milliseconds(time: float) -> int:
    return round(time * 1000)


def _version(file: Path) -> list[int]:
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _key(name: str) -> str:
    """A name that MLflow accepts: letters, digits, _ - . : / and blanks, at most 250 of them."""
    clean = re.sub(r"[^\w.\- :/]", "_", name)
    return posixpath.normpath(clean).lstrip("./")[:250]


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _dataset_input(dataset: DatasetRecord) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    entity = Dataset(
        name=dataset.name,
        digest=dataset.digest[:DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": dataset.path}),
        profile=json.dumps({"num_rows": dataset.num_rows}),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", "cross-validation")])
