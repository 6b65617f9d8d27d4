"""A fold's state on disk: `last.pt` to go on from, `best.pt` to test, and the journal's line."""

import io
import os
from pathlib import Path
from typing import Any

import torch

from pipeline.config import UserError
from pipeline.files import replacing
from pipeline.images.packed import Normalisation
from pipeline.tracking.journal import (
    VERSION,
    EpochEnded,
    Journal,
    Started,
    read_journal,
    to_event,
    to_record,
)
from pipeline.training.job import FoldJob
from pipeline.training.learner import Learner
from pipeline.training.progress import Progress
from pipeline.training.torch_file import TorchFileError, read_torch_file


def save_epoch(
    learner: Learner,
    progress: Progress,
    job: FoldJob,
    normalisation: Normalisation,
    journal: Journal,
) -> None:
    """Save what an epoch has changed: first `last.pt`, then `best.pt`, then the journal's line.

    In this order a kill at any moment loses nothing and doubles nothing: before `last.pt` the
    epoch is trained again, after it `reopen` makes up for what is missing.
    """
    assert progress.last is not None, "an epoch has a line in the journal"
    save_last(learner, progress, job)
    if progress.is_best:
        save_best(learner, progress, job, normalisation)
    journal.append(progress.last)


def reopen(
    learner: Learner, progress: Progress, job: FoldJob, normalisation: Normalisation
) -> Journal:
    """Make up for what did not follow `last.pt`, which was resumed from, and say so."""
    path = job.fold_dir / "journal.jsonl"
    written = [event.epoch for event in read_journal(path) if isinstance(event, EpochEnded)]
    journal = Journal(path)
    if progress.last is not None:
        if progress.is_best:
            save_best(learner, progress, job, normalisation)
        if progress.num_epochs not in written:
            journal.append(progress.last)
    begun = Started(
        fold=job.fold.index,
        epochs_done=progress.num_epochs,
        epochs=job.config.training.epochs,
        device=job.devices or job.device,
        pid=os.getpid(),
    )
    journal.append(begun)
    return journal


def save_last(learner: Learner, progress: Progress, job: FoldJob) -> None:
    """Write `last.pt`, to go on from."""
    assert progress.last is not None, "an epoch has a line in the journal"
    state = {
        **{name: part.state_dict() for name, part in learner.states.items()},
        "num_epochs": progress.num_epochs,
        "best_epoch": progress.best_epoch,
        "best_value": progress.best_value,
        "record": to_record(progress.last),
    }
    _save(state, job, "last.pt")


def resume(learner: Learner, job: FoldJob) -> Progress:
    """Put the state of `last.pt` into the learner, where there is one."""
    path = job.fold_dir / "last.pt"
    if not path.exists():
        return Progress()
    state = load_checkpoint(path, job)
    for name, part in learner.states.items():
        if name == "scaler" and not state[name]:
            continue  # begun on a device that needs no loss scaling
        part.load_state_dict(state[name])
    last = to_event(state["record"])
    assert isinstance(last, EpochEnded), "last.pt keeps the line of an epoch"
    return Progress(state["num_epochs"], state["best_epoch"], state["best_value"], last)


def save_best(
    learner: Learner, progress: Progress, job: FoldJob, normalisation: Normalisation
) -> None:
    """Write `best.pt`: the network as it stands, with what is needed to use it."""
    state = {
        "epoch": progress.best_epoch,
        "network": learner.judged.state_dict(),
        "classes": list(job.manifest.classes),
        "output": job.output,
        "logit_shift": job.logit_shift.tolist(),
        "shape": list(job.images.array.shape[1:]),
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
    }
    if job.settled is not None:
        state["untested"] = True
    _save(state, job, "best.pt")


def load_best(learner: Learner, progress: Progress, job: FoldJob) -> None:
    """Put the best epoch's weights into the network."""
    state = load_checkpoint(job.fold_dir / "best.pt", job)
    assert state["epoch"] == progress.best_epoch, "best.pt is of another epoch"
    learner.judged.load_state_dict(state["network"])


def load_checkpoint(path: Path, job: FoldJob) -> dict[str, Any]:
    """Read a checkpoint; UserError when it is damaged or not of this very fold and run."""
    return read_checkpoint(path, job.key, job.fold.index, job.device)


def read_checkpoint(path: Path, key: str, fold: int, device: str) -> dict[str, Any]:
    """The same, of a run known by its key."""
    try:
        state = read_torch_file(path, device)
    except TorchFileError as error:
        raise UserError(f"{path} is damaged ({error}); delete it to train anew.") from None
    if state.get("key") != key or state.get("fold") != fold:
        raise UserError(
            f"{path} belongs to fold {state.get('fold')} of run {str(state.get('key'))[:12]}, not "
            f"to fold {fold} of run {key[:12]}; it is never loaded here."
        )
    if "version" not in state:  # written when epochs counted from 0
        state |= {name: state[name] + 1 for name in ("epoch", "best_epoch") if name in state}
    return state


def _save(state: dict[str, Any], job: FoldJob, name: str) -> None:
    """A checkpoint is whole or not there, and knows its version, run and fold."""
    data = io.BytesIO()  # torch tells a full disk as a mistake of its own
    torch.save({"version": VERSION, "key": job.key, "fold": job.fold.index, **state}, data)
    with replacing(job.fold_dir / name, data.tell()) as file:
        file.write(data.getbuffer())
