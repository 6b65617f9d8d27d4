"""Which settings a run's numbers depend on, and when two runs are the same."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from pipeline.config.config import Config
from pipeline.config.deprecated import name_today
from pipeline.config.door import defaults
from pipeline.config.environment import with_texts
from pipeline.config.plain import flatten
from pipeline.config.sections import FORMER_METRICS, FORMER_SCHEMES

SECTIONS = [
    "augment",
    "evaluation",
    "features",
    "images",
    "init",
    "loss",
    "model",
    "optimizer",
    "sampler",
    "scheduler",
    "training",
]
BESIDE = ("engine.devices_per_fold",)
"""Of other sections: batch norm sees a device's own images, so that their number counts."""
WITHOUT = (
    "evaluation.subgroups",
    "images.cache_dir",
    "images.most_voxels",
    "images.num_processes",
    "images.preview",
    "evaluation.lower_is_better",
    "evaluation.metrics",
    "init.weights",
    "training.preflight",
)
DEFAULTS_VERSION = 1
"""Counted up when a default gets another value or meaning: a key is made of what differs."""
SAME = {
    **{("training.select_by", former): name for former, name in FORMER_METRICS.items()},
    **{("init.scheme", name): former for former, name in FORMER_SCHEMES.items()},
}
"""(setting, value) -> the other name of the value, which stands for both in a key."""


def written(config: Config) -> dict[str, Any]:
    """The settings as they may be written down: what the environment gave, by its name only."""
    values: dict[str, Any] = with_texts(asdict(config), config.from_environment)
    del values["from_environment"]
    return values


def flat(config: Config) -> dict[str, str]:
    """Every setting as `section.name` -> text, in the schema's order, as it may be written down."""
    return dict(flatten(written(config), ""))


COMPARED = (
    "training.epochs",
    "training.batch_size",
    "training.seed",
    "split.scheme",
    "split.num_folds",
    "split.seed",
)
"""What people compare, also where it has its default."""


def compared(config: Config) -> dict[str, str]:
    """What tells one run from another: what differs from the defaults, and COMPARED.

    What "@..." stands for follows from the rest.
    """
    chosen = distinctive(identity(config))
    return {
        key: value
        for key, value in flat(config).items()
        if key in COMPARED or (key in chosen and not value.startswith("@"))
    }


def identity(config: Config) -> dict[str, str]:
    """The settings that a fold's numbers depend on, beside manifest, plan, pixels and plugins.

    Where the folds run, where things are stored and which folds are asked for do not count, so
    that `folds=[0]` and then `folds=all` continue the same run. Beside the name of what the
    environment gave stands a slow hash of it: another value is another run.
    """
    counted = {key: value for key, value in flat(config).items() if _counts(key)}
    if any(place[0] in SECTIONS for place in config.from_environment):
        values = dict(flatten(asdict(replace(config, from_environment={})), ""))
        for key, text in counted.items():
            if text != (value := values.get(key, "")):
                code = hashlib.scrypt(value.encode(), salt=key.encode(), n=2**14, r=8, p=1)
                counted[key] = f"{text} {code.hex()[:12]}"
    return counted


def distinctive(settings: Mapping[str, str]) -> dict[str, str]:
    """What differs from the defaults in an identity, of today or read from an older run's file.

    A setting that the older run did not know has its default in this view: a new setting makes
    no other run of an old one. Leaves such as `model` have no default; all of them counts.
    """
    usual = {_one_name(key, value) for key, value in flatten(defaults(), "") if _counts(key)}
    pairs = [_one_name(key, value) for key, value in settings.items()]
    return dict(pair for pair in pairs if pair not in usual)


def _counts(key: str) -> bool:
    parts = key.split(".")
    counts = parts[0] in SECTIONS or key in BESIDE
    return counts and not {key, ".".join(parts[:2])} & {*WITHOUT}


def _one_name(key: str, value: str) -> tuple[str, str]:
    key = name_today(key)
    return key, SAME.get((key, value), value)
