"""Instantiate the leaves of a config that we do not own (`_target_`), in one place."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

from pipeline.config import ConfigError, Target


def build(key: str, leaf: Target, facts: Mapping[str, object] | None = None, **more: object) -> Any:
    """Make the object that the leaf at config `key` describes.

    Text values "@name" are replaced by `facts["name"]`, e.g. "@num_classes": what only the data
    knows. `more` are the arguments that the config cannot hold (a network's parameters).

    Raises:
        ConfigError: for an unknown fact, an unknown class, or arguments it does not take.
    """
    settings = _with_facts(key, leaf, facts or {})
    try:
        return hydra.utils.instantiate(settings, _convert_="all", **more)
    except InstantiationException as error:
        raise ConfigError([f"{key}: {_reason(settings, error)}"]) from None


def _with_facts(key: str, value: Any, facts: Mapping[str, object]) -> Any:
    if isinstance(value, Mapping):
        return {name: _with_facts(f"{key}.{name}", inner, facts) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_facts(f"{key}.{i}", inner, facts) for i, inner in enumerate(value)]
    if isinstance(value, str) and value.startswith("@"):
        if value[1:] not in facts:
            known = ", ".join(f"@{name}" for name in facts) or "none here"
            raise ConfigError([f"{key}: unknown fact {value!r}; known are {known}"])
        return facts[value[1:]]
    return value


def _reason(settings: Mapping[str, Any], error: InstantiationException) -> str:
    """The cause's own words, and for a wrong argument the ones that the class takes."""
    cause = error.__cause__ or error
    taken = _taken(error) if isinstance(cause, TypeError) else ""
    return f"{settings['_target_']}: {' '.join(str(cause).split())}{taken}"


def _taken(error: InstantiationException) -> str:
    """The arguments of the class that refused them; it may be nested in the leaf."""
    refused = re.search(r"target '(.+?)'", str(error))
    try:
        parameters = inspect.signature(hydra.utils.get_object(refused[1] if refused else ""))
    except (ImportError, ValueError, TypeError):
        return ""  # a built-in function does not tell
    return f"; it takes {', '.join(parameters.parameters)}"
