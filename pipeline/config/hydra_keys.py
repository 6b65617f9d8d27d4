"""Hydra's own settings: they can run code before a config reaches our door, so few are allowed."""

import re
from collections.abc import Iterable, Iterator
from glob import glob
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import ConfigError

HARMLESS = {
    "hydra.run",
    "hydra.sweep",
    "hydra.output_subdir",
    "hydra.help",
    "override hydra/job_logging: none",
    "override hydra/hydra_logging: none",
}
"""What the main file of a command may set."""
IN_ARGUMENTS = re.compile(
    r"\+*hydra(\.(run|sweep|launcher|sweeper)\.|/(launcher|sweeper|sweeper/sampler)=)"
)
RUNS_CODE = ("_target_", "custom_search_space", "independent_sampler", "constraints_func")
"""What of a sweeper's settings would call whatever is named."""
NAMED = re.compile(r"\bhydra\b")
PACKAGE = re.compile(r"^\s*#\s*@package\b.*\bhydra\b", re.MULTILINE)


def refuse_hydra_keys(folders: Iterable[Path]) -> None:
    """Check every YAML file of the config folders; to be called before Hydra composes.

    Raises:
        ConfigError: with every file that sets anything of Hydra's own. The main files at the top
            of a folder (cv.yaml) may say where Hydra writes, and that it logs nothing.
    """
    if found := sorted(problem for folder in folders for problem in _problems(folder)):
        raise ConfigError(found)


def refuse_hydra_overrides(arguments: Iterable[str]) -> None:
    """Check a command line: only where Hydra writes, its launcher and its sweeper may be set."""
    found = [
        f"{argument}: of Hydra's own settings only those of hydra.run, hydra.sweep, "
        "hydra.launcher and hydra.sweeper can be set"
        for argument in arguments
        if re.match(r"[+~]*hydra\b|[^=]*@[^=]*\bhydra\b", argument)
        and (not IN_ARGUMENTS.match(argument) or any(word in argument for word in RUNS_CODE))
    ]
    if found:
        raise ConfigError(found)


def _problems(folder: Path) -> Iterator[str]:
    # Path.rglob does not look behind links, where Hydra does.
    for name in glob("**/*.y*ml", root_dir=folder, recursive=True, include_hidden=True):  # noqa: PTH207
        path, inner = folder / name, Path(name)
        text = path.read_text(encoding="utf-8", errors="replace")
        if PACKAGE.search(text) or "hydra" in inner.with_suffix("").parts:
            yield f"{path}: sets something of Hydra itself, which can run code; remove it"
        elif NAMED.search(text) or "\\" in text:  # an escaped letter could hide the word
            try:
                keys = list(_hydra_keys(yaml.load(text, yaml.BaseLoader)))
            except yaml.YAMLError:  # Hydra will report it
                continue
            for key in keys:
                if key not in HARMLESS or len(inner.parts) > 1:
                    yield f"{path}: {key}: settings of Hydra itself can run code; remove it"


def _hydra_keys(value: Any) -> Iterator[str]:
    """Each key, at any depth, and each entry of a defaults list that names Hydra."""
    if isinstance(value, list):
        for inner in value:
            yield from _hydra_keys(inner)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if key == "hydra" and isinstance(inner, dict):
            yield from (f"hydra.{name}" for name in inner if name != "job")
            job = inner.get("job")
            if isinstance(job, dict):  # env_set could name code
                yield from (f"hydra.job.{name}" for name in job if name != "chdir")
            continue
        if NAMED.search(str(key)):
            yield f"{key}: {inner}"
            continue
        yield from _hydra_keys(inner)
        if key == "defaults" and isinstance(inner, list):
            yield from (e for e in inner if isinstance(e, str) and NAMED.search(e))
