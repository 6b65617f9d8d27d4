"""All settings of one command together, and what must hold between them."""

import math
from collections.abc import Iterator
from dataclasses import asdict, field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from pipeline.config import sections
from pipeline.config.augmentation import augment_problems, no_augmentation
from pipeline.config.decoding import image_problems
from pipeline.config.environment import Place
from pipeline.config.leaf import (
    is_baseline,
    is_within,
    leaf_problems,
    mappings,
    metric_problems,
    only_resizes,
)
from pipeline.config.plain import is_day
from pipeline.config.plugins import plugin_problems
from pipeline.config.sections import SETTINGS, Target
from pipeline.errors import ConfigError, UserError
from pipeline.levels import MIDDLES, PLURALS
from pipeline.regex import compiled


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Config:
    """What a cross-validation does, and the commands around it."""

    name: sections.Name
    """Of the experiment; names the folder in runs/ and the MLflow experiment."""
    folds: Literal["all"] | tuple[Annotated[int, Field(ge=0)], ...] = "all"
    """Folds to train now: all, or a list such as [0,2]."""
    run_dir: str | None = None
    """The run folder; default: a folder in runs/<name>/ that belongs to these settings."""
    plugins: tuple[str, ...] = ()
    """Python packages or files of yours (my_lab for ./my_lab.py), whose classes and functions a
    `_target_` may name. Their code runs."""
    manifest: sections.ManifestConfig
    split: sections.SplitConfig
    plan: sections.PlanConfig
    audit: sections.AuditConfig
    images: sections.ImagesConfig
    augment: sections.AugmentConfig
    model: Target
    """The network: a class of torch, MONAI or a plugin; or a baseline of scikit-learn."""
    features: sections.FeaturesConfig = field(default_factory=sections.FeaturesConfig)
    init: sections.InitConfig
    loss: sections.LossConfig
    sampler: sections.SamplerConfig
    optimizer: Target
    """A class of torch.optim, MONAI or a plugin."""
    scheduler: Target
    """The learning rate's course: a class of torch.optim.lr_scheduler, MONAI or a plugin."""
    training: sections.TrainingConfig
    evaluation: sections.EvaluationConfig
    tracking: sections.TrackingConfig
    engine: sections.EngineConfig
    privacy: sections.PrivacyConfig = field(default_factory=sections.PrivacyConfig)
    preflight: sections.PreflightConfig = field(default_factory=sections.PreflightConfig)
    lr_find: sections.LrFindConfig = field(default_factory=sections.LrFindConfig)
    from_environment: dict[Place, str] = field(default_factory=dict)
    """No setting: those that came from environment variables, by the text that is written down."""

    def __post_init__(self) -> None:
        problems = list(plugin_problems(self.plugins))
        for key, leaf in leaves(self).items():
            problems += leaf_problems(leaf, key, self.plugins)
        of = self.evaluation
        problems += metric_problems(of.metrics or {}, of.lower_is_better, self.plugins)
        problems += [*_manifest_problems(self.manifest), *_split_problems(self)]
        problems += _level_problems(self)
        if self.training.select_by.endswith("/kappa") and not self.manifest.ordered:
            problems.append(
                f"training.select_by={self.training.select_by} needs classes that are a scale: "
                "manifest.ordered=true"
            )
        problems += augment_problems(self.augment, self.images.spatial_dims)
        problems += image_problems(self.images)
        problems += [*_schedule_problems(self), *_label_problems(self), *_baseline_problems(self)]
        problems += _device_problems(self)
        if problems:
            raise ConfigError(problems)


def _level_problems(config: Config) -> Iterator[str]:
    """Levels that are asked for, and are not there."""
    evaluation, select_by = config.evaluation, config.training.select_by
    middle = evaluation.middle
    if "/patient/" in select_by and evaluation.patient_label == "none":
        yield (
            f"training.select_by={select_by} needs a patient level, but "
            "evaluation.patient_label=none switches it off"
        )
    for level in MIDDLES:
        if f"/{level}/" in select_by and middle != level:
            yield f"training.select_by={select_by} needs evaluation.middle={level}"
    if middle is None:
        if evaluation.middle_aggregate != "mean":
            yield (
                f"evaluation.middle_aggregate={evaluation.middle_aggregate} needs a level between "
                "images and patients: evaluation.middle=slide or study"
            )
        return
    if getattr(config.manifest.columns, middle) is None:
        yield (
            f"evaluation.middle={middle} needs manifest.columns.{middle}, the column that says "
            f"of which {middle} an image is"
        )
    if evaluation.patient_label == "none":
        yield (
            f"evaluation.middle={middle}: {PLURALS[middle]} get their labels as patients do, but "
            "evaluation.patient_label=none has no rule; choose same, worst or majority"
        )


def leaves(config: Config) -> dict[str, dict[str, Any]]:
    """Every leaf of a config by its key."""
    reader = {} if config.images.reader is None else {"images.reader": config.images.reader}
    return {
        **reader,
        "model": config.model,
        "optimizer": config.optimizer,
        "scheduler": config.scheduler,
        "loss.function": config.loss.function,
        **{f"images.transforms.{i}": leaf for i, leaf in enumerate(config.images.transforms)},
        **{f"augment.transforms.{i}": leaf for i, leaf in enumerate(config.augment.transforms)},
    }


def needs_monai(config: Config) -> bool:
    """Whether a process of this config may import MONAI; a plugin may, too."""
    images = config.images
    if images.spacing is not None or images.normalise == "image" or images.fit == "crop":
        return True
    named = {
        str(mapping["_target_"])
        for key, leaf in leaves(config).items()
        if not (key.startswith("images.transforms.") and only_resizes(leaf))
        for _, mapping in mappings(leaf, key)
        if "_target_" in mapping
    }
    return any(is_within(name, ["monai", *config.plugins]) for name in named)


def schedule_limits(epochs: int) -> dict[str, int]:
    """Arguments of schedules that count epochs -> the most that such a training gets to."""
    # What moves the rate after so many epochs moves nothing after the last one.
    latest = {"T_max": epochs, "total_iters": epochs, "total_steps": epochs}
    latest |= dict.fromkeys(("step_size", "milestones"), epochs - 1)
    latest["patience"] = epochs - 3  # the best epoch, so many and one more, then one to use it
    return latest


def _schedule_problems(config: Config) -> Iterator[str]:
    """Schedules and warm-ups that the training ends before."""
    epochs, scheduler = config.training.epochs, config.scheduler
    for name, most in schedule_limits(epochs).items():
        value = scheduler.get(name, -math.inf)
        ends = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(end, int | float) and end > most for end in ends):
            advice = f"set scheduler.{name} to {most} or less"
            if most < (0 if name == "patience" else 1):
                advice = "take more epochs"
            if name == "total_steps":
                advice = f"scheduler.{name}='@num_steps' counts the steps of the training"
            yield (
                f"scheduler.{name}={value} outlives training.epochs={epochs}: the schedule would "
                f"not get there; {advice}"
            )
    if config.training.warmup_epochs >= epochs:
        yield (
            f"training.warmup_epochs={config.training.warmup_epochs:g} must be less than "
            f"training.epochs={epochs}"
        )


def _manifest_problems(config: sections.ManifestConfig) -> Iterator[str]:
    label = config.columns.label
    several = () if isinstance(label, str) else label
    columns: list[str] = []
    for value in asdict(config.columns).values():
        columns += [value] if isinstance(value, str) else value or ()
    if not config.columns.images:
        yield "manifest.columns.image: names no column"
    for name in sorted({name for name in columns if columns.count(name) > 1}):
        yield f"manifest.columns: {name!r} is named {columns.count(name)} times; each once at most"
    if config.patient_pattern is not None:
        yield from _pattern_problems(config.patient_pattern)
    classes = config.classes or ()
    if len(set(classes)) < len(classes) or not all(name.strip() for name in classes):
        yield f"manifest.classes: must be different names, none blank, got {list(classes)}"
    if config.ordered:
        yield from _scale_problems(config)
    if config.task != "multilabel":
        if not isinstance(label, str):
            yield (
                f"manifest.columns.label: {len(label)} columns, {', '.join(label)}, are of "
                f"manifest.task=multilabel, not of {config.task}; name one column"
            )
        if config.no_label:
            yield f"manifest.no_label={config.no_label} works with manifest.task=multilabel only"
        return
    for name in sorted({name for name in (*classes, *several) if "|" in name or name == "none"}):
        yield f"manifest.task=multilabel: a label cannot be called {name!r}; rename it"
    if several and classes and set(classes) != set(several):
        yield (
            f"manifest.classes: {', '.join(classes)}, but the labels are the columns "
            f"{', '.join(several)} (manifest.columns.label); leave manifest.classes out"
        )


def _scale_problems(config: sections.ManifestConfig) -> Iterator[str]:
    """What manifest.ordered needs."""
    if config.task != "multiclass":
        yield (
            "manifest.ordered=true works with manifest.task=multiclass only: "
            + (
                "two classes have no grade between them"
                if config.task == "binary"
                else "labels that do not exclude each other are no scale"
            )
        )
    elif len(config.classes or ()) < 3:
        yield (
            "manifest.ordered=true needs the scale in manifest.classes, from its lowest grade to "
            f"its highest, three or more; got {list(config.classes or ())}"
        )


def _label_problems(config: Config) -> Iterator[str]:
    """What takes classes that exclude each other, where labels do not."""
    if config.manifest.task != "multilabel":
        return
    loss = config.loss
    if loss.output == "softmax" and not is_baseline(config.model):
        yield (
            "manifest.task=multilabel: with loss.output=softmax the labels would exclude each "
            f"other ({loss.function['_target_']}); use loss=binary_cross_entropy, or loss=focal "
            "loss.output=sigmoid"
        )
    if loss.class_weights != "none":
        yield (
            "manifest.task=multilabel: loss.class_weights weigh whole images, and an image has "
            "several labels; set loss.class_weights=none, and use sampler=class or "
            "loss.logit_adjustment=1 for rare labels"
        )


def _baseline_problems(config: Config) -> Iterator[str]:
    """What a baseline cannot do, and would silently leave out."""
    if not is_baseline(config.model):
        return
    for name, value in {
        "init.weights": config.init.weights,
        "training.freeze": list(config.training.freeze),
    }.items():
        if value:
            yield (
                f"{name}={value}: a baseline of scikit-learn has no layers; choose a network, or "
                "leave this setting out"
            )
    yield from no_augmentation(config.augment)


def _device_problems(config: Config) -> Iterator[str]:
    """What several devices cannot share."""
    num_devices, size = config.engine.devices_per_fold, config.training.batch_size
    if is_baseline(config.model):
        if num_devices > 1:
            yield (
                f"engine.devices_per_fold={num_devices} is for networks; a baseline of "
                "scikit-learn takes one device"
            )
    elif size % num_devices:
        nearest = max(1, round(size / num_devices)) * num_devices
        yield (
            f"training.batch_size={size} cannot be shared evenly by engine.devices_per_fold="
            f"{num_devices}; set training.batch_size={nearest}, or another multiple"
        )


def _pattern_problems(pattern: str) -> Iterator[str]:
    try:
        groups = compiled(pattern, "manifest.patient_pattern").groupindex
    except UserError as error:
        yield f"{error}, got {pattern!r}"
        return
    if "patient" not in groups:
        yield (
            "manifest.patient_pattern: must have a group (?P<patient>...), e.g. "
            f"'(?P<patient>.+)_(left|right)', got {pattern!r}"
        )


def _split_problems(config: Config) -> Iterator[str]:
    split, columns = config.split, config.manifest.columns
    if split.scheme == "temporal" and (columns.date is None or split.test_from is None):
        yield "split.scheme=temporal needs manifest.columns.date and split.test_from=YYYY-MM-DD"
    for name in ("val_from", "test_from"):
        if (day := getattr(split, name)) is not None and not is_day(day):
            yield f"split.{name}: must be a day, YYYY-MM-DD, got {day!r}"
    if split.scheme == "predefined":
        sources = [columns.fold, columns.part, split.assignments]
        if (num_named := sum(source is not None for source in sources)) != 1:
            yield (
                "split.scheme=predefined needs exactly one of manifest.columns.fold, "
                f"manifest.columns.part and split.assignments, got {num_named}"
            )
    given_away = split.test_fraction + split.val_fraction + split.locked_fraction
    if split.scheme == "holdout" and given_away >= 1:
        locked = f" (and {split.locked_fraction} locked)" if split.locked_fraction else ""
        yield (
            "split.test_fraction and split.val_fraction must leave patients to train, got "
            f"{split.test_fraction} + {split.val_fraction}{locked}"
        )
    if split.repeats > 1 and split.scheme != "kfold":
        yield f"split.repeats={split.repeats} works with split.scheme=kfold only"
    if config.audit.part_column and config.audit.part_file:
        yield "audit.part_column and audit.part_file: name one of them"
