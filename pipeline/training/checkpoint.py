"""A fold's two checkpoints: `last.pt` to go on from, `best.pt` to test."""

import pickle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from pipeline.config import UserError
from pipeline.files import replacing
from pipeline.images.packed import Normalisation
from pipeline.training.job import FoldJob
from pipeline.training.learner import Learner, Progress


def save_last(learner: Learner, job: FoldJob) -> None:
    """Write `last.pt`: all that is needed to go on. Random states are not: each epoch is seeded."""
    progress = learner.progress
    _save(
        {
            "key": job.key,
            "fold": job.fold.index,
            "network": learner.network.state_dict(),
            "optimizer": learner.optimizer.state_dict(),
            "scheduler": learner.scheduler.state_dict(),
            "scaler": learner.scaler.state_dict(),
            "num_epochs": progress.num_epochs,
            "best_epoch": progress.best_epoch,
            "best_value": progress.best_value,
            "record": progress.record,
        },
        job.fold_dir / "last.pt",
    )


def resume(learner: Learner, job: FoldJob) -> None:
    """Continue from `last.pt` where there is one."""
    path = job.fold_dir / "last.pt"
    if not path.exists():
        return
    state = load_checkpoint(path, job)
    learner.network.load_state_dict(state["network"])
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.scheduler.load_state_dict(state["scheduler"])
    learner.scaler.load_state_dict(state["scaler"])
    learner.progress = Progress(
        state["num_epochs"], state["best_epoch"], state["best_value"], state["record"]
    )


def save_best(learner: Learner, job: FoldJob, normalisation: Normalisation) -> None:
    """Write `best.pt`: the network as it stands, with what is needed to use it."""
    _save(
        {
            "key": job.key,
            "fold": job.fold.index,
            "epoch": learner.progress.best_epoch,
            "network": learner.network.state_dict(),
            "classes": list(job.manifest.classes),
            "mean": list(normalisation.mean),
            "std": list(normalisation.std),
        },
        job.fold_dir / "best.pt",
    )


def load_best(learner: Learner, job: FoldJob) -> None:
    """Put the best epoch's weights into the network."""
    state = load_checkpoint(job.fold_dir / "best.pt", job)
    assert state["epoch"] == learner.progress.best_epoch, "best.pt is of another epoch"
    learner.network.load_state_dict(state["network"])


def load_checkpoint(path: Path, job: FoldJob) -> dict[str, Any]:
    """Read a checkpoint of this very fold and run.

    Raises:
        UserError: when it is damaged or belongs to another fold, plan, manifest or config.
    """
    try:
        _check_sums(path)
        state: dict[str, Any] = torch.load(path, map_location=job.device, weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} is damaged (it holds something other than numbers and text, and is not opened "
            "further); delete it to train anew."
        ) from None
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (a damaged file makes torch raise almost anything)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged ({reason}); delete it to train anew.") from None
    if not isinstance(state, dict):
        raise UserError(f"{path} is damaged (it holds no checkpoint); delete it to train anew.")
    if state.get("key") != job.key or state.get("fold") != job.fold.index:
        raise UserError(
            f"{path} belongs to fold {state.get('fold')} of run {str(state.get('key'))[:12]}, not "
            f"to fold {job.fold.index} of run {job.key[:12]}; it is never loaded here."
        )
    return state


def _check_sums(path: Path) -> None:
    """torch writes a checksum of every tensor but never looks at it."""
    with ZipFile(path) as archive:
        if broken := archive.testzip():
            raise BadZipFile(f"the checksum of {broken} is wrong")


def _save(state: dict[str, Any], path: Path) -> None:
    """Write under a temporary name and rename: a checkpoint is whole or not there."""
    with replacing(path) as file:
        torch.save(state, file)
