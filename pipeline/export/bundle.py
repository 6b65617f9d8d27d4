"""A bundle, opened again: the networks as they predicted, without the run folder."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from pipeline.arrays import Floats
from pipeline.config import UserError, plugin_facts
from pipeline.ensemble import Member
from pipeline.ensemble.ensemble import NO_FOLD
from pipeline.ensemble.tables import image_table, level_tables
from pipeline.evaluation.decision import UNKNOWN, Decision, Threshold
from pipeline.evaluation.patients import Rules
from pipeline.export.contents import Contents, MemberContents
from pipeline.export.handover import CODE
from pipeline.export.sums import INNER, check_sums
from pipeline.images.crop import crop_of
from pipeline.images.decoding import Decoder
from pipeline.images.packed import Normalisation
from pipeline.levels import Level
from pipeline.targets import build
from pipeline.training.evaluated import EVAL_BATCH, bounds
from pipeline.training.kept_network import KeptNetwork
from pipeline.training.layout import layout_of
from pipeline.training.learner import facts_of_network
from pipeline.training.torch_file import first_line


@dataclass(frozen=True)
class Bundle:
    """What `patientfold export` has written, whatever its format, ready to predict on the CPU."""

    contents: Contents
    members: tuple[Member, ...]

    @classmethod
    def read(cls, folder: Path, plugins: Sequence[str] = (), trusts_all: bool = False) -> "Bundle":
        """Open a bundle. `plugins`: those whose code in it may run; `trusts_all`: any.

        Raises:
            UserError: it is none, a file of it was changed, or it needs code that nobody named.
        """
        check_sums(folder)
        if (folder / INNER).is_dir():  # a model of MLflow
            folder = folder / INNER
            check_sums(folder)
        contents = Contents.load(folder)
        if unnamed := sorted(set() if trusts_all else {*contents.plugins} - {*plugins}):
            raise UserError(
                f"bundle {folder} runs code of {', '.join(unnamed)}, which lies in "
                f"{folder / CODE}; if you trust it: plugins={unnamed}"
            )
        _make_importable(folder, contents)
        members = tuple(_member(folder, contents, of) for of in contents.members)
        return cls(contents, members)

    @property
    def classes(self) -> Sequence[str]:
        return self.contents.names

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder(self.contents.images_config)

    def image(self, files: tuple[Path, ...]) -> NDArray[Any]:
        """(C, ...) of a sample's files, prepared as in training.

        Raises:
            ImageError: they cannot be decoded, or do not give what the networks take.
        """
        wanted = self.contents.input
        return self._decoder.alone(files, wanted.shape, wanted.dtype)

    def member_probabilities(self, images: Sequence[NDArray[Any]]) -> Floats:
        """N prepared images (C, ...) -> (M, N, K), calibrated.

        Raises:
            UserError: the networks give something that is not finite.
        """
        found = self.raw_probabilities(images)
        if not np.isfinite(found).all():
            raise UserError("the networks' output is nan or infinite for these images")
        return found

    def raw_probabilities(self, images: Sequence[NDArray[Any]]) -> Floats:
        """The same, nan where the networks give something that is not finite."""
        parts = [
            np.stack([member.probabilities(batch) for member in self.members])
            for begin, end in bounds(len(images), EVAL_BATCH["cpu"])
            for batch in [torch.from_numpy(np.stack(images[begin:end]))]
        ]
        return np.concatenate(parts, axis=1)

    def tables(self, samples: pd.DataFrame, members: Floats) -> Mapping[Level, pd.DataFrame]:
        """As `patientfold predict` has them, of (M, N, K) probabilities of N images.

        `samples` has patient_id, image_path and label, which may be "". Of a run with slides or
        studies there are images only: nobody says here which of them an image is of.
        """
        rules = Rules.of(self.contents.rules)
        levels = list(self.contents.thresholds) if rules.middle is None else ["image"]
        if levels == ["image"]:
            rules = replace(rules, patient_label="none", middle=None)
        decisions = {level: self.decision(level) for level in self.contents.thresholds}
        decisions = {level: of for level, of in decisions.items() if level in levels}
        images = image_table(samples, members, self.classes, None)
        return level_tables(images, members, self.classes, rules, decisions)

    def decision(self, level: Level) -> Decision:
        """Of the ensemble: at the thresholds that the bundle has for the level."""
        return _decision(NO_FOLD, self.contents.thresholds[level], self.classes)


def _decision(fold: int, values: Mapping[str, float], classes: Sequence[str]) -> Decision:
    thresholds = {name: Threshold(of, UNKNOWN, "val", None) for name, of in values.items()}
    return Decision(fold, classes, thresholds)


def _make_importable(folder: Path, contents: Contents) -> None:
    """Find the bundle's own packages, if they are not here already in the same version."""
    if contents.plugins and (code := str(folder / CODE)) not in sys.path:
        sys.path.append(code)
    for name, digest in contents.plugins.items():
        if plugin_facts(name)["sha256"] != digest:
            raise UserError(
                f"bundle {folder}: another {name} is found first, {plugin_facts(name)['file']}, "
                "with other code: call from elsewhere, or in a Python without it"
            )


def _member(folder: Path, contents: Contents, of: MemberContents) -> Member:
    path, shape = folder / of.weights, contents.input.shape
    seen = (shape[0], *crop_of(contents.crop, tuple(shape[1:])))
    facts = facts_of_network(seen, len(contents.classes))
    network: nn.Module = build("model", dict(contents.model), facts)
    try:
        network.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{path} does not fit model {contents.model['_target_']} ({first_line(error)}): its "
            "code, or that of a library, has changed"
        ) from None
    kept = KeptNetwork(
        network.eval(),
        Normalisation(of.mean, of.std),
        contents.output,
        np.array(of.shift, dtype=np.float64),
        contents.crop,
        layout_of(network, seen, "cpu", contents.channels_last),
        getattr(torch, contents.precision),
        torch.device("cpu"),
    )
    decisions = {
        level: _decision(of.fold, values, contents.names) for level, values in of.thresholds.items()
    }
    return Member(of.fold, kept, contents.calibration(of), decisions)
