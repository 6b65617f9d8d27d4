"""A new user's mistakes: one clear message each, no traceback, nothing lost."""

from pathlib import Path

import pytest
import torch
from system_runs import make_cohort, run_cv


def _mistake(tmp_path: Path, *overrides: str) -> str:
    """What the user reads after the command with `overrides` has failed."""
    cohort = make_cohort(tmp_path / "cohort")
    answer = run_cv(tmp_path, *cohort.overrides, "training.epochs=1", *overrides)
    assert answer.returncode == 1, answer.stdout
    assert "Traceback" not in answer.stderr + answer.stdout
    assert answer.stderr.count("error:") == 1
    return answer.stderr


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
    assert "2 image(s) cannot be used" in answer.stderr
    for row, line in zip(broken, (6, 22), strict=True):
        assert f"line {line}: patient {row['patient_id']!r}" in answer.stderr
        assert row["image_path"] in answer.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_where_there_is_none(tmp_path: Path) -> None:
    message = _mistake(tmp_path, "engine.device=cuda")
    assert "engine.device=cuda" in message
    assert "use engine.device=cpu" in message


def test_a_run_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file is no folder, not even for the administrator")
    message = _mistake(tmp_path, f"run_dir={tmp_path}/file/run")
    assert "cannot be written" in message
    assert "choose another with run_dir=" in message


def test_a_cache_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = _mistake(tmp_path, f"images.cache_dir={tmp_path}/file/cache")
    assert "images.cache_dir" in message


def test_an_unknown_fold(tmp_path: Path) -> None:
    assert "folds 0 to 2, got [7]" in _mistake(tmp_path, "folds=[7]")


def test_an_argument_that_the_optimizer_does_not_take(tmp_path: Path) -> None:
    message = _mistake(tmp_path, "+optimizer.learning_rate=1")
    assert "torch.optim.AdamW" in message
    assert "learning_rate" in message
    assert "it takes params, lr" in message


def test_a_network_that_cannot_take_the_images(tmp_path: Path) -> None:
    message = _mistake(tmp_path, "model.in_channels=3")
    assert "pipeline.models.LeNet5 fails on images (1, 24, 24)" in message


def test_a_tracking_address_that_cannot_work(tmp_path: Path) -> None:
    assert "sqlite:///PATH.db" in _mistake(tmp_path, "tracking.uri=./mlruns")


def test_a_precision_that_needs_a_gpu(tmp_path: Path) -> None:
    message = _mistake(tmp_path, "training.precision=float16", "engine.device=cpu")
    assert "needs a GPU" in message
