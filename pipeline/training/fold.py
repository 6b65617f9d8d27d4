"""Train one fold, choose its epoch and threshold on val, then open the test part once.

A training on everybody is the same without val and test: how long it goes on is settled before.
"""

import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from pipeline.config import TrainingConfig
from pipeline.console import tell
from pipeline.images.batches import BatchSource
from pipeline.tracking.journal import EpochEnded, Journal, Progressed
from pipeline.training.checkpoint import load_best, reopen, resume, save_epoch
from pipeline.training.closing import close, close_untested, judged, selecting
from pipeline.training.device import folds_on_a_gpu
from pipeline.training.epoch import TrainPart, outputs, train_epoch
from pipeline.training.frozen import with_head
from pipeline.training.job import FoldJob
from pipeline.training.judge import Judge
from pipeline.training.learner import Learner, build_learner
from pipeline.training.parallel import ALONE, Worker
from pipeline.training.progress import Progress


def train_fold(job: FoldJob, worker: Worker = ALONE) -> None:
    """Train to the end, from where an earlier worker stopped; `result.json` marks it done.

    Where nobody is left to test, as little is judged, and `final.json` marks it done.

    Where several workers train the fold, each is in here, and one of them writes.
    """
    started = time.monotonic()
    learner = replace(build_learner(job), worker=worker)
    normalisation = job.normalisation
    sharing = folds_on_a_gpu(job.config.engine)
    crop = job.config.augment.crop
    source = BatchSource.open(job.images, normalisation, learner.device, crop, sharing)
    tell(source.describe(), sys.stderr)  # output.log, in a worker
    progress = resume(learner, job)
    learner.share_weights()
    journal = reopen(learner, progress, job, normalisation) if worker.is_main else None
    with journal or nullcontext():
        with worker.main_first("features"):
            trained, seen = with_head(learner, job, source, normalisation)
        train = TrainPart(job, seen, worker)
        while not _is_finished(progress, job.config.training):
            progress = _train_epoch(trained, progress, train, journal)
            if journal is not None:
                save_epoch(learner, progress, job, normalisation, journal)
    with worker.main_first("best.pt"):
        load_best(learner, progress, job)
    facts = {
        "precision": str(learner.precision).removeprefix("torch."),
        "num_parameters": sum(p.numel() for p in learner.network.parameters() if p.requires_grad),
        "normalisation": {"mean": normalisation.mean, "std": normalisation.std},
        "seconds": time.monotonic() - started,
    }
    if job.settled is None:
        close(Judge(job, partial(outputs, learner, source, job)), progress, facts, worker.is_main)
    elif worker.is_main:
        close_untested(job, progress, facts)


def _train_epoch(
    learner: Learner, progress: Progress, train: TrainPart, journal: Journal | None
) -> Progress:
    """Train and validate once more; nothing is saved yet. `journal`: None where another writes."""
    job, epoch, started = train.job, progress.num_epochs + 1, time.monotonic()

    def report(done: int, of: int, speed: float) -> None:
        if journal is not None:
            journal.append(Progressed(epoch=epoch, done=done, of=of, images_per_s=speed))

    lr = learner.optimizer.param_groups[0]["lr"]
    learnt = train_epoch(learner, train, epoch, report)
    speed = len(train.rows) / (time.monotonic() - started)
    values: dict[str, float | None] = {}
    if job.settled is None:
        judge = Judge(job, partial(outputs, learner, train.source, job))
        values = learner.worker.agreed(judge.validate())
        learner.scheduler.after_epoch(selecting(values, job.config.training.select_by))
    else:
        learner.scheduler.after_epoch(job.settled.validation_after(epoch))
        del learnt["train/image/accuracy"]  # it would pass for how good the network is
    progress = judged(progress, job, values)
    ended = EpochEnded(
        epoch=epoch,
        metrics={**learnt, "train/lr": lr, "train/images_per_s": speed, **values},
        best=progress.is_best,
        left_s=(time.monotonic() - started) * (job.config.training.epochs - epoch),
    )
    return replace(progress, last=ended)


def _is_finished(progress: Progress, config: TrainingConfig) -> bool:
    out_of_patience = 0 < config.patience <= progress.epochs_since_best
    return progress.num_epochs >= config.epochs or out_of_patience
