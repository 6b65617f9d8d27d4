"""What a worker gets: one fold of one run, and the device to train it on."""

import math
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.arrays import Floats, Ints
from pipeline.config import Config
from pipeline.images.crop import crop_of
from pipeline.images.packed import Normalisation, PackedImages
from pipeline.manifest import Manifest
from pipeline.splits import Everybody, Fold, Part
from pipeline.tracking.untested import FINAL_JSON
from pipeline.training.imbalance import Emphasis, emphasis
from pipeline.training.settled import Settled

Output = Literal["softmax", "sigmoid", "labels"]
"""As `loss.output`; labels: a sigmoid of each, which do not exclude each other."""


@dataclass(frozen=True)
class FoldJob:
    config: Config
    manifest: Manifest
    fold: Fold | Everybody
    images: PackedImages
    fold_dir: Path
    key: str
    """Of the run; a checkpoint or result of another key is refused."""
    device: str = "cpu"
    """Of the worker; of a fold that no worker has yet, those of all: "cuda:0,cuda:1"."""
    devices: str = ""
    """Of all workers of the fold, where there are several."""
    settled: Settled | None = None
    """What a training on everybody goes by, which has nobody to validate on."""

    def __post_init__(self) -> None:
        assert (self.settled is None) == isinstance(self.fold, Fold), "val chooses"

    def __getstate__(self) -> dict[str, Any]:
        """For another process: without what it does not ask for, and what it can work out."""
        asked = {field.name: getattr(self, field.name) for field in fields(self)}
        return asked | {"manifest": self.manifest.for_training(self.config.evaluation.middle)}

    @property
    def batches_per_step(self) -> int:
        """How many batches' gradients make one step of the optimizer."""
        asked = self.config.training.accumulate
        return self.batches_per_epoch if asked == "all" else min(asked, self.batches_per_epoch)

    @property
    def batches_per_epoch(self) -> int:
        """A last batch of one image joins its neighbour, if it has one."""
        num_images, size = len(self.rows("train")), self.config.training.batch_size
        num_batches = math.ceil(num_images / size)
        return max(1, num_batches - (num_images - (num_batches - 1) * size == 1))

    @property
    def images_per_worker(self) -> int:
        """Of a full batch."""
        return self.config.training.batch_size // self.config.engine.devices_per_fold

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.batches_per_epoch / self.batches_per_step)

    @property
    def is_done(self) -> bool:
        """Whether its last file is there."""
        name = "result.json" if self.settled is None else FINAL_JSON
        return (self.fold_dir / name).exists()

    @cached_property
    def emphasis(self) -> Emphasis:
        """How much each image of the train part counts."""
        return emphasis(self.config, self.manifest, self.rows("train"))

    @property
    def output(self) -> Output:
        """How logits become probabilities."""
        return "labels" if self.manifest.is_multilabel else self.config.loss.output

    @property
    def logit_shift(self) -> Floats:
        """(C,) added to logits for the probabilities that are reported."""
        return self.emphasis.shift(self.config, self.manifest.classes)

    @property
    def seen_shape(self) -> tuple[int, ...]:
        """Sides of what networks see of an image: all of it, or a crop."""
        return crop_of(self.config.augment.crop, self.images.spatial_shape)

    @cached_property
    def normalisation(self) -> Normalisation:
        """What networks' images are normalised by: of the train part, unless images.normalise says
        that each is by itself, or none.
        """
        if self.config.images.normalise == "fold":
            return self.images.fit_normalisation(self.rows("train"))
        num_channels = self.images.num_channels
        return Normalisation((0.0,) * num_channels, (1.0,) * num_channels)

    def rows(self, part: Part) -> Ints:
        """Row numbers of a part's samples in manifest and packed array."""
        return self.manifest.of(self.fold.of(part))


def seed_for(training_seed: int, fold: int, epoch: int, purpose: int = 0) -> int:
    """A 63-bit seed: every draw is a function of (seed, fold, epoch from 0), and what it is for."""
    of_fold = fold % 2**32  # entropy is not negative, and the final model's fold is
    sequence = np.random.SeedSequence([training_seed, of_fold, epoch, purpose])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)
