"""The ensemble of a run's folds: the mean of their calibrated probabilities.

Every fold's network brings its own normalisation, calibration and thresholds. What it makes of an
image is, to the last bit on the CPU, what the fold said of its own test part. Importing this module
loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import AnyFloats, Floats
from pipeline.config import Config
from pipeline.engine.finished import Finished
from pipeline.ensemble.kept import Kept
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.predictions import as_float32, with_decisions
from pipeline.evaluation.recalibration import Calibration
from pipeline.images.decoding import Decoder
from pipeline.images.packed import Normalisation
from pipeline.levels import Level

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pipeline.training.kept_network import KeptNetwork

NO_FOLD = -1
"""In tables of predictions: of all folds' networks together, and of the final network."""


@dataclass(frozen=True)
class Member:
    """One fold's network, with all that its fold has fitted and chosen."""

    fold: int
    """-1: the final network, which was trained on everybody."""
    kept: KeptNetwork
    recalibration: Calibration | None
    """Of the fold; None where nothing is calibrated."""
    decisions: Mapping[Level, Decision]
    """The fold's thresholds at each level."""

    @property
    def network(self) -> nn.Module:
        """In evaluation mode: normalised images (B, C, ...) float32 -> logits (B, K)."""
        return self.kept.network

    @property
    def normalisation(self) -> Normalisation:
        """Mean and SD of each channel, of its train part; 0 and 1 where none is of the fold."""
        return self.kept.normalisation

    @property
    def mean(self) -> tuple[float, ...]:
        return self.normalisation.mean

    @property
    def std(self) -> tuple[float, ...]:
        return self.normalisation.std

    def probabilities(self, images: Tensor) -> Floats:
        """(B, C, ...) as the cache has them -> (B, K), calibrated, as the fold's tables hold them.

        Rows are nan where the network's output is not finite.
        """
        found = as_float32(self.kept.probabilities(images))
        return found if self.recalibration is None else as_float32(self.recalibration.apply(found))


@dataclass(frozen=True)
class Ensemble:
    """The members of a run, which predict together."""

    run: Finished
    config: Config
    members: tuple[Member, ...]
    classes: Sequence[str]
    """In the order of the probabilities; `LabelNames` where they do not exclude each other."""
    shape: tuple[int, ...]
    """(C, ...) of an image as `image` gives it."""
    dtype: str
    """Of an image, as in the run's cache."""

    @classmethod
    def read(
        cls,
        run: Finished,
        network: str = "folds",
        plugins: Sequence[str] = (),
        device: str = "cpu",
    ) -> Ensemble:
        """Of a finished run: "folds", the networks of all its folds, or "final".

        `plugins` are those that may be imported: whoever sent the folder could have named code.

        Raises:
            UserError: the run has no networks that may predict, or one is missing or not its own.
        """
        return cls.of(Kept.of(run, network, plugins), device)

    @classmethod
    def of(cls, kept: Kept, device: str = "cpu") -> Ensemble:
        """The networks of what was kept, on a device."""
        states = {fold: kept.state(fold, device) for fold in kept.checkpoints}
        shape = kept.shape(next(iter(states.values())))
        members = tuple(_member(kept, fold, state, shape, device) for fold, state in states.items())
        return cls(kept.run, kept.config, members, kept.run.classes, shape, kept.dtype)

    @property
    def levels(self) -> Sequence[Level]:
        """Those that the run has, from patients to images."""
        return self.run.levels

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder(self.config.images)

    def image(self, files: tuple[Path, ...]) -> NDArray[Any]:
        """(C, ...) of a sample's files, decoded, transformed and rounded as in the run's cache.

        Raises:
            ImageError: they cannot be decoded, or do not give what the networks take.
        """
        return self._decoder.alone(files, self.shape, self.dtype)

    def member_probabilities(self, images: Tensor) -> Floats:
        """(B, C, ...) as `image` gives them -> (M, B, K), calibrated, rounded to float32.

        Bit for bit those of the fold's own test part on the CPU, in batches of the same images
        (`pipeline.training.evaluated`): what a kernel makes of an image may depend on its batch in
        the last digit.
        """
        there = images.to(self.members[0].kept.device)  # once for all of them
        return np.stack([member.probabilities(there) for member in self.members])

    def probabilities(self, images: Tensor) -> Floats:
        """(B, K): their mean."""
        return mean_of(self.member_probabilities(images))

    def decision(self, level: Level) -> Decision:
        """How a level is decided: at the median of the folds' thresholds.

        The probabilities are calibrated fold by fold, so that thresholds are on one scale; the
        median leaves out the one fold whose small validation part chose an extreme one. Unlike a
        vote of the folds, it never contradicts the probability that is shown. `patientfold unlock`
        decides in the same way.
        """
        return median_decision([member.decisions for member in self.members], level)

    def decide(self, table: pd.DataFrame, level: Level) -> pd.DataFrame:
        """A table of the level, of fold -1, with `predicted`."""
        return with_decisions(table, self.classes, self.decision(level))


def mean_of(members: AnyFloats) -> Floats:
    """(M, B, K) probabilities -> (B, K) of the ensemble."""
    found: Floats = np.asarray(members, dtype=np.float64).mean(axis=0)
    return found


def median_decision(decisions: Sequence[Mapping[Level, Decision]], level: Level) -> Decision:
    """Of the members' decisions, that of the ensemble."""
    return Decision.median([of[level] for of in decisions], NO_FOLD)


def _member(
    kept: Kept, fold: int, state: Mapping[str, Any], shape: tuple[int, ...], device: str
) -> Member:
    from pipeline.training.kept_network import KeptNetwork

    classes = kept.run.classes
    network = KeptNetwork.of(state, kept.config, len(classes), shape, device)
    result = kept.results[fold]
    return Member(fold, network, Calibration.read(result, classes), kept.decisions(fold))
