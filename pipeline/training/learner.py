"""Everything a fold trains with, built from the config, in one place."""

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from pipeline.config import ConfigError, TrainingConfig
from pipeline.models import freeze, initialise
from pipeline.models.size import smallest_side
from pipeline.targets import build, check_leaves
from pipeline.training.average import MovingAverage
from pipeline.training.job import FoldJob, seed_for
from pipeline.training.layout import Layout, in_layout, layout_of
from pipeline.training.loss import WeightedLoss, build_loss
from pipeline.training.optimizer import fused
from pipeline.training.parallel import ALONE, Worker
from pipeline.training.precision import precision_on
from pipeline.training.schedule import Schedule
from pipeline.training.start import begin
from pipeline.training.torch_file import first_line
from pipeline.training.volumes import ADVICE


@dataclass
class Learner:
    network: nn.Module
    loss: WeightedLoss
    optimizer: Optimizer
    scheduler: Schedule
    scaler: torch.amp.GradScaler
    precision: torch.dtype
    device: torch.device
    clip_norm: float
    layout: Layout = torch.contiguous_format
    """In which order a batch's values lie in memory when the network gets them."""
    is_compiled: bool = False
    averaged: MovingAverage | None = None
    """The moving average of the weights, where that is what is judged and kept."""
    frozen: tuple[nn.Module, ...] = ()
    """Parts of the network that training leaves as they are."""
    start: tuple[str, ...] = ()
    """What was taken over from `init.weights`, in lines."""
    worker: Worker = ALONE
    """This process, of those that train the fold together."""
    head: str = ""
    """The one part that runs, on what the rest, which is frozen, made of the images; "": all."""

    def train(self) -> nn.Module:
        """The network, set to train; what is frozen stays in evaluation mode."""
        self.network.train()
        for module in self.frozen:
            module.eval()
        return self.network

    @cached_property
    def running(self) -> Callable[[Tensor], Tensor]:
        """What training runs of the network: compiled, if asked for; its weights are the same."""
        module = self.network.get_submodule(self.head)
        return torch.compile(module) if self.is_compiled else module

    @property
    def judged(self) -> nn.Module:
        """The network that predicts."""
        return self.network if self.averaged is None else self.averaged.module

    @property
    def states(self) -> dict[str, Any]:
        """By name, all that has to be saved to go on. Random states have not: epochs are seeded."""
        names = ["network", "optimizer", "scheduler", "scaler"]
        if self.averaged is not None:
            names.append("averaged")
        return {name: getattr(self, name) for name in names}

    def step(self) -> Tensor:
        """One step along the gradients that were gathered; returns their norm before clipping.

        0 where float16 has overflowed: the scaler leaves such a step out.
        """
        self.worker.sum_gradients(self.network.parameters())
        self.scaler.unscale_(self.optimizer)
        weights: list[Tensor] = list(self.network.parameters())
        norm = get_total_norm([p.grad for p in weights if p.grad is not None])
        if self.clip_norm:
            clip_grads_with_norm_(weights, self.clip_norm, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.averaged is not None:
            self.averaged.follow(weights, list(self.network.buffers()))
        self.scheduler.after_step()
        return norm.nan_to_num(0, 0, 0)

    def share_weights(self) -> None:
        """Before training: whatever drew them, all workers begin with those of the main one."""
        self.worker.share_weights(self.network, *self._copies)

    def share_buffers(self) -> None:
        """After training, before anything is predicted or saved: the same for all workers."""
        self.worker.share_buffers(self.network, *self._copies)

    @property
    def _copies(self) -> list[nn.Module]:
        return [] if self.averaged is None else [self.averaged.module]

    def autocast(self) -> torch.autocast:
        mixed = self.precision != torch.float32
        return torch.autocast(self.device.type, dtype=self.precision, enabled=mixed)


def build_learner(job: FoldJob) -> Learner:
    """What a fold begins with; ConfigError when a leaf of the config cannot be made."""
    config, device = job.config, torch.device(job.device)
    seed_everything(seed_for(config.training.seed, job.fold.index, 0, purpose=1))
    facts = facts_of(job)
    network: nn.Module = build("model", config.model, facts)
    initialise(network, config.init.scheme)
    start = begin(network, job)
    frozen = freeze(network, config.training.freeze)
    network.to(device)
    seen = (job.images.num_channels, *job.seen_shape)
    layout = layout_of(network, seen, job.device, config.training.channels_last)
    parameters = _parameters(network, config.training)
    leaf = fused(config.optimizer, list(network.parameters()))
    optimizer = build("optimizer", leaf, params=parameters)
    schedule = Schedule(
        build("scheduler", config.scheduler, facts, optimizer=optimizer),
        optimizer,
        round(config.training.warmup_epochs * job.steps_per_epoch),
        is_stepwise="@num_steps" in config.scheduler.values(),
    )
    decay = config.training.average
    precision = precision_on(device, config.training.precision)
    return Learner(
        network=network,
        loss=build_loss(config.loss, job.emphasis.adjustment, job.output).to(device),
        optimizer=optimizer,
        scheduler=schedule,
        scaler=torch.amp.GradScaler(device.type, enabled=precision == torch.float16),
        precision=precision,
        device=device,
        clip_norm=config.training.clip_norm,
        layout=layout,
        is_compiled=config.training.compile,
        averaged=MovingAverage(network, decay) if decay else None,
        frozen=frozen,
        start=tuple(start),
    )


def facts_of(job: FoldJob) -> dict[str, object]:
    """What "@name" in a config stands for."""
    training = job.config.training
    seen = (job.images.num_channels, *job.seen_shape)
    return {
        **facts_of_network(seen, len(job.manifest.classes)),
        "num_epochs": training.epochs,
        "num_steps": job.steps_per_epoch * training.epochs,
        "select_mode": training.select_mode,
    }


def facts_of_network(shape: Sequence[int], num_classes: int) -> dict[str, object]:
    """What "@name" stands for in a model that sees images (C, ...) of this shape."""
    return {
        "num_channels": shape[0],
        "num_classes": num_classes,
        "spatial_dims": len(shape) - 1,
        "spatial_size": list(shape[1:]),
    }


def _parameters(network: nn.Module, config: TrainingConfig) -> list[Any]:
    """What the optimizer moves; biases and norms (of one axis) apart where they do not decay."""
    parameters = [p for p in network.parameters() if p.requires_grad or not config.freeze]
    if config.decay == "all":
        return parameters
    weights = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    return [{"params": weights}, {"params": others, "weight_decay": 0.0}]


def seed_everything(seed: int) -> None:
    """Seed every generator that a network or transform may draw from."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def try_out(job: FoldJob) -> tuple[str, ...]:
    """Build everything once and send some images through, before any fold is started.

    Returns what is to be said about the weights to begin with.
    ConfigError for a leaf that is not what its setting needs, arguments that it does not take, a
    network that cannot take the images, a schedule that ends too early, or a loss that cannot take
    the network's logits.
    """
    check_leaves(job.config)
    num_classes = len(job.manifest.classes)
    num_images = 4 if num_classes == 3 else 3  # or one axis could be taken for the other
    with _size_explained(job):
        learner = build_learner(job)
        logits = _try_network(job, learner.network.eval(), num_images)
        _try_network(job, learner.train(), min(num_images, job.images_per_worker))
        _try_compiled(learner, job)
    _try_schedule(job, learner.scheduler)
    labels = torch.arange(num_images, device=learner.device) % num_classes
    expected, kind = tuple(labels.shape), "class indices"
    if job.output == "labels":
        labels, kind = one_hot(labels, num_classes).to(logits), "labels of 0 and 1"
    _try(
        f"loss.function: {job.config.loss.function['_target_']}",
        partial(learner.loss.function, logits, labels),
        f"logits {tuple(logits.shape)} and {kind} {tuple(labels.shape)}",
        f"one value per image, shape {expected}",
        expected,
    )
    return learner.start


def _try_network(job: FoldJob, network: nn.Module, num_images: int) -> Tensor:
    """The logits of images that are all 0; training can fail where evaluation does not."""
    shape = (num_images, job.images.num_channels, *job.seen_shape)
    expected = (num_images, len(job.manifest.classes))
    advice = f"; {ADVICE}" if job.config.images.spatial_dims == 3 else ""
    if network.training:
        enough = 2 * job.config.engine.devices_per_fold
        advice = f"; set training.batch_size={enough} or more" if num_images == 1 else ""
    return _try(
        f"model: {job.config.model['_target_']}",
        partial(network, torch.zeros(shape, device=job.device)),
        f"{f'a training batch of {num_images} ' if network.training else ''}images {shape[1:]}",
        f"logits of shape {expected}",
        expected,
        advice,
    )


def _try_compiled(learner: Learner, job: FoldJob) -> None:
    """One training step's passes, where training.compile asks for it: a compiler may be missing."""
    if not learner.is_compiled:
        return
    shape = (job.images_per_worker, job.images.num_channels, *job.seen_shape)
    images = in_layout(torch.zeros(shape, device=learner.device), learner.layout)
    try:
        with learner.autocast():
            loss = learner.running(images).sum()
        loss.backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001  (compilers fail in any way)
        problem = f"training.compile=true: {first_line(error)}; set training.compile=false"
        raise ConfigError([problem]) from None


def _try_schedule(job: FoldJob, schedule: Schedule) -> None:
    """Move it as the epochs will: some end after so many moves, and fail on the next one."""
    name, num_epochs = job.config.scheduler["_target_"], job.config.training.epochs
    for epoch in range(1, num_epochs + 1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the optimizer has made no step
                schedule.after_epoch(0.0)
        except Exception as error:  # noqa: BLE001  (somebody else's may fail in any way)
            problem = f"scheduler: {name} fails after epoch {epoch} of {num_epochs}: "
            raise ConfigError([problem + first_line(error)]) from None


def _try(
    name: str,
    call: Callable[[], Tensor],
    given: str,
    promised: str,
    expected: tuple[int, ...],
    advice: str = "",
) -> Tensor:
    """What a leaf makes of what it is given, of the expected shape, or a ConfigError."""
    try:
        with torch.inference_mode():
            made = call()
    except Exception as error:  # noqa: BLE001  (a network or loss may fail in any way)
        raise ConfigError([f"{name} fails on {given}: {first_line(error)}{advice}"]) from None
    found = tuple(made.shape) if isinstance(made, Tensor) else f"a {type(made).__name__}"
    if found != expected:
        raise ConfigError([f"{name} must give {promised} for {expected[0]} images, got {found}"])
    return made


@contextmanager
def _size_explained(job: FoldJob) -> Iterator[None]:
    """Where the images are too small for the network, a ConfigError says so and nothing else."""
    try:
        yield
    except ConfigError:
        leaf, facts, found = job.config.model, facts_of(job), job.seen_shape

        def make(size: Sequence[int]) -> nn.Module:
            network: nn.Module = build("model", leaf, {**facts, "spatial_size": list(size)})
            return network

        side = smallest_side(make, job.images.num_channels, len(found))
        if side is None or side <= min(found):
            raise
        setting = "images.size" if job.config.augment.crop is None else "augment.crop"
        problem = (
            f"model: {leaf['_target_']} takes images of {side} pixels along each side or more, "
            f"got {' x '.join(map(str, found))}: set {setting}=[{side}] or more, or choose "
            "another model"
        )
        raise ConfigError([problem]) from None
