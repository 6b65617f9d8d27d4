import re
from pathlib import Path

import pytest

from pipeline.config import UserError
from pipeline.tracking.destination import is_here
from pipeline.tracking.server import absolute_tracking_uri, check_tracking_uri, connect, reaching


@pytest.mark.parametrize(
    "uri",
    [
        *("sqlite:///mlflow.db", "sqlite:////tmp/a b.db", "http://h:5000", "https://h/mlflow"),
        *(
            "postgresql://me@h/db",
            "postgresql:///db?host=/run/postgresql",
            "postgresql://h:5433/db",
        ),
    ],
)
def test_databases_and_servers_are_allowed(uri: str) -> None:
    check_tracking_uri(uri)


@pytest.mark.parametrize("uri", ["mlruns", "/data/mlruns", "file:///data/mlruns", "./mlruns", ""])
def test_a_plain_folder_is_refused_with_what_is_allowed(uri: str) -> None:
    with pytest.raises(UserError, match=r"expected sqlite:///PATH.db, .*plain folder"):
        check_tracking_uri(uri)


@pytest.mark.parametrize("uri", ["http://", "sqlite:mlflow.db", "ftp://h"])
def test_other_addresses_are_refused(uri: str) -> None:
    with pytest.raises(UserError, match=r"tracking\.uri: expected sqlite:///PATH\.db"):
        check_tracking_uri(uri)


@pytest.mark.parametrize("uri", ["sqlite:///", "sqlite:///:memory:", "sqlite:///folder/"])
def test_a_database_needs_a_file(uri: str) -> None:
    with pytest.raises(UserError, match="with a file, got"):
        check_tracking_uri(uri)


@pytest.mark.parametrize("uri", ["http://me:secret@h", "https://me@h:5000"])
def test_a_password_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(UserError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        check_tracking_uri(uri)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        *("postgresql://me:secret@h/db", "postgresql+psycopg2://me:secret@h/db"),
        *("postgres://me:secret@h/db", "postgresql://h/db?user=me&password=secret"),
    ],
)
def test_a_password_of_a_database_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(UserError, match="PGPASSWORD") as caught:
        check_tracking_uri(uri)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["postgresql://h", "postgresql://h/", "postgres://h/db"])
def test_postgres_needs_a_database_and_its_whole_name(uri: str) -> None:
    with pytest.raises(UserError, match="expected postgresql://USER@HOST/NAME"):
        check_tracking_uri(uri)


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.tracking.postgres.find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"pip install 'patientfold\[postgres\]'"):
        check_tracking_uri("postgresql://h/db")


@pytest.mark.parametrize(
    ("uri", "here"),
    [
        ("postgresql:///db?host=/run/postgresql", True),
        ("postgresql://me@localhost/db", True),
        ("postgresql:///db?host=127.0.0.1", True),
        ("postgresql://me@db.hospital.org/db", False),
        ("postgresql:///db?host=db.hospital.org", False),
    ],
)
def test_a_database_of_this_machine_is_known(uri: str, here: bool) -> None:
    assert is_here(uri) is here


def test_a_relative_database_stays_the_same_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = absolute_tracking_uri("sqlite:///sub/mlflow.db?timeout=20")
    monkeypatch.chdir("/")
    assert uri == absolute_tracking_uri(uri) == f"sqlite:///{tmp_path}/sub/mlflow.db?timeout=20"


def test_a_server_is_the_same_with_and_without_a_final_slash() -> None:
    assert absolute_tracking_uri("http://h:5000/") == "http://h:5000"


def test_an_absolute_address_is_checked_too() -> None:
    with pytest.raises(UserError, match="plain folder"):
        absolute_tracking_uri("mlruns")


@pytest.mark.parametrize("name", ["which scan?", "scans%20new"])
def test_a_folder_that_an_address_cannot_name_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A `?` begins options, and `%20` is read as a blank: the database would lie elsewhere."""
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=f"{re.escape(name)}/mlflow.db.* rename that folder"):
        absolute_tracking_uri("sqlite:///mlflow.db")


@pytest.mark.slow
def test_other_odd_names_of_folders_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "100 % #1 scans"
    folder.mkdir()
    monkeypatch.chdir(folder)
    uri = absolute_tracking_uri("sqlite:///mlflow.db")
    (folder / "x.txt").write_text("content")
    with reaching(uri):
        client, experiment = connect(uri, "demo", "val/image/auroc")
        run = client.create_run(experiment).info.run_id
        client.log_artifact(run, str(folder / "x.txt"))
        assert [file.path for file in client.list_artifacts(run)] == ["x.txt"]
    assert (folder / "mlflow.db").is_file()
    assert [path.read_text() for path in (folder / "mlartifacts").rglob("x.txt")] == ["content"]
    assert {path.name for path in tmp_path.iterdir()} == {folder.name}
