"""Everything a fold trains with, built from the config, in one place."""

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pipeline.config import ConfigError
from pipeline.models import initialise
from pipeline.targets import build, check_leaves
from pipeline.training.imbalance import class_weights
from pipeline.training.job import FoldJob, seed_for
from pipeline.training.loss import WeightedLoss, build_loss, first_line, shape_of, try_loss


@dataclass
class Progress:
    """How far a fold has come; saved in `last.pt`, so that a new worker can go on from it."""

    num_epochs: int = 0
    best_epoch: int = -1
    best_value: float = float("nan")
    record: dict[str, Any] = field(default_factory=dict)
    """The journal's line of the last epoch."""

    @property
    def is_best(self) -> bool:
        return self.best_epoch == self.num_epochs - 1

    def epochs_since_best(self) -> int:
        return self.num_epochs - 1 - self.best_epoch

    def note(self, value: float, mode: str) -> None:
        """Count an epoch that reached `value`; the first of equal ones stays the best."""
        better = value < self.best_value if mode == "min" else value > self.best_value
        if self.best_epoch < 0 or better:
            self.best_epoch, self.best_value = self.num_epochs, value
        self.num_epochs += 1


@dataclass
class Learner:
    network: nn.Module
    loss: WeightedLoss
    optimizer: Optimizer
    scheduler: LRScheduler | ReduceLROnPlateau
    scaler: torch.amp.GradScaler
    precision: torch.dtype
    device: torch.device
    progress: Progress = field(default_factory=Progress)

    def autocast(self) -> torch.autocast:
        mixed = self.precision != torch.float32
        return torch.autocast(self.device.type, dtype=self.precision, enabled=mixed)

    def step_scheduler(self, select_value: float) -> None:
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(select_value)
        else:
            self.scheduler.step()


def build_learner(job: FoldJob) -> Learner:
    """Network, loss, optimizer and schedule of a fold, before its first epoch.

    Raises:
        ConfigError: when a leaf of the config cannot be made.
    """
    config, device = job.config, torch.device(job.device)
    seed_everything(seed_for(config.training.seed, job.fold.index, 0, purpose=1))
    facts = _facts(job)
    network: nn.Module = build("model", config.model, facts)
    initialise(network, config.init.scheme)
    network.to(device)
    if device.type == "cuda":  # tensor cores want channels last
        last = torch.channels_last if config.images.spatial_dims == 2 else torch.channels_last_3d
        network.to(memory_format=last)  # type: ignore[call-overload]
    rows = job.rows("train")
    num_images = job.manifest.num_per_class(rows)
    weights = class_weights(
        config.loss.class_weights, num_images, job.manifest.num_patients_per_class(rows)
    )
    optimizer = build("optimizer", config.optimizer, params=list(network.parameters()))
    precision = _precision(config.training.precision, device)
    return Learner(
        network=network,
        loss=build_loss(config.loss, weights, num_images).to(device),
        optimizer=optimizer,
        scheduler=build("scheduler", config.scheduler, facts, optimizer=optimizer),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == torch.float16),
        precision=precision,
        device=device,
    )


def seed_everything(seed: int) -> None:
    """Seed every generator that a network or transform may draw from."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _facts(job: FoldJob) -> dict[str, object]:
    """What "@name" in a config stands for."""
    return {
        "num_channels": job.images.num_channels,
        "num_classes": len(job.manifest.classes),
        "spatial_dims": job.config.images.spatial_dims,
        "spatial_size": list(job.images.spatial_shape),
        "num_epochs": job.config.training.epochs,
        "select_mode": job.config.training.select_mode,
    }


def _precision(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def try_out(job: FoldJob) -> None:
    """Build everything once and send some images through, before any fold is started.

    Raises:
        ConfigError: for a leaf that is not what its setting needs, arguments that it does not
            take, a network that cannot take the images, or a loss that cannot take its logits.
    """
    check_leaves(job.config)
    learner, num_classes = build_learner(job), len(job.manifest.classes)
    num_images = 4 if num_classes == 3 else 3  # or one axis could be taken for the other
    shape = (num_images, job.images.num_channels, *job.images.spatial_shape)
    learner.network.eval()
    name = f"model: {job.config.model['_target_']}"
    with torch.inference_mode():
        try:
            logits = learner.network(torch.zeros(shape, device=learner.device))
        except Exception as error:  # noqa: BLE001  (a network may fail in any way)
            reason = first_line(error)
            raise ConfigError([f"{name} fails on images {shape[1:]}: {reason}"]) from None
    found, expected = shape_of(logits), (num_images, num_classes)
    if found != expected:
        raise ConfigError(
            [f"{name} must give logits of shape {expected} for {num_images} images, got {found}"]
        )
    try_loss(learner.loss, job.config.loss, logits)


def count_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
