"""Settings that got another name: a line each.

The former name acts for one minor version, with a warning, on the command line and in config files.
In run folders, which nobody edits, it is understood for ever.
"""

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pipeline import __version__
from pipeline.errors import ConfigError

DEPRECATED: dict[str, str] = {}
"""Former name -> name of today, as in "training.lr": "optimizer.lr". The name of a section stands
for all that is in it."""
PAST: dict[str, str] = {}
"""The same of names that act no longer; a line of DEPRECATED moves here with the next minor
version."""
NAME = re.compile(r"[+~]*([^=]*)")
"""Of an override: training.lr=0.1, +training.lr=0.1, ~training.lr."""
_WARNED: set[str] = set()


def name_today(name: str) -> str:
    """The name of a setting that an old run folder may call otherwise."""
    return _name_by({**PAST, **DEPRECATED}, name)


def overrides_today(overrides: Sequence[str]) -> list[str]:
    """A command line in the names of today; warns of former ones.

    Raises:
        ConfigError: a setting is given under both.
    """
    named = _names_in(overrides)
    today = [_name_by(DEPRECATED, name) for name in named]
    renamed = {former: now for former, now in zip(named, today, strict=True) if former != now}
    if both := [former for former, now in renamed.items() if now in named]:
        raise ConfigError([f"{name}: is {renamed[name]}, which is given too" for name in both])
    _warn_of(renamed)
    triples = zip(overrides, named, today, strict=True)
    return [text.replace(former, now, 1) for text, former, now in triples]


def config_today(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The same of composed settings, in which a former name comes from a config file.

    Its value acts over that of today's name, but not over what the command line gave.
    """
    settings: Any = OmegaConf.to_container(cfg)
    renamed = dict(_move(settings, DEPRECATED, _names_in(overrides)))
    _warn_of(renamed)
    return OmegaConf.create(settings) if renamed else cfg


def recorded_today(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run folder in the names of today."""
    settings = deepcopy(dict(values))
    list(_move(settings, {**PAST, **DEPRECATED}, ()))
    return settings


def _warn_of(renamed: Mapping[str, str]) -> None:
    """Once in a process, whose jobs may be many."""
    from pipeline.console import tell  # a room that only reads settings needs no rich

    version = __version__.rpartition(".")[0]
    for former, now in renamed.items():
        if former not in _WARNED:
            _WARNED.add(former)
            tell(
                f"warning: {former} is called {now} now. What you set acts, but after version "
                f"{version} the former name will be unknown: change it on the command line, or in "
                "your config file",
                sys.stderr,
            )


def _names_in(overrides: Sequence[str]) -> list[str]:
    """The settings that a command line names, each without its mark and value."""
    return [found[1] if (found := NAME.match(text)) else "" for text in overrides]


def _name_by(names: Mapping[str, str], name: str) -> str:
    for former, now in names.items():
        if name == former or name.startswith(f"{former}."):
            return now + name.removeprefix(former)
    return name


def _move(
    settings: dict[str, Any], names: Mapping[str, str], given: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Move what stands under former names; gives each former name that was there, and today's."""
    for former in names:
        for name, value in _leaves(_taken(settings, former.split(".")), former):
            today = _name_by(names, name)
            if today not in given:
                _put(settings, today.split("."), value)
            yield name, today


def _taken(settings: dict[str, Any], path: Sequence[str]) -> Any:
    """The value at a path, {} where there is none; it is gone then, and sections left empty too."""
    first, rest = path[0], path[1:]
    if first not in settings:
        return {}
    if not rest:
        return settings.pop(first)
    section = settings[first]
    if not isinstance(section, dict):
        return {}
    value = _taken(section, rest)
    if not section and value != {}:
        del settings[first]
    return value


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Each single value within `value`, and its whole name."""
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, f"{name}.{key}")


def _put(settings: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        settings = settings.setdefault(name, {})
    settings[path[-1]] = value
