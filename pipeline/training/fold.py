"""Train one fold, choose its epoch and threshold on val, then open the test part once."""

import os
import time

from pipeline.config import UserError
from pipeline.evaluation import write_predictions
from pipeline.files import sha256, write_json
from pipeline.images.batches import BatchSource
from pipeline.images.packed import Normalisation
from pipeline.tracking import Journal, read_journal
from pipeline.training.checkpoint import load_best, resume, save_best, save_last
from pipeline.training.epoch import TrainPart, train_epoch
from pipeline.training.job import FoldJob
from pipeline.training.judge import Judge
from pipeline.training.learner import Learner, build_learner, count_parameters


def train_fold(job: FoldJob) -> None:
    """Train to the end, from where an earlier worker stopped; `result.json` marks it done."""
    started = time.monotonic()
    learner = build_learner(job)
    normalisation = job.images.fit_normalisation(job.rows("train"))
    source = BatchSource.open(job.images, normalisation, learner.device)
    resume(learner, job)
    journal = _open_journal(job, learner, normalisation)
    train = TrainPart.of(job, source)
    while not _is_finished(learner, job):
        _one_epoch(learner, train, journal, normalisation)
    load_best(learner, job)
    _judge(Judge(learner, source, job), normalisation, started)


def _judge(judge: Judge, normalisation: Normalisation, started: float) -> None:
    """Fix everything that val decides, then open the test part; `result.json` comes last."""
    job, progress = judge.job, judge.learner.progress
    val = judge.predict("val")
    thresholds = judge.thresholds(val)
    write_predictions(judge.decided(val, thresholds), job.fold_dir / "predictions_val.csv")
    test = judge.predict("test")
    write_predictions(judge.decided(test, thresholds), job.fold_dir / "predictions_test.csv")
    result = {
        "fold": job.fold.index,
        "key": job.key,
        "best_epoch": progress.best_epoch,
        "num_epochs": progress.num_epochs,
        "select_by": job.config.training.select_by,
        "select_value": progress.best_value,
        "thresholds": thresholds,
        "normalisation": {"mean": normalisation.mean, "std": normalisation.std},
        "val": judge.levels(val, thresholds),
        "test": judge.levels(test, thresholds),
        "num_parameters": count_parameters(judge.learner.network),
        "device": job.device,
        "best_sha256": sha256(job.fold_dir / "best.pt"),
        "seconds": time.monotonic() - started,
        "time": time.time(),
    }
    write_json(job.fold_dir / "result.json", result)


def _one_epoch(
    learner: Learner, train: TrainPart, journal: Journal, normalisation: Normalisation
) -> None:
    """Train, validate, and save: first `last.pt`, then `best.pt`, then the journal's line.

    In this order a kill at any moment loses nothing and doubles nothing: what is missing after
    `last.pt` is made up for when the fold is opened again.
    """
    job, epoch, started = train.job, learner.progress.num_epochs, time.monotonic()

    def report(done: int, of: int, speed: float) -> None:
        journal.append(
            {"event": "progress", "epoch": epoch, "done": done, "of": of, "images_per_s": speed}
        )

    lr = learner.optimizer.param_groups[0]["lr"]
    loss = train_epoch(learner, train, epoch, report)
    speed = len(train.rows) / (time.monotonic() - started)
    values = Judge(learner, train.source, job).validate()
    select_value = values[job.config.training.select_by]
    if select_value is None:
        raise UserError(
            f"{job.config.training.select_by} cannot be computed: a class has no sample in the "
            "validation part. Use fewer folds, or training.select_by=val/loss."
        )
    learner.step_scheduler(select_value)
    learner.progress.note(select_value, job.config.training.select_mode)
    seconds = time.monotonic() - started
    learner.progress.record = {
        "event": "epoch",
        "time": time.time(),
        "epoch": epoch,
        "metrics": {"train/loss": loss, "train/lr": lr, "train/images_per_s": speed, **values},
        "best": learner.progress.is_best,
        "left_s": seconds * (job.config.training.epochs - learner.progress.num_epochs),
    }
    save_last(learner, job)
    if learner.progress.is_best:
        save_best(learner, job, normalisation)
    journal.append(learner.progress.record)


def _open_journal(job: FoldJob, learner: Learner, normalisation: Normalisation) -> Journal:
    """Open the journal and make up for what a kill after `last.pt` left out."""
    progress = learner.progress
    path = job.fold_dir / "journal.jsonl"
    journal = Journal(path)
    if progress.num_epochs:
        written = {line["epoch"] for line in read_journal(path) if line["event"] == "epoch"}
        if progress.num_epochs - 1 not in written:
            journal.append(progress.record)
        if progress.is_best:
            save_best(learner, job, normalisation)
    journal.append(
        {
            "event": "start",
            "fold": job.fold.index,
            "epoch": progress.num_epochs,
            "epochs": job.config.training.epochs,
            "device": job.device,
            "pid": os.getpid(),
        }
    )
    return journal


def _is_finished(learner: Learner, job: FoldJob) -> bool:
    training, progress = job.config.training, learner.progress
    out_of_patience = 0 < training.patience <= progress.epochs_since_best()
    return progress.num_epochs >= training.epochs or (progress.num_epochs > 0 and out_of_patience)
