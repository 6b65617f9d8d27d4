"""Settings as Python has them, as a command line writes them: {"seed": 1} -> split.seed=1"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString

from pipeline.config import ConfigError, UserError, defaults

PLAIN = re.compile(r"(?:\.{0,2}/)?[A-Za-z_][\w./-]*", re.ASCII)
"""Text that needs no quotes, unless it is one of WORDS."""
WORDS = {"null", "true", "false", "inf", "nan"}
"""What Hydra reads as something else than text, in small letters or not."""
NUMBER = re.compile(r"[+-]?[\d._]+(e[+-]?\d+)?|true|false|inf|nan", re.ASCII | re.IGNORECASE)

TARGET = (
    "{key}: a class of your own gets a file, conf/{key}/<name>.yaml with its _target_, and is "
    "taken by {key}='<name>' (docs/extending.md)"
)


def overrides_of(settings: Mapping[str, Any]) -> list[str]:
    """`name=value` for each; the settings of a section stand in a dict, or under `section.name`.

    Raises:
        ConfigError: a value is of no kind that a setting has.
    """
    return list(_overrides(settings, "", defaults()))


def refuse_numbers_as_names(overrides: Sequence[str], groups: Collection[str]) -> None:
    """UserError for `experiment=2024`: Hydra reads a number, where the name of a file stands."""
    for text in overrides:
        group, _, value = text.lstrip("+").partition("=")
        names = value.split(",")
        quoted = [f"'{name}'" if NUMBER.fullmatch(name) else name for name in names]
        if group in groups and quoted != names:
            raise UserError(
                f"{text}: a name that is a number is put in quotes, within those of the shell: "
                f'"{group}={",".join(quoted)}"'
            )


def several_values(overrides: Sequence[str]) -> str | None:
    """The first setting that a sweep would try several values of: `lr=1e-3,3e-4`."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return next((one.input_line for one in parsed if one.is_sweep_override()), None)


def _overrides(settings: Mapping[str, Any], prefix: str, known: Any) -> Iterator[str]:
    """`known`: the defaults of the section; None for what we do not own, as an optimizer."""
    for key, value in settings.items():
        inner = known
        for name in str(key).split("."):
            inner = inner.get(name, {}) if isinstance(inner, Mapping) else None
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            if "_target_" in value:
                raise ConfigError([TARGET.format(key=f"{prefix}{key}")])
            yield from _overrides(value, f"{prefix}{key}.", inner)
        else:
            yield f"{prefix}{key}={_text(value, f'{prefix}{key}')}"


def _text(value: Any, key: str) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Integral():
            return str(int(value))
        case Real():
            return repr(float(value))
        case str() | PurePath():
            return _quoted(str(value))
        case Mapping():
            pairs = (f"{_quoted(str(k))}:{_text(v, key)}" for k, v in value.items())
            return f"{{{','.join(pairs)}}}"
        case list() | tuple() | set() | frozenset():
            return f"[{','.join(_text(v, key) for v in value)}]"
    raise ConfigError([f"{key}: must be text, a number, a list or a dict, got {value!r}"])


def _quoted(text: str) -> str:
    """Text that Hydra reads as this very text."""
    if PLAIN.fullmatch(text) and text.lower() not in WORDS:
        return text
    return str(QuotedString(text, Quote.single).with_quotes())
