"""The MLflow model registry: versions of a named model, one of which may be the champion."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import Upload, UserError, fingerprint
from pipeline.tracking.record import RunRecord
from pipeline.tracking.run import TAG_LENGTH, MirroredRun, clean_texts
from pipeline.tracking.server import connect, reaching

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALIAS = "champion"
"""Of the version that `models:/NAME@champion` stands for."""
KEY, RUN_DIR = "patientfold.key", "patientfold.run_dir"
PLAN, NETWORK, BUNDLE = "patientfold.plan_hash", "patientfold.network", "patientfold.bundle"
VERDICT = "patientfold.champion"
"""Why a version became the champion, or did not."""
FOLDER = "model"
"""Of the files among an MLflow run's artifacts."""


@dataclass(frozen=True)
class Version:
    """A version of a registered model; what it does not say is ""."""

    number: str
    key: str
    """Of its cross-validation."""
    run_dir: str
    network: str
    """folds or final."""


class Registry:
    """The versions of one model at a server."""

    def __init__(self, client: MlflowClient, experiment: str, name: str) -> None:
        self._client = client
        self._experiment = experiment
        self.name = name

    @property
    def champion(self) -> Version | None:
        """The version that has the alias; None where no version has it."""
        if (number := self._aliases.get(ALIAS)) is None:
            return None
        tags = dict(self._client.get_model_version(self.name, str(number)).tags or {})
        return Version(str(number), *(tags.get(name, "") for name in (KEY, RUN_DIR, NETWORK)))

    def add(self, folder: Path, tags: Mapping[str, str], title: str, card: str) -> tuple[str, bool]:
        """Upload an MLflow model as a new version, once: its number, and whether it is new.

        `tags` have BUNDLE, by which it is found again. `title` names the MLflow run beside those
        of the folds, in which its files lie; `card` describes the version.
        """
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        for version in self._client.search_model_versions(f"name='{self.name}'"):
            if (version.tags or {}).get(BUNDLE) == tags[BUNDLE]:
                return str(version.version), False
        uid = fingerprint(["export", self.name, tags[BUNDLE]])
        run = MirroredRun(self._client, self._experiment, uid, title, time.time())
        with run.closing():
            run.set_tags({**tags, "patientfold.role": "export"})
            self._client.log_artifacts(run.run_id, str(folder), FOLDER)
            place = self._client.get_run(run.run_id).info.artifact_uri
            made = self._client.create_model_version(
                self.name,
                f"{place}/{FOLDER}",
                run.run_id,
                tags=clean_texts(tags),
                description=card[:TAG_LENGTH],
            )
        return str(made.version), True

    def decide(self, number: str, moves: bool, why: str) -> None:
        """Give a version the alias, or do not; why stands in a tag of it either way."""
        self._client.set_model_version_tag(self.name, number, VERDICT, why[:TAG_LENGTH])
        if moves:
            self._client.set_registered_model_alias(self.name, ALIAS, number)

    @property
    def _aliases(self) -> Mapping[str, Any]:
        from mlflow.exceptions import MlflowException

        try:
            return dict(self._client.get_registered_model(self.name).aliases or {})
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise


def refuse_upload(run_dir: Path, uri: str | None, upload: Upload | None = None) -> None:
    """Raises UserError where no server is known, or no file of the run may be uploaded.

    `upload`: what may be; default: what the run was made with.
    """
    if uri is None:
        raise UserError(f"{run_dir} takes its server from the environment; name it: tracking.uri=")
    if (upload or RunRecord.load(run_dir).upload) == "metrics":
        raise UserError(
            f"tracking.upload=metrics lets no file of {run_dir} go to a server, and a model in the "
            "registry is files; tracking.upload=no_patients allows it"
        )


@contextmanager
def registry(run_dir: Path, name: str, uri: str) -> Iterator[Registry]:
    """The registry of a server, in which a model goes by this name; beside the run's experiment.

    TrackingError when the server cannot be reached, or keeps no registry.
    """
    record = RunRecord.load(run_dir)
    with reaching(uri):
        client, experiment = connect(uri, record.experiment, record.select_by)
        yield Registry(client, experiment, name)


@dataclass(frozen=True)
class Served:
    """What an MLflow model takes and gives."""

    loader: str
    """The module whose `_load_pyfunc` opens it."""
    inputs: Mapping[str, bool]
    """Columns of text -> whether each is needed."""
    outputs: Mapping[str, str]
    """Names -> string or double; each may be missing."""
    example: Mapping[str, str]
    """A row of the inputs."""


def save_model(
    folder: Path, data: Path, code: Sequence[Path], served: Served, requirements: Sequence[str]
) -> None:
    """Write an MLflow model into an empty folder: `data` is opened by the `code` that goes along.

    Nothing is pickled.
    """
    os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"  # else it takes files of the current folder
    with reaching("its own folder"):
        import pandas as pd
        from mlflow.models import ModelSignature
        from mlflow.pyfunc import save_model as save
        from mlflow.types import ColSpec, Schema

        inputs = [ColSpec("string", name, needed) for name, needed in served.inputs.items()]
        outputs = [ColSpec(kind, name, False) for name, kind in served.outputs.items()]
        save(
            path=str(folder),
            loader_module=served.loader,
            data_path=str(data),
            code_paths=[str(path) for path in code],
            signature=ModelSignature(Schema(inputs), Schema(outputs)),
            input_example=pd.DataFrame([served.example]),
            pip_requirements=list(requirements),
        )
