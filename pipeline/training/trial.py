"""A few steps of training outside of a run: on the train part, with a constant learning rate."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import Ints
from pipeline.config import UserError
from pipeline.images.augment import Augmented
from pipeline.images.batches import BatchSource
from pipeline.training.epoch import DIVERGED, TrainPart
from pipeline.training.job import FoldJob
from pipeline.training.layout import in_layout
from pipeline.training.learner import Learner, build_learner, seed_everything
from pipeline.training.settled import CONSTANT


def begin_trial(job: FoldJob) -> tuple[Learner, TrainPart]:
    """The fold's network and train part as it would begin, without schedule or average."""
    training = replace(job.config.training, warmup_epochs=0.0, average=0.0)
    job = replace(job, config=replace(job.config, scheduler=CONSTANT, training=training))
    return build_learner(job), open_part(job)


def open_part(job: FoldJob) -> TrainPart:
    """The fold's train part, and all images normalised by it."""
    source = BatchSource.open(
        job.images, job.normalisation, torch.device(job.device), job.config.augment.crop
    )
    return TrainPart(job, source)


def plain(part: TrainPart, rows: Ints) -> Tensor:
    """(B, C, ...) the images at `rows`, normalised."""
    return part.source.gather(torch.from_numpy(rows))


def augmented(part: TrainPart, rows: Ints, seed: int) -> Tensor:
    """(B, C, ...) the images at `rows` as training would see them."""
    places = np.arange(len(rows))
    if part.transforms is not None:
        return next(part.transforms.batches(rows, [torch.from_numpy(places)], seed))
    return Augmented(part.source, part.job.config.augment, rows, seed).at(places)


def losses_of_steps(learner: Learner, part: TrainPart) -> Iterator[float]:
    """Steps of the optimizer, epoch after epoch without end: the loss before each of them."""
    learner.train()
    epoch = 0
    while True:
        epoch += 1
        seed_everything(part.seed(epoch, purpose=2))
        total = 0.0
        for batch in part.batches(epoch):
            with learner.autocast():
                logits = learner.network(in_layout(batch.images, learner.layout))
                loss = batch.loss(learner.loss, logits)
            learner.scaler.scale(loss * batch.share).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach()) * batch.share
            if batch.is_last:
                learner.step()
                yield total
                total = 0.0


def train_steps(learner: Learner, part: TrainPart, num_steps: int) -> None:
    """Train for so many steps; UserError when the loss is not finite."""
    for number, loss in zip(range(1, num_steps + 1), losses_of_steps(learner, part), strict=False):
        if not math.isfinite(loss):
            raise UserError(f"the training loss is {loss} after {number} steps: {DIVERGED}")
