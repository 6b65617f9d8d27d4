"""bundle.json: all that is needed to use the weights beside it, and what they were made of."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from pipeline.config import UserError
from pipeline.config.sections import ImagesConfig
from pipeline.evaluation.recalibration import Calibration
from pipeline.files import read_json, write_json
from pipeline.label_names import LabelNames
from pipeline.levels import Level

FILE_NAME = "bundle.json"
VERSION = 1
OF_THIS_MACHINE = ("cache_dir", "num_processes", "preview")
"""Settings of images that say nothing about them."""
Thresholds = Mapping[Level, Mapping[str, float]]
"""Level -> class or label -> from which probability on it is called; {} of several classes."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """A prepared image."""

    shape: tuple[int, ...]
    """(C, H, W) or (C, D, H, W)."""
    dtype: Literal["uint8", "float16", "float32"]
    """As the training kept its images; networks get them normalised, in float32."""


@dataclass(frozen=True, kw_only=True)
class MemberContents:
    """One network of the ensemble."""

    fold: int
    """-1: the one that was trained on everybody."""
    weights: str
    """A file of safetensors in the bundle."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of each channel, in the train part of the fold."""
    shift: tuple[float, ...]
    """Of each class, added to the logits (loss.logit_adjustment, sampler)."""
    calibration: Mapping[str, Any] | None
    """As in result.json."""
    thresholds: Thresholds


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Plain values alone: no path, no patient, no name of an image."""

    version: int
    made_by: str
    """patientfold and its version."""
    key: str
    """Of the cross-validation."""
    plan_hash: str
    network: Literal["folds", "final"]
    task: Literal["binary", "multiclass", "multilabel"]
    classes: tuple[str, ...]
    images: Mapping[str, Any]
    """From the file to the prepared image: the settings `images`."""
    images_per_sample: int
    """Files that make one image together, as its channels."""
    input: Input
    crop: tuple[int, ...] | None
    """Sides of the middle that the networks see; None: all."""
    model: Mapping[str, Any]
    output: Literal["softmax", "sigmoid", "labels"]
    """How logits become probabilities."""
    channels_last: bool
    precision: Literal["float32", "bfloat16"]
    """What the networks were judged with, on the CPU."""
    members: tuple[MemberContents, ...]
    thresholds: Thresholds
    """Of the ensemble."""
    decision: str
    """How it decides, in words."""
    rules: Mapping[str, Any]
    """From images to patients: settings of `evaluation`."""
    plugins: Mapping[str, str]
    """The user's own packages -> SHA-256 of their code, which lies in `code`."""

    @property
    def names(self) -> Sequence[str]:
        """The classes; of a multilabel task labels."""
        return LabelNames(self.classes) if self.task == "multilabel" else self.classes

    @property
    def images_config(self) -> ImagesConfig:
        return TypeAdapter(ImagesConfig).validate_python(dict(self.images))

    @property
    def plain(self) -> dict[str, Any]:
        """As bundle.json has it."""
        return asdict(self)

    def calibration(self, member: MemberContents) -> Calibration | None:
        result = {"fold": member.fold, "calibration": member.calibration}
        return Calibration.read(result, self.names)

    def save(self, folder: Path) -> None:
        write_json(folder / FILE_NAME, self.plain)

    @classmethod
    def load(cls, folder: Path) -> "Contents":
        """UserError where the file is missing, of a later version, or holds something else."""
        path = folder / FILE_NAME
        found = read_json(path)
        if found.get("version") != VERSION:
            raise UserError(
                f"{path}: expected a bundle of version {VERSION}, got {found.get('version')!r}: "
                "use the version of patientfold that has made it"
            )
        try:
            return TypeAdapter(cls).validate_python(found)
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise UserError(f"{path}: {'; '.join(problems)}") from None
