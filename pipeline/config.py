"""Which settings exist: their types, units and limits. YAML holds values, this file holds meaning.

A Hydra config becomes a `Config` once, at the door (`to_config`); behind it nothing reads YAML.
"""

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, field, fields, is_dataclass
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

Target = dict[str, Any]
"""A leaf we do not own: `_target_` and its arguments; "@num_classes" and the like are filled in."""

SETTINGS = ConfigDict(extra="forbid", strict=False, validate_default=True)
ALLOWED_TARGETS = ("torch.", "monai.", "pipeline.models.")


class UserError(ValueError):
    """What a user can cause and mend; shown as one message, without a traceback."""


class ConfigError(UserError):
    """All settings that are wrong, each with its key, what was found and what is allowed."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(["The settings have problems:", *(f"  {p}" for p in problems)]))
        self.problems = problems

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[list[str]]]:
        return ConfigError, (self.problems,)  # it must cross from worker processes whole


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class ColumnsConfig:
    """Names of the manifest's columns; `null` means that there is no such column."""

    patient: str = "patient_id"
    image: str = "image_path"
    label: str = "label"
    site: str | None = None
    study: str | None = None
    """Rows that share a study stay together, whatever their patient ids say."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class ManifestConfig:
    name: str
    path: str
    image_root: str | None = None
    """Folder that image paths are relative to; default: the manifest's own folder."""
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    task: Literal["binary", "multiclass"] = "binary"
    classes: tuple[str, ...] | None = None
    """Class names in order; binary: negative, then positive. Default: sorted labels."""
    blank_label: Literal["error", "leave_out"] = "error"
    hint: str = ""
    """How to get the images, shown when they are missing."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class SplitConfig:
    scheme: Literal["kfold"] = "kfold"
    num_folds: Annotated[
        int,
        Field(
            ge=3,
            description="a fold needs a block to test, one to validate, and the rest to train",
        ),
    ] = 5
    seed: Annotated[int, Field(ge=0)] = 0
    file: str | None = None
    """A frozen plan (plan.csv) to use instead of dealing patients anew."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class ImagesConfig:
    spatial_dims: Literal[2, 3] = 2
    num_channels: Annotated[int, Field(ge=1)] = 1
    transforms: tuple[Target, ...] = ()
    """Deterministic MONAI transforms, run once an image; must give every image the same shape."""
    dtype: Literal["uint8", "float16", "float32"] = "float32"
    """How the packed cache stores pixels; uint8 only for values 0 to 255 after the transforms."""
    cache_dir: str = ".cache/images"
    num_processes: Annotated[int, Field(ge=0)] = 0
    """Processes that decode images; 0: one a core."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class AugmentConfig:
    """Random changes of training images, which are normalised (mean 0, SD 1), batched on device."""

    flip_axes: tuple[Annotated[int, Field(ge=0, le=2)], ...] = ()
    """Spatial axes (0 = first) that are flipped with probability 1/2."""
    rotate90: bool = False
    """Turns by 0, 90, 180 or 270 degrees in the plane of the last two axes."""
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest change of scale: 0.1 draws factors from 0.9 to 1.1."""
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest shift along each axis, as a fraction of the image's size."""
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest change of the factor on intensities."""
    brightness: Annotated[float, Field(ge=0)] = 0.0
    """Largest offset, in SDs of the train part."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """SD of Gaussian noise, in SDs of the train part."""
    transforms: tuple[Target, ...] = ()
    """Random MONAI transforms, run per sample by loader workers (slower than the fields above)."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class InitConfig:
    scheme: Literal["default", "kaiming_normal", "xavier_uniform"] = "default"


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class LossConfig:
    function: Target
    class_weights: Literal["none", "inverse", "effective_number"] = "none"
    """inverse: of the train part's images per class; effective_number: of patients (Cui 2019)."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class SamplerConfig:
    balance: Literal["none", "class", "patient", "class_patient"] = "none"
    """What is drawn equally often in training."""
    allow_double_correction: bool = False
    """Allow a class-balanced sampler together with class weights."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class TrainingConfig:
    epochs: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Images per optimizer step."""
    seed: Annotated[int, Field(ge=0)] = 0
    select_by: Literal[
        "val/loss",
        "val/auroc",
        "val/average_precision",
        "val/balanced_accuracy",
        "val/patient/auroc",
        "val/patient/average_precision",
        "val/patient/balanced_accuracy",
    ] = "val/auroc"
    """Validation metric that chooses the epoch (loss: smallest, others: largest)."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Stop after this many epochs without a better one; 0: never."""
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """auto: float16 with loss scaling on a GPU, float32 on the CPU."""

    @property
    def select_mode(self) -> Literal["min", "max"]:
        return "min" if self.select_by == "val/loss" else "max"


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class EvaluationConfig:
    aggregate: Literal["mean", "max"] = "mean"
    """How a patient's image probabilities become one."""
    patient_label: Literal["same", "worst", "majority", "none"] = "same"
    """Label of a patient: all images agree | the latest class | the most frequent | no patients."""
    threshold: Literal["youden", "fixed"] = "youden"
    """Binary decisions: best balanced accuracy on the validation part, or 0.5."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class TrackingConfig:
    uri: str = "sqlite:///mlflow.db"
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """How long the end of a run waits for the tracking server, in seconds."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class EngineConfig:
    device: Literal["auto", "cpu", "cuda"] = "auto"
    folds_at_once: Annotated[int, Field(ge=0)] = 0
    """Folds that train side by side; 0: one a GPU, or one a core on the CPU."""
    threads_per_fold: Annotated[int, Field(ge=1)] = 1
    """CPU threads of a fold; results can differ in the last digit with another number."""
    loader_workers: Annotated[int, Field(ge=0)] = 1
    """Processes a fold that run random MONAI transforms."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Config:
    name: str
    folds: Literal["all"] | tuple[Annotated[int, Field(ge=0)], ...] = "all"
    run_dir: str | None = None
    manifest: ManifestConfig
    split: SplitConfig
    images: ImagesConfig
    augment: AugmentConfig
    model: Target
    init: InitConfig
    loss: LossConfig
    sampler: SamplerConfig
    optimizer: Target
    scheduler: Target
    training: TrainingConfig
    evaluation: EvaluationConfig
    tracking: TrackingConfig
    engine: EngineConfig

    def __post_init__(self) -> None:
        problems = [*_target_problems(self), *_manifest_problems(self.manifest)]
        if "/patient/" in self.training.select_by and self.evaluation.patient_label == "none":
            problems.append(
                f"training.select_by={self.training.select_by} needs a patient level, but "
                "evaluation.patient_label=none switches it off"
            )
        if max(self.augment.flip_axes, default=0) >= self.images.spatial_dims:
            problems.append(
                f"augment.flip_axes: {self.images.spatial_dims}D images have axes 0 to "
                f"{self.images.spatial_dims - 1}, got {list(self.augment.flip_axes)}"
            )
        if self.augment.transforms and any(
            getattr(self.augment, f.name) for f in fields(self.augment) if f.name != "transforms"
        ):
            problems.append(
                "augment: use either augment.transforms (MONAI, per sample) or batched settings "
                "(flip_axes, rotate_degrees, ...), not both; augment=none switches the latter off"
            )
        if problems:
            raise ConfigError(problems)


def to_config(cfg: DictConfig) -> Config:
    """Check a composed Hydra config against the schema.

    Raises:
        ConfigError: with every unknown key, wrong type and broken limit at once.
    """
    try:
        values = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError([_interpolation_problem(error)]) from None
    try:
        return TypeAdapter(Config).validate_python(values)
    except ValidationError as error:
        problems = [_problem(dict(e), values) for e in error.errors()]
        raise ConfigError(list(dict.fromkeys(problems))) from None


def defaults(section: Any = Config) -> dict[str, Any]:
    """Every setting's default as nested plain values, so that each can be overridden by name."""
    values: dict[str, Any] = {}
    for setting in fields(section):
        if is_dataclass(setting.type):
            values[setting.name] = defaults(setting.type)
        elif setting.default is not MISSING:
            default = setting.default
            values[setting.name] = list(default) if isinstance(default, tuple) else default
    return values


def flat(config: Config) -> dict[str, str]:
    """Every setting as `section.name` -> text, in the schema's order."""
    return dict(_flat(asdict(config), ""))


IDENTITY = ("augment", "evaluation", "images", "init", "loss", "model", "optimizer", "sampler",
            "scheduler", "training")  # fmt: skip
NOT_IDENTITY = ("images.cache_dir", "images.num_processes")


def identity(config: Config) -> dict[str, str]:
    """The settings that a fold's numbers depend on, beside manifest, plan and pixels.

    Where the folds run, where things are stored and which folds are asked for do not count, so
    that `folds=[0]` and then `folds=all` continue the same run.
    """
    settings = flat(config)
    return {
        key: value
        for key, value in settings.items()
        if key.split(".")[0] in IDENTITY and key not in NOT_IDENTITY
    }


def fingerprint(value: object) -> str:
    """SHA-256 of a JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _flat(value: object, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, tuple | list) and any(isinstance(inner, Mapping) for inner in value):
        for position, inner in enumerate(value):
            yield from _flat(inner, f"{prefix}.{position}")
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value)


def _target_problems(config: Config) -> Iterator[str]:
    leaves = {
        "model": config.model,
        "optimizer": config.optimizer,
        "scheduler": config.scheduler,
        "loss.function": config.loss.function,
        **{f"images.transforms.{i}": leaf for i, leaf in enumerate(config.images.transforms)},
        **{f"augment.transforms.{i}": leaf for i, leaf in enumerate(config.augment.transforms)},
    }
    for key, leaf in leaves.items():
        if "_target_" not in leaf:
            yield f"{key}: `_target_` is missing; it names the class, e.g. torch.optim.AdamW"
        for path, target in _flat(leaf, key):
            if path.endswith("._target_") and not target.startswith(ALLOWED_TARGETS):
                yield f"{path}: must begin with one of {', '.join(ALLOWED_TARGETS)}, got {target!r}"


def _manifest_problems(config: ManifestConfig) -> Iterator[str]:
    columns = [name for name in asdict(config.columns).values() if name is not None]
    for name in sorted({name for name in columns if columns.count(name) > 1}):
        yield f"manifest.columns: {name!r} is named {columns.count(name)} times; each once at most"
    classes = config.classes or ()
    if len(set(classes)) < len(classes) or not all(name.strip() for name in classes):
        yield f"manifest.classes: must be different names, none blank, got {list(classes)}"


def _problem(error: dict[str, Any], values: Any) -> str:
    """One pydantic error in our words: key, what is allowed, what was found."""
    location = [str(part) for part in error["loc"]]
    path = ".".join(location)
    if location[:1] == ["folds"]:  # a union: pydantic tells one error for each of its types
        return f"folds: must be all or a list of folds such as [0,2], got {values['folds']!r}"
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _known_keys(location[:-1])
        close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.6)
        advice = (
            f"did you mean {'.'.join([*location[:-1], close[0]])!r}?"
            if close
            else f"known: {', '.join(known)}"
        )
        return f"{path}: unknown setting; {advice}"
    if error["type"] == "value_error" and isinstance(error["ctx"]["error"], ConfigError):
        return "\n  ".join(error["ctx"]["error"].problems)
    if error["type"] == "missing":
        return f"{path}: missing; it needs a value"
    message = error["msg"][0].lower() + error["msg"][1:]
    why = _description(location)
    return f"{path}: {message}, got {error['input']!r}{f' ({why})' if why else ''}"


def suggestion(key: str) -> str:
    """Advice for a key that no config has, e.g. "did you mean 'split.num_folds'?"."""
    parts = key.split(".")
    for depth, name in enumerate(parts):
        known = _known_keys(parts[:depth])
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        if name not in known and close:
            return f"did you mean {'.'.join([*parts[:depth], close[0], *parts[depth + 1 :]])!r}?"
    return "`--cfg job` prints every setting; +key=value passes a further argument to a _target_"


def _section(location: list[str]) -> Any:
    section: Any = Config
    for name in location:
        hints = {f.name: f.type for f in fields(section)} if is_dataclass(section) else {}
        section = hints.get(name)
    return section


def _known_keys(location: list[str]) -> list[str]:
    section = _section(location)
    return [f.name for f in fields(section)] if is_dataclass(section) else []


def _description(location: list[str]) -> str:
    parent = _section(location[:-1])
    field_info = getattr(parent, "__pydantic_fields__", {}).get(location[-1])
    return (field_info.description or "") if field_info else ""


def _interpolation_problem(error: OmegaConfBaseException) -> str:
    first_line = str(error).splitlines()[0].split("resolving interpolation: ")[-1].strip('"')
    key = f"{error.full_key}: " if getattr(error, "full_key", None) else ""
    if "Environment variable" in first_line:
        return f"{key}{first_line}; set it, e.g. PATIENTFOLD_DATA=/folder/that/holds/the/data/sets"
    return f"{key}{first_line}"
