"""tracking.json: what the MLflow runs of a run folder are called and described by."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError

from pipeline.config import Upload, UserError
from pipeline.files import read_json, write_json
from pipeline.tracking.server import absolute_tracking_uri

FILE_NAME = "tracking.json"
SWEEPER_TAG = "patientfold.sweeper"
ADVICE = "Restore it, or delete it: the same cv command writes it again, for new MLflow runs."
FORMER_ADVICE = "Restore it, or delete it to get new MLflow runs."


@dataclass(frozen=True, kw_only=True)
class DatasetRecord:
    """The manifest, as MLflow's dataset input."""

    name: str
    path: str
    digest: str
    """Hash of the manifest; MLflow keeps its first 36 characters."""
    num_rows: int


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Everything MLflow shows that is not a journal or a result; written once by the parent."""

    uri: str
    """As absolute_tracking_uri returns it; or, with an interpolation in it, the text of a setting
    that came from the environment: it is never filled in from here, the folder may be a stranger's.
    """
    experiment: str
    run_name: str
    """Names the parent run, for people; it stays when the run folder is continued."""
    started: float
    """Unix seconds of the first start of this run folder."""
    tags: Mapping[str, str]
    """Set on the parent run and on every fold's run."""
    params: Mapping[str, str]
    """What people compare; logged to the parent run and to every fold's run."""
    fold_params: Sequence[Mapping[str, str]]
    """What only fold i has (patients and images per part), one mapping per fold of the plan."""
    dataset: DatasetRecord
    select_by: str = "val/image/auroc"
    """training.select_by: the validation metric that chose the epochs."""
    note: str = ""
    """What the parent run is, in Markdown."""
    settings: str = ""
    """Every setting, a line each; a tag of the parent run, whatever may be uploaded."""
    upload: Upload = "all"
    """What may be uploaded."""
    ledger: str = ""
    """The file that counts the settings tested on the plan; "": none."""

    def __post_init__(self) -> None:
        if "${" not in self.uri:
            assert self.uri == absolute_tracking_uri(self.uri), f"{self.uri} is not absolute"
        assert self.fold_params, "a cross-validation has folds"

    def save(self, run_dir: Path) -> None:
        """Write run_dir/tracking.json; its name and first start are kept when it exists already."""
        path = run_dir / FILE_NAME
        first = self.load(run_dir) if path.exists() else self
        write_json(path, asdict(replace(self, started=first.started, run_name=first.run_name)))

    @classmethod
    def load(cls, run_dir: Path) -> Self:
        """Read run_dir/tracking.json; UserError when it is missing or does not hold a record."""
        path = run_dir / FILE_NAME
        if not path.exists():
            raise UserError(
                f"{path} is missing: expected the run folder of a cross-validation that was "
                "started with tracking on."
            )
        try:
            return TypeAdapter(cls).validate_python(read_json(path, ADVICE))
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise UserError(f"{path}: {'; '.join(problems)}. {ADVICE}") from error


def former_uid(run_dir: Path) -> str | None:
    """Of the parent's MLflow run, as the first version drew it; None where a later one began.

    UserError when mlflow.json, in which it is kept, is damaged.
    """
    path = run_dir / "mlflow.json"
    if not path.exists():
        return None
    uids = read_json(path, FORMER_ADVICE).get("uids")
    uid = uids.get("parent") if isinstance(uids, dict) else ""
    if uid is None or (isinstance(uid, str) and re.fullmatch(r"[0-9a-f-]+", uid)):
        return uid
    raise UserError(f"{path}: expected the uid of an MLflow run, got {uids!r}. {FORMER_ADVICE}")
