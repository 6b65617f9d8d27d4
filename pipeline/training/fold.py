"""Train one fold, choose its epoch and threshold on val, then open the test part once."""

import time
from dataclasses import replace

from pipeline.config import TrainingConfig, UserError
from pipeline.evaluation.predictions import write_predictions
from pipeline.files import write_json
from pipeline.images.batches import BatchSource
from pipeline.images.packed import Normalisation
from pipeline.tracking.journal import VERSION, EpochEnded, Journal, Progressed
from pipeline.tracking.result import seal
from pipeline.training.checkpoint import Progress, load_best, reopen, save_epoch
from pipeline.training.epoch import TrainPart, train_epoch
from pipeline.training.job import FoldJob
from pipeline.training.judge import Judge
from pipeline.training.learner import Learner, build_learner


def train_fold(job: FoldJob) -> None:
    """Train to the end, from where an earlier worker stopped; `result.json` marks it done."""
    started = time.monotonic()
    learner = build_learner(job)
    normalisation = job.images.fit_normalisation(job.rows("train"))
    source = BatchSource.open(job.images, normalisation, learner.device)
    progress, journal = reopen(learner, job, normalisation)
    train = TrainPart(job, source)
    with journal:
        while not _is_finished(progress, job.config.training):
            progress = _train_epoch(learner, progress, train, journal)
            save_epoch(learner, progress, job, normalisation, journal)
    load_best(learner, progress, job)
    _judge(Judge(learner, source, job), progress, normalisation, started)


def _judge(judge: Judge, progress: Progress, normalisation: Normalisation, started: float) -> None:
    """Fix everything that val decides, then open the test part; `result.json` comes last."""
    job = judge.job
    val = judge.predict("val")
    thresholds = judge.thresholds(val)
    write_predictions(judge.decided(val, thresholds), job.fold_dir / "predictions_val.csv")
    test = judge.predict("test")
    write_predictions(judge.decided(test, thresholds), job.fold_dir / "predictions_test.csv")
    parameters = judge.learner.network.parameters()
    result = {
        "version": VERSION,
        "fold": job.fold.index,
        "key": job.key,
        "best_epoch": progress.best_epoch,
        "num_epochs": progress.num_epochs,
        "select_by": job.config.training.select_by,
        "select_value": progress.best_value,
        "thresholds": thresholds,
        "trained_under": job.emphasis.prior.tolist(),
        "logit_shift": job.logit_shift.tolist(),
        "normalisation": {"mean": normalisation.mean, "std": normalisation.std},
        "val": judge.metrics(val, thresholds),
        "test": judge.metrics(test, thresholds),
        "num_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "device": job.device,
        "seconds": time.monotonic() - started,
        "time": time.time(),
    }
    write_json(job.fold_dir / "result.json", seal(result, job.fold_dir))


def _train_epoch(
    learner: Learner, progress: Progress, train: TrainPart, journal: Journal
) -> Progress:
    """Train and validate once more; nothing is saved yet."""
    config, epoch, started = train.job.config.training, progress.num_epochs + 1, time.monotonic()

    def report(done: int, of: int, speed: float) -> None:
        journal.append(Progressed(epoch=epoch, done=done, of=of, images_per_s=speed))

    lr = learner.optimizer.param_groups[0]["lr"]
    learnt = train_epoch(learner, train, epoch, report)
    speed = len(train.rows) / (time.monotonic() - started)
    values = Judge(learner, train.source, train.job).validate()
    select_value = values[config.select_by]
    if select_value is None:
        raise UserError(
            f"{config.select_by} cannot be computed: a class has no sample in the validation "
            "part. Use fewer folds, or training.select_by=val/loss."
        )
    learner.scheduler.after_epoch(select_value)
    progress = progress.after(select_value, config.select_mode)
    ended = EpochEnded(
        epoch=epoch,
        metrics={**learnt, "train/lr": lr, "train/images_per_s": speed, **values},
        best=progress.is_best,
        left_s=(time.monotonic() - started) * (config.epochs - epoch),
    )
    return replace(progress, last=ended)


def _is_finished(progress: Progress, config: TrainingConfig) -> bool:
    out_of_patience = 0 < config.patience <= progress.epochs_since_best
    return progress.num_epochs >= config.epochs or out_of_patience
