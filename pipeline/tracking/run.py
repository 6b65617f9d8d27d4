"""One MLflow run: found exactly, filled without doubles."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.tracking.note import NOTE_TAG, OURS
from pipeline.tracking.record import DatasetRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric

UID_TAG = "patientfold.uid"
PARAM_LENGTH, TAG_LENGTH, DIGEST_LENGTH, KEY_LENGTH = 6000, 8000, 36, 250
WORDS = {"<": "lt", ">": "gt", "=": "eq", "+": "plus", "≤": "le", "≥": "ge", "%": "percent"}
"""Of signs that MLflow does not take in the name of a metric; none is a hexadecimal number."""


class Ranked(Protocol):
    """What gets some of a run's metrics too: its model."""

    def lacks(self, point: Metric) -> bool:
        """Whether it should have this value and does not."""

    def linked(self, point: Metric) -> Metric:
        """The point as it is logged for both."""

    def know(self, points: Sequence[Metric]) -> None:
        """These were logged, as `linked`."""


class MirroredRun:
    """A run that is found by its uid tag, else created: never by name or age.

    The uid follows from the run folder's files: a run is found again however a process ended, and
    at every server. When it is created, the runs that it `replaces` (a filter) go to MLflow's bin.
    """

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        uid: str,
        run_name: str,
        started: float,
        replaces: str = "",
    ) -> None:
        self._client = client
        self.uid = uid
        found = client.search_runs([experiment_id], f"tags.`{UID_TAG}` = '{uid}'")
        run = min(found, key=lambda run: str(run.info.run_id), default=None)
        if run is None:
            for former in client.search_runs([experiment_id], replaces) if replaces else []:
                client.delete_run(former.info.run_id)
            run = client.create_run(experiment_id, milliseconds(started), {UID_TAG: uid}, run_name)
        self.run_id: str = run.info.run_id
        self.status: str = run.info.status
        self.ended: int | None = run.info.end_time
        """Unix milliseconds."""
        self._tags: dict[str, str] = dict(run.data.tags)
        self._params: dict[str, str] = dict(run.data.params)
        self._files: dict[Path, tuple[int, int]] = {}

    def describe(
        self, tags: Mapping[str, str], params: Mapping[str, str], dataset: DatasetRecord
    ) -> None:
        """Set the tags, params and dataset that are not there yet.

        MLflow keeps a param's first value for good; a later one (the same run folder continued
        with another device) goes into the tag patientfold.later.<param>.
        """
        from mlflow.entities import Param

        clean = clean_texts(params, PARAM_LENGTH)
        later = {
            f"patientfold.later.{name}": value
            for name, value in clean.items()
            if self._params.get(name, value) != value
        }
        self.set_tags({**tags, **later})
        new = [Param(name, value) for name, value in clean.items() if name not in self._params]
        self._client.log_batch(self.run_id, params=new, synchronous=True)
        self._client.log_inputs(self.run_id, datasets=[_dataset_input(dataset)])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set the tags whose values differ."""
        from mlflow.entities import RunTag

        clean = clean_texts(tags)
        new = {name: value for name, value in clean.items() if self._tags.get(name) != value}
        if not new:
            return
        run_tags = [RunTag(*tag) for tag in new.items()]
        self._client.log_batch(self.run_id, tags=run_tags, synchronous=True)
        self._tags |= new

    def set_note(self, note: str) -> None:
        """Set the note on the run's page, unless somebody wrote another there."""
        if self._tags.get(NOTE_TAG, OURS[0]).startswith(OURS):
            self.set_tags({NOTE_TAG: note})

    def remove_tag(self, name: str) -> None:
        """Remove a tag if it is there."""
        if name in self._tags:
            self._client.delete_tag(self.run_id, name)
            del self._tags[name]

    def log(self, metrics: Sequence[Metric]) -> None:
        """Log metrics; one that is there already (same name, time, step, value) is dropped."""
        if not metrics:
            return
        self._client.log_batch(self.run_id, metrics=metrics, synchronous=True)

    def log_final(
        self, values: Mapping[str, float], time: float, model: Ranked | None = None
    ) -> None:
        """Log values without a history, at step 0 (the UI then draws bars, not lines).

        `model`: gets those that models are ranked by.
        """
        there = self._client.get_run(self.run_id).data.metrics
        points = [metric(name, value, time, step=0) for name, value in values.items()]
        new = [point for point in points if there.get(point.key) != point.value]
        lacking = [point for point in points if model is not None and model.lacks(point)]
        if model is None or not lacking:
            self.log(new)
            return
        linked = [model.linked(p if p in new else self._last(p.key)) for p in lacking]
        self.log([*linked, *(point for point in new if point not in lacking)])
        model.know(linked)

    def _last(self, key: str) -> Metric:
        """The point that a metric's value is from; logged again it is the same point."""
        points = self._client.get_metric_history(self.run_id, key)
        return max(points, key=lambda point: (point.step, point.timestamp, point.value))

    def model_ids(self) -> list[str]:
        """Of the models that it shows as its own."""
        outputs = self._client.get_run(self.run_id).outputs
        return [output.model_id for output in outputs.model_outputs] if outputs else []

    def upload(self, file: Path, folder: str | None = None) -> bool:
        """Upload a file if it exists, unless this object did so already; whether it did now."""
        if not file.exists():
            return False
        stat = file.stat()  # before: a change during the upload is uploaded again
        version = (stat.st_size, stat.st_mtime_ns)
        if self._files.get(file) == version:
            return False
        self._client.log_artifact(self.run_id, str(file), folder)
        self._files[file] = version
        return True

    @contextmanager
    def closing(self) -> Iterator[None]:
        """FINISHED when the block is left, FAILED on an error, where the server still answers."""
        try:
            yield
        except BaseException:
            with suppress(Exception):
                self.set_status("FAILED", time.time())
            raise
        self.set_status("FINISHED", time.time())

    def set_status(self, status: str, ended: float | None = None) -> None:
        """RUNNING, or FINISHED, FAILED or KILLED with the unix time of the end."""
        if status == self.status:
            return
        if ended is None:
            self._client.update_run(self.run_id, status=status)
        else:
            self._client.set_terminated(self.run_id, status, milliseconds(ended))
        self.status = status


def metric(name: str, value: float, time: float, step: int) -> Metric:
    """One value of one metric at a unix time, under a name that MLflow accepts."""
    from mlflow.entities import Metric

    return Metric(_key(name), value, milliseconds(time), step)


def clean_texts(texts: Mapping[str, str], length: int = TAG_LENGTH) -> dict[str, str]:
    """Tags or params under names that MLflow accepts, no longer than it takes."""
    return {_key(name): _shorten(text, length) for name, text in texts.items()}


def milliseconds(time: float) -> int:
    """Unix seconds as MLflow keeps them."""
    return round(time * 1000)


def _key(name: str) -> str:
    """A name that MLflow accepts: letters, digits, _ - . : / and blanks, at most 250 of them.

    Other names give other keys: `<2cm` becomes `:lt:2cm`, a sign without a word `:its code:`.
    """
    parts = (re.sub(r"[^\w.\- ]", _spelled, part) for part in name.split("/"))
    key = "/".join({"": ":empty:", ".": ":dot:", "..": ":dot::dot:"}.get(p, p) for p in parts)
    if len(key) <= KEY_LENGTH:
        return key
    return f"{key[: KEY_LENGTH - 9]}-{sha256(key.encode()).hexdigest()[:8]}"


def _spelled(sign: re.Match[str]) -> str:
    return f":{WORDS.get(sign[0], format(ord(sign[0]), 'x'))}:"


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
