"""The loop: one pass over the train part, and predictions for any part."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import Ints
from pipeline.config import UserError
from pipeline.images.augment import augment_batch
from pipeline.images.batches import BatchSource
from pipeline.images.loader import RandomTransforms
from pipeline.images.sampler import draw_epoch
from pipeline.training.job import FoldJob, seed_for
from pipeline.training.learner import Learner, seed_everything

REPORT_EVERY_S = 10.0
EVAL_BATCH = {"cpu": 64, "cuda": 256}
"""Images a forward pass takes at once: what fits a CPU's cache, what fills a GPU."""

DIVERGED = "try a smaller optimizer.lr, or training.precision=float32."

Report = Callable[[int, int, float], None]  # images done, of so many, images per second


class TrainPart:
    """The train part of a fold, ready to be drawn from."""

    def __init__(self, job: FoldJob, source: BatchSource) -> None:
        config = job.config
        self.job = job
        self.source = source
        self.rows = job.rows("train")
        self.labels = torch.from_numpy(job.manifest.labels).to(source.device)
        self.weights = torch.from_numpy(job.emphasis.weights).to(source.device, torch.float32)
        self.transforms: RandomTransforms | None = None
        if config.augment.transforms:
            workers = config.engine.loader_workers
            self.transforms = RandomTransforms(source, config.augment, workers)

    def seed(self, epoch: int, purpose: int = 0) -> int:
        """Of an epoch, which counts from 1; seeds have counted from 0 ever since, and still do."""
        job = self.job
        return seed_for(job.config.training.seed, job.fold.index, epoch - 1, purpose)

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Augmented images (B, C, ...), labels (B,) and weights (B,) of an epoch, on the device."""
        config, seed = self.job.config, self.seed(epoch)
        order = draw_epoch(
            self.job.emphasis.drawing, config.sampler.balance, np.random.default_rng(seed)
        )
        rows = _split(self.rows[order], config.training.batch_size)
        if self.transforms is not None:
            images = self.transforms.batches(rows, seed)
        else:
            generator = torch.Generator(self.source.device).manual_seed(seed)
            images = (
                augment_batch(self.source.gather(batch), config.augment, generator)
                for batch in rows
            )
        for batch, picture in zip(rows, images, strict=True):
            at = batch.to(self.labels.device)
            yield picture, self.labels[at], self.weights[at]


def train_epoch(learner: Learner, part: TrainPart, epoch: int, report: Report) -> float:
    """One pass over the train part -> its mean loss; UserError when that is not finite."""
    learner.network.train()
    seed_everything(part.seed(epoch, purpose=2))
    total = torch.zeros((), device=learner.device)
    done, started = 0, time.monotonic()
    last_report = started
    for images, labels, weights in part.batches(epoch):
        with learner.autocast():
            loss = learner.loss(learner.network(images), labels, weights)
        learner.optimizer.zero_grad(set_to_none=True)
        learner.scaler.scale(loss).backward()
        learner.scaler.step(learner.optimizer)
        learner.scaler.update()
        total += loss.detach() * len(labels)
        done += len(labels)
        if (now := time.monotonic()) - last_report > REPORT_EVERY_S:
            report(done, len(part.rows), done / (now - started))
            last_report = now
    mean = float(total) / done
    if not np.isfinite(mean):
        raise UserError(f"the training loss is {mean} in epoch {epoch}: {DIVERGED}")
    return mean


@torch.inference_mode()
def predict(learner: Learner, source: BatchSource, rows: Ints) -> Tensor:
    """(N, C) logits of the samples at `rows`, in order, on the device.

    UserError when the network gives something that is not finite: its last step has diverged.
    """
    learner.network.eval()
    logits = []
    for batch in _split(rows, EVAL_BATCH[source.device.type]):
        with learner.autocast():
            logits.append(learner.network(source.gather(batch)).float())
    everything = torch.cat(logits)
    if num_bad := int((~everything.isfinite().all(dim=1)).sum()):
        raise UserError(
            f"the network's output is nan or infinite for {num_bad} of {len(rows)} images, though "
            f"the training loss was finite: the training has diverged in its last steps; {DIVERGED}"
        )
    return everything


def _split(rows: Ints, size: int) -> list[Tensor]:
    """`rows` in batches; a last batch of one joins its neighbour, for batch norm needs two."""
    batches = list(torch.split(torch.from_numpy(rows), size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches
