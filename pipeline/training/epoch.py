"""The loop: one pass over the train part, and predictions for any part."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import Floats32, Ints
from pipeline.config import UserError
from pipeline.images.augment import Augmented
from pipeline.images.batches import BatchSource
from pipeline.images.loader import RandomTransforms
from pipeline.images.prefetch import prefetched
from pipeline.images.sampler import draw_epoch
from pipeline.training.evaluated import EVAL_BATCH, bounds
from pipeline.training.job import FoldJob, seed_for
from pipeline.training.layout import in_layout
from pipeline.training.learner import Learner, seed_everything
from pipeline.training.loss import WeightedLoss, num_right, probabilities
from pipeline.training.parallel import ALONE, Worker

REPORT_EVERY_S = 10.0
DIVERGED = "try a smaller optimizer.lr, or training.precision=float32."

Report = Callable[[int, int, float], None]  # images done, of so many, images per second


class Batch(NamedTuple):
    """A worker's images of a batch, if any, and their place in an optimizer step."""

    images: Tensor
    """(B, C, ...), augmented and normalised."""
    labels: Tensor
    """(B,) class indices; multilabel: (B, L) 0 or 1."""
    weights: Tensor
    """(B,) what each image counts in the loss."""
    share: float
    """Of the step's images."""
    is_last: bool
    """Of its step."""
    num_images: int
    """Of the batch, of all workers together."""
    mixed_in: tuple[Tensor, Tensor] | None = None
    """Of mixup: labels and weights of the other images that are seen in these."""

    def loss(self, function: WeightedLoss, logits: Tensor) -> Tensor:
        """The mean over the images; a mixed one counts for both labels, by their shares."""
        own: Tensor = function(logits, self.labels, self.weights)
        return own if self.mixed_in is None else own + function(logits, *self.mixed_in)


class TrainPart:
    """The train part of a fold, ready to be drawn from."""

    def __init__(self, job: FoldJob, source: BatchSource, worker: Worker = ALONE) -> None:
        config = job.config
        self.job = job
        self.worker = worker
        self.source = source
        self.rows = job.rows("train")
        self.labels = targets_of(job, slice(None)).to(source.device)
        self.weights = torch.from_numpy(job.emphasis.weights).to(source.device, torch.float32)
        self.transforms: RandomTransforms | None = None
        self.is_ahead = source.is_far and not config.augment.transforms
        if config.augment.transforms:
            workers = config.engine.loader_workers
            self.transforms = RandomTransforms(source, config.augment, workers)

    def seed(self, epoch: int, purpose: int = 0) -> int:
        """Of an epoch, which counts from 1; seeds have counted from 0 ever since, and still do."""
        job = self.job
        return seed_for(job.config.training.seed, job.fold.index, epoch - 1, purpose)

    def batches(self, epoch: int) -> Generator[Batch]:
        """The worker's shard of each batch of an epoch, on the device; made ahead where that pays.

        Close it where the epoch may end early.
        """
        made = self._batches(epoch)
        yield from prefetched(made, self.source.device) if self.is_ahead else made

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """The batches, and what is drawn for each image, do not depend on the number of workers."""
        config, seed = self.job.config, self.seed(epoch)
        order = draw_epoch(
            self.job.emphasis.drawing, config.sampler.balance, np.random.default_rng(seed)
        )
        rows = self.rows[order]
        batches = _split(np.arange(len(rows)), config.training.batch_size)
        least = min(2, self.job.images_per_worker)
        shards = [self.worker.shard(places, least) for places in batches]
        drawn = Augmented(self.source, config.augment, rows, seed)
        if self.transforms is not None:
            images = self.transforms.batches(rows, shards, seed)
        else:
            images = (
                drawn.at(places.numpy()) if len(places) else torch.empty(0) for places in shards
            )
        size = self.job.batches_per_step
        for number, (places, picture) in enumerate(zip(shards, images, strict=True), 1):
            labels, weights = self._targets(rows[places.numpy()])
            mixed_in = None
            if (mixing := drawn.mixing(places.numpy())) is not None:
                others, of_others = self._targets(rows[mixing.partners])
                shares = torch.from_numpy(mixing.shares).to(weights)
                weights, mixed_in = weights * shares, (others, of_others * (1 - shares))
            begin = (number - 1) // size * size
            share = len(places) / sum(map(len, batches[begin : begin + size]))
            is_last = number % size == 0 or number == len(batches)
            num_images = len(batches[number - 1])
            yield Batch(picture, labels, weights, share, is_last, num_images, mixed_in)

    def _targets(self, rows: Ints) -> tuple[Tensor, Tensor]:
        """Labels and weights of the samples at `rows`."""
        at = torch.from_numpy(rows).to(self.labels.device)
        return self.labels[at], self.weights[at]


def train_epoch(learner: Learner, part: TrainPart, epoch: int, report: Report) -> dict[str, float]:
    """One pass over the train part -> mean loss, accuracy, and mean norm of the gradients.

    All are of images as they were drawn and augmented, while the network was learning from them.

    Raises:
        UserError: when the loss is not finite.
    """
    learner.train()
    network = learner.running
    seed_everything(learner.worker.own_seed(part.seed(epoch, purpose=2)))
    total, norms = (torch.zeros((), device=learner.device) for _ in range(2))
    right = torch.zeros((), dtype=torch.int64, device=learner.device)
    done, num_steps, started = 0, 0, time.monotonic()
    last_report = started
    with closing(part.batches(epoch)) as batches:
        for batch in batches:
            if len(batch.labels):
                with learner.autocast():
                    logits = network(in_layout(batch.images, learner.layout))
                    loss = batch.loss(learner.loss, logits)
                learner.scaler.scale(loss * batch.share).backward()  # type: ignore[no-untyped-call]
                total += loss.detach() * len(batch.labels)
                right += num_right(logits.detach(), batch.labels)
            if batch.is_last:
                norms += learner.step()
                num_steps += 1
            done += batch.num_images
            if (now := time.monotonic()) - last_report > REPORT_EVERY_S:
                report(done, len(part.rows), done / (now - started))
                last_report = now
    learner.share_buffers()
    total, right = learner.worker.total(total, right)
    mean = float(total) / done
    if not np.isfinite(mean):
        raise UserError(f"the training loss is {mean} in epoch {epoch}: {DIVERGED}")
    return {
        "train/loss": mean,
        "train/image/accuracy": int(right) / (done * part.labels[0].numel()),
        "train/grad_norm": float(norms) / num_steps,
    }


@torch.inference_mode()
def predict(learner: Learner, source: BatchSource, rows: Ints) -> Tensor:
    """(N, C) logits of the samples at `rows`, in order, on the device.

    UserError when the network gives something that is not finite: its last step has diverged.
    """
    network = learner.judged.eval().get_submodule(learner.head)
    batches, logits = _split(rows, EVAL_BATCH[source.device.type]), []
    for batch in learner.worker.own(batches):
        with learner.autocast():
            images = in_layout(source.gather(batch), learner.layout)
            logits.append(network(images).float())
    everything = learner.worker.gathered(logits, batches).to(learner.device)
    if num_bad := int((~everything.isfinite().all(dim=1)).sum()):
        raise UserError(
            f"the network's output is nan or infinite for {num_bad} of {len(rows)} images, though "
            f"the training loss was finite: the training has diverged in its last steps; {DIVERGED}"
        )
    return everything


def outputs(
    learner: Learner, source: BatchSource, job: FoldJob, rows: Ints
) -> tuple[Floats32, float]:
    """(N, C) probabilities of the samples at `rows`, in order, and their loss."""
    logits = predict(learner, source, rows)
    labels = targets_of(job, rows).to(logits.device)
    weights = torch.from_numpy(job.emphasis.weights[rows]).to(logits)
    with torch.inference_mode():
        loss = float(learner.loss(logits, labels, weights))
        found = probabilities(logits, job.output, job.logit_shift)
    return found.cpu().numpy(), loss


def targets_of(job: FoldJob, rows: Ints | slice) -> Tensor:
    """(N,) class indices of the samples at `rows`; multilabel: (N, L) 0 or 1, as numbers."""
    labels = torch.from_numpy(job.manifest.labels[rows])
    return labels.to(torch.float32) if job.manifest.is_multilabel else labels


def _split(rows: Ints, size: int) -> list[Tensor]:
    """`rows` in batches of `bounds`."""
    everything = torch.from_numpy(rows)
    return [everything[begin:end] for begin, end in bounds(len(rows), size)]
