"""A new user's mistakes: one clear message each, no traceback, nothing lost."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from system_runs import make_cohort, mlflow_client, run_cv

from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config
from pipeline.config import UserError

Mistake = Callable[..., str]


@pytest.fixture
def mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mistake:
    """What the user reads after a cross-validation with some overrides has been refused.

    A `UserError` is what the command shows as one message; the first two tests see it do so.
    """
    monkeypatch.chdir(tmp_path)
    cohort = make_cohort(tmp_path / "cohort")

    def refused(*overrides: str) -> str:
        with pytest.raises(UserError) as error:
            cross_validate(load_config([*cohort.overrides, "training.epochs=1", *overrides]))
        return str(error.value)

    return refused


def test_broken_images_are_told_all_at_once_with_row_and_patient(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort")
    rows = cohort.rows()
    broken = [rows[4], rows[20]]
    for row in broken:
        path = cohort.folder / row["image_path"]
        path.write_bytes(path.read_bytes()[:200])
    answer = run_cv(tmp_path, *cohort.overrides)
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert answer.stderr.count("error:") == 1
    assert "2 images cannot be used" in answer.stderr
    for row, line in zip(broken, (6, 22), strict=True):
        assert f"line {line}: patient {row['patient_id']!r}" in answer.stderr
        assert row["image_path"] in answer.stderr


def test_an_argument_that_the_optimizer_does_not_take(tmp_path: Path) -> None:
    """Found in a worker process, shown by the command: nothing is lost on the way."""
    cohort = make_cohort(tmp_path / "cohort")
    answer = run_cv(tmp_path, *cohort.overrides, "+optimizer.learning_rate=1")
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert "torch.optim.AdamW" in answer.stderr
    assert "learning_rate" in answer.stderr
    assert "it takes params, lr" in answer.stderr
    assert not (tmp_path / "runs").exists(), "a mistake costs no run folder"
    experiments = mlflow_client(tmp_path).search_experiments()
    assert [experiment.name for experiment in experiments] == ["Default"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_where_there_is_none(mistake: Mistake) -> None:
    message = mistake("engine.device=cuda")
    assert "engine.device=cuda" in message
    assert "use engine.device=cpu" in message


def test_a_run_folder_that_cannot_be_written(mistake: Mistake, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file is no folder, not even for the administrator")
    message = mistake(f"run_dir={tmp_path}/file/run")
    assert "cannot be written" in message
    assert "choose another with run_dir=" in message


def test_a_cache_folder_that_cannot_be_written(mistake: Mistake, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "images.cache_dir" in mistake(f"images.cache_dir={tmp_path}/file/cache")


def test_an_unknown_fold(mistake: Mistake) -> None:
    assert "folds 0 to 2, got [7]" in mistake("folds=[7]")


def test_a_network_that_cannot_take_the_images(mistake: Mistake) -> None:
    message = mistake("model.in_channels=3")
    assert "pipeline.models.LeNet5 fails on images (1, 24, 24)" in message


def test_volumes_under_the_default_network_are_told_before_decoding(
    mistake: Mistake, tmp_path: Path
) -> None:
    message = mistake("images=mri48")
    assert "model: pipeline.models.LeNet5 takes pictures, not volumes; " in message
    assert "model=resnet10 augment=volume" in message
    assert not (tmp_path / ".cache").exists()


def test_a_tracking_address_that_cannot_work(mistake: Mistake) -> None:
    assert "sqlite:///PATH.db" in mistake("tracking.uri=./mlruns")


def test_a_precision_that_needs_a_gpu(mistake: Mistake) -> None:
    assert "needs a GPU" in mistake("training.precision=float16", "engine.device=cpu")
