import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_run_folder import make_run_folder

from pipeline.config import UserError
from pipeline.tracking.mirror import sync
from pipeline.tracking.record import RunRecord
from pipeline.tracking.registered import registered_keys


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_run_folder(tmp_path / "run", "http://localhost:1", num_folds=3)


def test_a_record_comes_back_as_it_was(run_dir: Path) -> None:
    record = RunRecord.load(run_dir)
    assert len(record.fold_params) == 3
    record.save(run_dir)
    assert RunRecord.load(run_dir) == record


def test_continuing_keeps_the_first_start(run_dir: Path) -> None:
    first = RunRecord.load(run_dir)
    replace(first, started=first.started + 1000, tags={"a": "b"}).save(run_dir)
    again = RunRecord.load(run_dir)
    assert (again.started, again.tags) == (first.started, {"a": "b"})


def test_a_folder_without_record_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tracking\.json is missing: expected the run folder"):
        RunRecord.load(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("uri", "mlruns", "plain folder"),
        ("params", {"lr": [1]}, "params.lr"),
        ("started", "yesterday", "started"),
        ("dataset", {"name": "demo"}, "dataset.digest"),
    ],
)
def test_a_damaged_record_is_named(run_dir: Path, field: str, value: object, problem: str) -> None:
    path = run_dir / "tracking.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(UserError, match=rf"{re.escape(str(path))}.*{problem}"):
        RunRecord.load(run_dir)


def test_half_a_file_is_named(run_dir: Path) -> None:
    path = run_dir / "tracking.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(UserError, match=r"tracking\.json is not valid JSON"):
        RunRecord.load(run_dir)


def test_the_room_imports_neither_mlflow_nor_torch_nor_monai() -> None:
    code = (
        "import sys, pipeline.tracking.mirror, pipeline.tracking.server as t; t.check_tracking_uri('sqlite:///a.db');"
        "print(sorted({'mlflow', 'torch', 'monai', 'pandas', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_record_can_be_read_where_the_driver_of_its_database_is_missing(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "postgresql://me@h/db"
    replace(RunRecord.load(run_dir), uri=uri).save(run_dir)
    monkeypatch.setattr("pipeline.tracking.postgres.find_spec", lambda _name: None)
    assert RunRecord.load(run_dir).uri == uri
    for asks in (sync, lambda _: registered_keys(uri)):
        with pytest.raises(UserError, match="the driver psycopg2 is not installed"):
            asks(run_dir)
