"""What came of a run, as a LoggedModel of MLflow 3: a row of the experiment's Models tab."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.tracking.note import NOTE_TAG, OURS
from pipeline.tracking.run import DIGEST_LENGTH, UID_TAG, MirroredRun, clean_texts

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric

    from pipeline.tracking.record import DatasetRecord

FOLD_TAG = "patientfold.fold"
CV_TAG = "patientfold.cv"
"""The uid of the cross-validation that a model is of."""
CHECKPOINT_TAG = "patientfold.checkpoint"
"""Where the weights are, as MLflow addresses them."""
RANKING = ("best/val/", "test/")
"""What models are ranked by: fold and cross-validation have it under the same names."""
READY: Final = "READY"
UNKNOWN = frozenset({"ENDPOINT_NOT_FOUND", "RESOURCE_DOES_NOT_EXIST", "NOT_IMPLEMENTED"})
"""What a server older than MLflow 3 answers."""
SPELLED = str.maketrans(
    {".": "\N{MIDDLE DOT}", "/": "-", ":": "-", "%": None, '"': None, "'": None}
)
"""Signs that MLflow does not take in the name of a model."""


class MirroredModel:
    """The model of one run."""

    def __init__(self, client: MlflowClient, found: LoggedModel, dataset: DatasetRecord) -> None:
        self._client = client
        self._dataset = dataset
        self.id: str = found.model_id
        self.is_ready: bool = found.status.value == READY
        self.tags: dict[str, str] = dict(found.tags or {})
        points = sorted(found.metrics or (), key=lambda point: point.timestamp)
        self._values = {point.key: point.value for point in points}
        self._times = {point.key: point.timestamp for point in points}

    def lacks(self, point: Metric) -> bool:
        """Whether models are ranked by this metric, and this one does not have its value."""
        key: str = point.key
        return key.startswith(RANKING) and self._values.get(key) != point.value

    def linked(self, point: Metric) -> Metric:
        """The same value, of the run, of this model and of the manifest.

        A model has one value of a moment: another value is of a later one.
        """
        from mlflow.entities import Metric

        time = max(point.timestamp, self._times.get(point.key, -1) + 1)
        where = self.id, self._dataset.name, self._dataset.digest[:DIGEST_LENGTH]
        return Metric(point.key, point.value, time, point.step, *where)

    def know(self, points: Sequence[Metric]) -> None:
        """These were logged, as `linked`."""
        self._values |= {point.key: point.value for point in points}
        self._times |= {point.key: point.timestamp for point in points}

    def upload(self, file: Path, run_id: str, is_there: bool) -> None:
        """Upload the weights once: none if the run `is_there` with them, from before MLflow 3."""
        if not file.exists() or CHECKPOINT_TAG in self.tags:
            return
        address = f"runs:/{run_id}" if is_there else f"models:/{self.id}"
        if not is_there:
            self._client.log_model_artifact(self.id, str(file))
        self.set_tags({CHECKPOINT_TAG: f"{address}/{file.name}"})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set the tags whose values differ."""
        new = {k: text for k, text in clean_texts(tags).items() if self.tags.get(k) != text}
        if new:
            self._client.set_logged_model_tags(self.id, new)
            self.tags |= new

    def finish(self, note: str) -> None:
        """Describe it, unless somebody did, and mark it as complete."""
        if self.tags.get(NOTE_TAG, OURS[0]).startswith(OURS):
            self.set_tags({NOTE_TAG: note})
        if not self.is_ready:
            self._client.finalize_logged_model(self.id, READY)
            self.is_ready = True


class Models:
    """The models of one cross-validation: one for each fold that is done, and one for the whole.

    Like runs they are found by the uid that follows from the run folder, so that there are never
    two of one fold. A server that keeps no models (before MLflow 3) has none, silently.
    """

    def __init__(
        self, client: MlflowClient, experiment_id: str, cv: str, dataset: DatasetRecord
    ) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._cv = cv
        self._dataset = dataset
        self._found = self._search()

    def is_ready(self, run: MirroredRun) -> bool:
        """Whether the run's model is complete, or the server keeps none."""
        if self._found is None:
            return True
        place = run.uid, run.run_id
        return place in self._found and self._found[place].is_ready

    def of(
        self,
        run: MirroredRun,
        kind: str,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        step: int = 0,
    ) -> MirroredModel | None:
        """The model of a run, made if it is missing; None where the server keeps no models.

        `kind`: fold, or cross-validation; `step`: the epoch that it is from.
        """
        from mlflow.entities import LoggedModelOutput

        if self._found is None:
            return None
        place = run.uid, run.run_id
        if is_new := place not in self._found:
            created = self._client.create_logged_model(
                self._experiment_id,
                name.translate(SPELLED) or kind,
                run.run_id,
                clean_texts({**tags, UID_TAG: run.uid, CV_TAG: self._cv}),
                clean_texts(params),
                kind,
            )
            self._found[place] = MirroredModel(self._client, created, self._dataset)
        model = self._found[place]
        if is_new or (not model.is_ready and model.id not in run.model_ids()):
            self._client.log_outputs(run.run_id, [LoggedModelOutput(model.id, step)])
        return model

    def drop_former(self, run: MirroredRun, fold: str = "") -> None:
        """Delete the models of the same fold that a run which this one took the place of had."""
        found = self._found or {}
        for place, model in [*found.items()]:
            if place != (run.uid, run.run_id) and model.tags.get(FOLD_TAG, "") == fold:
                self._client.delete_logged_model(model.id)
                del found[place]

    def _search(self) -> dict[tuple[str, str], MirroredModel] | None:
        """(uid, run id) -> model, of all that are there."""
        from mlflow.exceptions import MlflowException

        assert re.fullmatch(r"[\w-]+", self._cv), self._cv
        wanted, found, token = f"tags.`{CV_TAG}` = '{self._cv}'", [], None
        try:
            while True:
                page = self._client.search_logged_models(
                    [self._experiment_id], wanted, page_token=token
                )
                found += page
                if not (token := page.token):
                    break
        except NotImplementedError:
            return None
        except MlflowException as error:
            if error.error_code in UNKNOWN:
                return None
            raise
        return {
            (model.tags[UID_TAG], model.source_run_id): MirroredModel(
                self._client, model, self._dataset
            )
            for model in found
        }
