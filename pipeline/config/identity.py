"""Which settings a run's numbers depend on."""

from dataclasses import asdict

from pipeline.config.config import Config
from pipeline.config.plain import flatten
from pipeline.config.sections import FORMER_METRICS


def flat(config: Config) -> dict[str, str]:
    """Every setting as `section.name` -> text, in the schema's order."""
    return dict(flatten(asdict(config), ""))


IDENTITY = ("augment", "evaluation", "images", "init", "loss", "model", "optimizer", "sampler",
            "scheduler", "training")  # fmt: skip
NOT_IDENTITY = ("images.cache_dir", "images.num_processes")


def identity(config: Config) -> dict[str, str]:
    """The settings that a fold's numbers depend on, beside manifest, plan and pixels.

    Where the folds run, where things are stored and which folds are asked for do not count, so
    that `folds=[0]` and then `folds=all` continue the same run.
    """
    former = {name: old for old, name in FORMER_METRICS.items()}
    settings = flat(config)
    name = settings["training.select_by"]
    settings["training.select_by"] = former.get(name, name)  # else every old run gets a new key
    return {
        key: value
        for key, value in settings.items()
        if key.split(".")[0] in IDENTITY and key not in NOT_IDENTITY
    }
