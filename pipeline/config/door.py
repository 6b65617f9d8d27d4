"""A Hydra config becomes a `Config` once, here; behind the door nothing reads YAML."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from pipeline.config.config import Config
from pipeline.config.environment import environment_texts
from pipeline.errors import ConfigError

Schema = TypeVar("Schema", bound=object)


def to_config(cfg: DictConfig) -> Config:
    """`to_settings` for the commands that work on an experiment."""
    return to_settings(cfg, Config)


def to_settings(cfg: DictConfig, schema: type[Schema]) -> Schema:
    """Check a composed Hydra config against a schema, a frozen pydantic dataclass.

    Raises:
        ConfigError: with every unknown key, wrong type and broken limit at once.
    """
    try:
        values: Any = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError([_interpolation_problem(error)]) from None
    if schema is Config:
        if values.pop("from_environment", None):
            raise ConfigError(["from_environment: unknown setting; it is filled in by itself"])
        texts = environment_texts(OmegaConf.to_container(cfg, resolve=False))
        values["from_environment"] = texts
    try:
        return TypeAdapter(schema).validate_python(values)
    except ValidationError as error:
        problems = [_problem(dict(e), values, schema) for e in error.errors()]
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


def _problem(error: dict[str, Any], values: Any, schema: Any) -> str:
    """One pydantic error in our words: key, what is allowed, what was found, what the key means."""
    location = [str(part) for part in error["loc"]]
    path = ".".join(location)
    if location[:1] == ["folds"]:  # a union: pydantic gives one error per type
        return f"folds: must be all or a list of folds such as [0,2], got {values['folds']!r}"
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _known_keys(location[:-1], schema)
        close = _closest(location[-1], known)
        better = ".".join([*location[:-1], *close])
        advice = f"did you mean {better!r}?" if close else f"known: {', '.join(known)}"
        return f"{path}: unknown setting; {advice}"
    if error["type"] == "value_error" and isinstance(error["ctx"]["error"], ConfigError):
        return "\n  ".join(error["ctx"]["error"].problems)
    if error["type"] == "missing":
        return f"{path}: missing; it needs a value"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    notes = [description(location, schema)]
    if error["type"] == "string_type" and isinstance(error["input"], bool | int | float):
        notes.insert(0, "YAML reads it as a number or as yes/no: put it in quotes")
    why = "; ".join(filter(None, notes)).rstrip(".")
    return f"{path}: {message}, got {error['input']!r}{f' ({why})' if why else ''}"


def description(location: Sequence[str], schema: Any = Config) -> str:
    """What the setting at `["split", "seed"]` means; of an item in a list, what the list means."""
    for depth in range(len(location), 0, -1):
        parent = _section(location[: depth - 1], schema)
        if found := getattr(parent, "__pydantic_fields__", {}).get(location[depth - 1]):
            return " ".join((found.description or "").split())
    return ""


def suggestion(key: str, schema: Any = Config) -> str:
    """Advice for a key that no config has, e.g. "did you mean 'split.num_folds'?"."""
    parts = key.split(".")
    for depth, name in enumerate(parts):
        known = _known_keys(parts[:depth], schema)
        if name not in known and (close := _closest(name, known)):
            return f"did you mean {'.'.join([*parts[:depth], *close, *parts[depth + 1 :]])!r}?"
    return "`--cfg job` prints every setting; +key=value passes a further argument to a _target_"


def _section(location: Sequence[str], schema: Any) -> Any:
    for name in location:
        schema = next((f.type for f in _settings(schema) if f.name == name), None)
    return schema


def _settings(section: Any) -> tuple[Field[Any], ...]:
    return fields(section) if is_dataclass(section) else ()


def _known_keys(location: Sequence[str], schema: Any) -> list[str]:
    return [setting.name for setting in _settings(_section(location, schema))]


def _closest(name: str, known: Sequence[str]) -> list[str]:
    """The known name that was probably meant, if any."""
    return difflib.get_close_matches(name, known, n=1, cutoff=0.6)


def _interpolation_problem(error: OmegaConfBaseException) -> str:
    first_line = str(error).splitlines()[0].split("resolving interpolation: ")[-1].strip('"')
    if missing := re.match(r"Interpolation key '([\w.]+)' not found", first_line):
        return f"{missing[1]}: missing; it needs a value"
    if "Environment variable" in first_line:
        first_line += "; set it, e.g. PATIENTFOLD_DATA=/folder/that/holds/the/data/sets"
    return f"{error.full_key}: {first_line}" if getattr(error, "full_key", None) else first_line
