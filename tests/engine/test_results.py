"""What a gathering leaves that is interrupted."""

from pathlib import Path

import pytest
from finished_run import finished_run
from pictured_run import planned_run

from pipeline.engine import results
from pipeline.engine.results import write_judged
from pipeline.engine.run_folder import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    finished_run(tmp_path / "run")
    return planned_run(tmp_path)


def _interrupted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(results, "write_failures", stop)
    with pytest.raises(KeyboardInterrupt):
        write_judged(run)


def test_old_numbers_never_stand_beside_new_predictions(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run.dir / "predictions.csv"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(rows[:-1]))  # as of folds that were trained anew since
    _interrupted(run, monkeypatch)
    assert path.read_text().splitlines(keepends=True) == rows
    assert not (run.dir / "metrics.json").exists()


def test_numbers_of_the_same_predictions_stay(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run.dir / "metrics.json").read_bytes()
    _interrupted(run, monkeypatch)
    assert (run.dir / "metrics.json").read_bytes() == before
