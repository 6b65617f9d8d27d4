"""Everything a fold trains with, built from the config, in one place."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pipeline.config import ConfigError
from pipeline.models import initialise
from pipeline.targets import build, check_leaves
from pipeline.training.job import FoldJob, seed_for
from pipeline.training.loss import WeightedLoss, build_loss
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
    facts: dict[str, object] = {  # what "@name" in a config stands for
        "num_channels": job.images.num_channels,
        "num_classes": len(job.manifest.classes),
        "spatial_dims": config.images.spatial_dims,
        "spatial_size": list(job.images.spatial_shape),
        "num_epochs": config.training.epochs,
        "select_mode": config.training.select_mode,
    }
    network: nn.Module = build("model", config.model, facts)
    initialise(network, config.init.scheme)
    network.to(device)
    if device.type == "cuda":  # tensor cores want channels last
        last = torch.channels_last if config.images.spatial_dims == 2 else torch.channels_last_3d
        network.to(memory_format=last)  # type: ignore[call-overload]
    optimizer = build("optimizer", config.optimizer, params=list(network.parameters()))
    automatic = "float32" if device.type == "cpu" else "float16"
    asked = config.training.precision
    precision = getattr(torch, automatic if asked == "auto" else asked)
    return Learner(
        network=network,
        loss=build_loss(config.loss, job.emphasis.adjustment).to(device),
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


def try_out(job: FoldJob) -> None:
    """Build everything once and send some images through, before any fold is started.

    ConfigError for a leaf that is not what its setting needs, arguments that it does not take, a
    network that cannot take the images, or a loss that cannot take its logits.
    """
    check_leaves(job.config)
    config, learner, num_classes = job.config, build_learner(job), len(job.manifest.classes)
    num_images = 4 if num_classes == 3 else 3  # or one axis could be taken for the other
    shape = (num_images, job.images.num_channels, *job.images.spatial_shape)
    images = torch.zeros(shape, device=learner.device)
    labels = torch.arange(num_images, device=learner.device) % num_classes
    learner.network.eval()
    advice = f"; {ADVICE}" if config.images.spatial_dims == 3 else ""
    expected = (num_images, num_classes)
    logits = _try(
        f"model: {config.model['_target_']}",
        partial(learner.network, images),
        f"images {shape[1:]}",
        f"logits of shape {expected}",
        expected,
        advice,
    )
    _try(
        f"loss.function: {config.loss.function['_target_']}",
        partial(learner.loss.function, logits, labels),
        f"logits {expected} and class indices {tuple(labels.shape)}",
        f"one value per image, shape {tuple(labels.shape)}",
        tuple(labels.shape),
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


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its type if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
