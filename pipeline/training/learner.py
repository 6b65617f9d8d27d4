"""Everything a fold trains with, built from the config, in one place."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pipeline.config import ConfigError
from pipeline.models import freeze, initialise
from pipeline.models.size import smallest_side
from pipeline.targets import build, check_leaves
from pipeline.training.imbalance import class_weights
from pipeline.training.job import FoldJob, seed_for
from pipeline.training.loss import WeightedLoss, build_loss
from pipeline.training.start import begin
from pipeline.training.volumes import ADVICE


@dataclass
class Learner:
    network: nn.Module
    loss: WeightedLoss
    optimizer: Optimizer
    scheduler: LRScheduler | ReduceLROnPlateau
    scaler: torch.amp.GradScaler
    precision: torch.dtype
    device: torch.device
    frozen: tuple[nn.Module, ...] = ()
    """Parts of the network that training leaves as they are."""
    start: tuple[str, ...] = ()
    """What was taken over from `init.weights`, in lines."""

    def train(self) -> nn.Module:
        """The network, set to train; what is frozen stays in evaluation mode."""
        self.network.train()
        for module in self.frozen:
            module.eval()
        return self.network

    def autocast(self) -> torch.autocast:
        mixed = self.precision != torch.float32
        return torch.autocast(self.device.type, dtype=self.precision, enabled=mixed)

    def step_scheduler(self, select_value: float) -> None:
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(select_value)
        else:
            self.scheduler.step()


def build_learner(job: FoldJob) -> Learner:
    """What a fold begins with; ConfigError when a leaf of the config cannot be made."""
    config, device = job.config, torch.device(job.device)
    seed_everything(seed_for(config.training.seed, job.fold.index, 0, purpose=1))
    network: nn.Module = build("model", config.model, facts_of(job))
    initialise(network, config.init.scheme)
    start = begin(network, job)
    frozen = freeze(network, config.training.freeze)
    network.to(device)
    if device.type == "cuda":  # tensor cores want channels last
        last = torch.channels_last if config.images.spatial_dims == 2 else torch.channels_last_3d
        network.to(memory_format=last)  # type: ignore[call-overload]
    rows = job.rows("train")
    num_images = job.manifest.num_per_class(rows)
    weights = class_weights(
        config.loss.class_weights, num_images, job.manifest.num_patients_per_class(rows)
    )
    trained = [p for p in network.parameters() if p.requires_grad or not config.training.freeze]
    optimizer = build("optimizer", config.optimizer, params=trained)
    automatic = "float32" if device.type == "cpu" else "float16"
    asked = config.training.precision
    precision = getattr(torch, automatic if asked == "auto" else asked)
    return Learner(
        network=network,
        loss=build_loss(config.loss, weights, num_images).to(device),
        optimizer=optimizer,
        scheduler=build("scheduler", config.scheduler, facts_of(job), optimizer=optimizer),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == torch.float16),
        precision=precision,
        device=device,
        frozen=frozen,
        start=tuple(start),
    )


def facts_of(job: FoldJob) -> dict[str, object]:
    """What "@name" in a config stands for."""
    return {
        "num_channels": job.images.num_channels,
        "num_classes": len(job.manifest.classes),
        "spatial_dims": job.config.images.spatial_dims,
        "spatial_size": list(job.images.spatial_shape),
        "num_epochs": job.config.training.epochs,
        "select_mode": job.config.training.select_mode,
    }


def seed_everything(seed: int) -> None:
    """Seed every generator that a network or transform may draw from."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def try_out(job: FoldJob) -> tuple[str, ...]:
    """Build everything once and send some images through, before any fold is started.

    Returns what is to be said about the weights to begin with.
    ConfigError for a leaf that is not what its setting needs, arguments that it does not take, a
    network that cannot take the images, or a loss that cannot take its logits.
    """
    check_leaves(job.config)
    num_classes = len(job.manifest.classes)
    num_images = 4 if num_classes == 3 else 3  # or one axis could be taken for the other
    with _size_explained(job):
        learner = build_learner(job)
        logits = _try_network(job, learner.network.eval(), num_images)
        _try_network(job, learner.train(), min(num_images, job.config.training.batch_size))
    labels = torch.arange(num_images, device=learner.device) % num_classes
    _try(
        f"loss.function: {job.config.loss.function['_target_']}",
        partial(learner.loss.function, logits, labels),
        f"logits {tuple(logits.shape)} and class indices {tuple(labels.shape)}",
        f"one value per image, shape {tuple(labels.shape)}",
        tuple(labels.shape),
    )
    return learner.start


def _try_network(job: FoldJob, network: nn.Module, num_images: int) -> Tensor:
    """The logits of images that are all 0; training can fail where evaluation does not."""
    shape = (num_images, job.images.num_channels, *job.images.spatial_shape)
    expected = (num_images, len(job.manifest.classes))
    advice = f"; {ADVICE}" if job.config.images.spatial_dims == 3 else ""
    if network.training:
        advice = "; set training.batch_size=2 or more" if num_images == 1 else ""
    return _try(
        f"model: {job.config.model['_target_']}",
        partial(network, torch.zeros(shape, device=job.device)),
        f"{f'a training batch of {num_images} ' if network.training else ''}images {shape[1:]}",
        f"logits of shape {expected}",
        expected,
        advice,
    )


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
        leaf, facts, found = job.config.model, facts_of(job), job.images.spatial_shape

        def make(size: Sequence[int]) -> nn.Module:
            network: nn.Module = build("model", leaf, {**facts, "spatial_size": list(size)})
            return network

        side = smallest_side(make, job.images.num_channels, len(found))
        if side is None or side <= min(found):
            raise
        problem = (
            f"model: {leaf['_target_']} takes images of {side} pixels along each side or more, "
            f"got {' x '.join(map(str, found))}: resize them in images.transforms, or choose "
            "another model"
        )
        raise ConfigError([problem]) from None


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its type if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
