"""A training without validation: the loop of a fold, with nobody to choose by and none to test."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_fold import tiny_fold, with_config

from pipeline.config import TrainingConfig
from pipeline.splits import NO_FOLD, Everybody, Fold
from pipeline.tracking.journal import EpochEnded, Started, read_journal
from pipeline.tracking.untested import FINAL_JSON, read_untested
from pipeline.training import fold as loop
from pipeline.training.checkpoint import load_checkpoint, save_epoch
from pipeline.training.fold import train_fold
from pipeline.training.job import FoldJob
from pipeline.training.settled import Settled

EPOCHS = 4
RECORD: dict[str, Any] = {
    "folds": {},
    "thresholds": {"image": 0.4, "patient": None},
    "calibration": None,
    "expected": {"line": "expected AUROC 0.8", "optimism": ""},
    "rule": "4 epochs",
}


def job_on_everybody(folder: Path, **sections: Any) -> FoldJob:
    """The tiny fold's patients, all at once; its folder is final/ of a run folder."""
    folder.mkdir(exist_ok=True)
    job = with_config(tiny_fold(folder), training=_training(), **sections)
    sums = [f"{of.sum()},{(of**2).sum()}" for of in job.images.array.astype(np.float64)]
    (folder / "table.csv").write_text("\n".join(["sum,sum_squares", *sums]) + "\n")
    assert isinstance(job.fold, Fold)
    settled = Settled(tuple(0.5 for _ in range(EPOCHS)), record=RECORD)
    (folder / "final").mkdir(exist_ok=True)
    return replace(job, fold=Everybody((job.fold,)), fold_dir=folder / "final", settled=settled)


def _training(**more: Any) -> TrainingConfig:
    return TrainingConfig(epochs=EPOCHS, batch_size=4, precision="float32", **more)


def test_the_last_network_is_kept_and_nothing_is_judged(tmp_path: Path) -> None:
    job = job_on_everybody(tmp_path)
    train_fold(job)
    names = {path.name for path in job.fold_dir.iterdir()}
    assert names == {"journal.jsonl", "last.pt", "best.pt", FINAL_JSON}
    best = load_checkpoint(job.fold_dir / "best.pt", job)
    last = load_checkpoint(job.fold_dir / "last.pt", job)
    assert best["untested"] is True
    assert best["epoch"] == last["num_epochs"] == EPOCHS
    ours, theirs = best["network"], last["network"]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    events = read_journal(job.fold_dir / "journal.jsonl")
    epochs = [event for event in events if isinstance(event, EpochEnded)]
    assert len(epochs) == EPOCHS
    assert {name for event in epochs for name in event.metrics} == {
        "train/loss",
        "train/lr",
        "train/grad_norm",
        "train/images_per_s",
    }
    result = read_untested(tmp_path)
    assert result is not None
    assert result["fold"] == NO_FOLD
    assert "tested on nobody" in result["untested"]
    assert result["num_epochs"] == EPOCHS
    assert result["precision"] == "float32"
    assert not {"test", "val", "select_value", "operating_points"} & result.keys()


def test_it_is_normalised_by_everybody(tmp_path: Path) -> None:
    job = job_on_everybody(tmp_path)
    pixels = np.asarray(job.images.array)
    assert job.normalisation.mean == pytest.approx([pixels.mean()], rel=1e-5)
    train_fold(job)
    best = load_checkpoint(job.fold_dir / "best.pt", job)
    assert best["mean"] == list(job.normalisation.mean)
    assert len(job.rows("train")) == len(job.manifest)
    assert len(job.rows("val")) == len(job.rows("test")) == 0


def test_one_that_was_interrupted_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = (job_on_everybody(tmp_path / name) for name in ("whole", "cut"))
    train_fold(whole)

    class Killed(BaseException):
        pass

    def save_and_die(*given: Any) -> None:
        save_epoch(*given)
        raise Killed

    monkeypatch.setattr(loop, "save_epoch", save_and_die)
    for _ in range(2):
        with pytest.raises(Killed):
            train_fold(cut)
    monkeypatch.undo()
    train_fold(cut)
    assert (whole.fold_dir / "best.pt").read_bytes() == (cut.fold_dir / "best.pt").read_bytes()
    events = read_journal(cut.fold_dir / "journal.jsonl")
    assert [event.epochs_done for event in events if isinstance(event, Started)] == [0, 1, 2]


def test_a_schedule_that_watches_validation_gets_that_of_the_folds(tmp_path: Path) -> None:
    plateau = {
        "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau",
        "mode": "max",
        "factor": 0.1,
        "patience": 0,
    }
    job = job_on_everybody(tmp_path, scheduler=plateau)
    job = replace(job, settled=Settled((0.6, 0.7, 0.65, 0.7), record=RECORD))
    train_fold(job)
    events = read_journal(job.fold_dir / "journal.jsonl")
    rates = [event.metrics["train/lr"] for event in events if isinstance(event, EpochEnded)]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.01])  # it fell after the third


def test_a_fold_is_no_training_on_everybody(tmp_path: Path) -> None:
    job = tiny_fold(tmp_path)
    with pytest.raises(AssertionError, match="val chooses"):
        replace(job, settled=Settled())
    assert isinstance(job.fold, Fold)
    with pytest.raises(AssertionError, match="val chooses"):
        replace(job, fold=Everybody((job.fold,)))


def test_what_was_changed_afterwards_is_refused(tmp_path: Path) -> None:
    job = job_on_everybody(tmp_path)
    train_fold(job)
    path = job.fold_dir / FINAL_JSON
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"num_epochs": 9}))
    with pytest.raises(Exception, match=r"final\.json was changed after it was written"):
        read_untested(tmp_path)
    path.write_text(before)
    (job.fold_dir / "best.pt").write_bytes(b"other weights")
    with pytest.raises(Exception, match=r"best\.pt is not what final\.json stands for"):
        read_untested(tmp_path)
