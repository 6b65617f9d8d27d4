"""MLflow's runs in a real PostgreSQL, from several processes at once."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from postgres_server import postgres_binaries, postgres_server
from synthetic_run_folder import (
    artifacts,
    history,
    losses,
    make_run_folder,
    train,
    write_result,
    write_summary,
)

from pipeline.tracking.mirror import sync
from pipeline.tracking.postgres import with_driver
from pipeline.tracking.record import RunRecord
from pipeline.tracking.server import TrackingError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(postgres_binaries() is None, reason="PostgreSQL is not installed"),
]
NUM = 3


@pytest.fixture
def uri() -> Iterator[str]:
    with postgres_server() as address:
        yield address


def _whole(folder: Path, uri: str, number: int) -> Path:
    """A run folder of its own name, with two folds that are done."""
    parent = folder / str(number)
    parent.mkdir()
    run_dir = make_run_folder(parent / "run", uri)
    record = RunRecord.load(run_dir)
    text = (run_dir / "tracking.json").read_text()
    (run_dir / "tracking.json").write_text(text.replace(record.run_name, f"cv-{number}"))
    for fold in (0, 1):
        train(run_dir, fold, range(3))
        write_result(run_dir, fold)
    write_summary(run_dir)
    return run_dir


def test_three_at_once_lose_and_double_nothing(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is empty: they also make its tables, and the experiment, at the same time."""
    monkeypatch.chdir(tmp_path)
    folders = [_whole(tmp_path, uri, number) for number in range(NUM)]
    with ProcessPoolExecutor(NUM, get_context("spawn")) as pool:
        said = list(pool.map(sync, folders))
    assert all("FINISHED" in line for line in said)
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=with_driver(uri))
    (experiment,) = client.search_experiments(filter_string="name = 'demo'")
    assert experiment.artifact_location == (tmp_path / "mlartifacts").as_uri()
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == NUM * 3
    names = [r.info.run_name for r in runs if r.data.tags["patientfold.role"] == "cv"]
    assert sorted(names) == [f"cv-{number}" for number in range(NUM)]
    for run in runs:
        assert run.info.status == "FINISHED"
        if run.data.tags["patientfold.role"] == "fold":
            assert history(with_driver(uri), run, "train/loss") == losses(range(3))
            assert "result.json" in artifacts(with_driver(uri), run)
    before = len(runs), sum(len(run.data.metrics) for run in runs)
    sync(folders[0])
    runs = client.search_runs([experiment.experiment_id])
    assert (len(runs), sum(len(run.data.metrics) for run in runs)) == before


def test_a_server_that_refuses_is_named(tmp_path: Path, uri: str) -> None:
    wrong = uri.replace("/mlflow?", "/another?")
    with pytest.raises(TrackingError, match='database "another" does not exist') as caught:
        sync(_whole(tmp_path, wrong, 0))
    assert "postgresql://me@/another" in str(caught.value)
