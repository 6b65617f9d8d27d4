"""The settings of a schema in words: type, default and meaning, from its own docstrings."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pipeline.config.plain import flatten

NAMES = {str: "text", int: "whole number", float: "number", bool: "true|false", NoneType: "null"}
MISSING_VALUE = "???"
"""OmegaConf's mark of a missing value."""
LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


class Setting(NamedTuple):
    """One setting, in words."""

    name: str
    """As it is typed: training.epochs."""
    default: str
    """`???` where a value must be given."""
    kind: str
    """Its type and limits."""
    meaning: str


class Section(NamedTuple):
    """Settings that belong together; those without a section come first, with the name ""."""

    name: str
    files: Sequence[str]
    """That the section can be taken from."""
    meaning: str
    settings: Sequence[Setting]
    leaf: Sequence[tuple[str, str]] | None
    """The class that _target_ names, and its arguments; None: settings of ours."""


def described(
    schema: Any,
    values: Mapping[str, Any],
    reads: Sequence[str],
    options: Mapping[str, Sequence[str]],
) -> Iterator[Section]:
    """Every setting that a command reads, section by section.

    `values` are the defaults as composed; `reads` names sections (`split`) and single settings
    (`training.select_by`), none: all; `options` are the files that a section can be taken from.
    """
    settings = [setting for setting in fields(schema) if _is_read(setting.name, reads)]
    alone = [setting for setting in settings if _section(setting) is None]
    yield Section("", (), "", tuple(_settings(schema, alone, values, "")), None)
    for setting in settings:
        section, value = _section(setting), values.get(setting.name) or {}
        if section is None:
            continue
        files, prefix = options.get(setting.name, ()), f"{setting.name}."
        if is_dataclass(section):
            inner = [s for s in fields(section) if _is_read(prefix + s.name, reads)]
            found = tuple(_settings(section, inner, value, prefix))
            yield Section(setting.name, files, section.__doc__ or "", found, None)
        else:
            leaf = tuple(flatten(value, setting.name))
            yield Section(setting.name, files, _meaning(schema, setting), (), leaf)


def in_lines(sections: Iterable[Section]) -> Iterator[str]:
    """What `--help` shows of them."""
    for section in sections:
        if section.name:
            files = "|".join(section.files)
            yield f"\n{section.name}={files}" if files else f"\n{section.name}"
        for setting in section.settings:
            value = (
                "(needs a value)" if setting.default == MISSING_VALUE else f"= {setting.default}"
            )
            yield f"  {f'{setting.name} {value}':38}  {setting.kind}".rstrip()
            yield from (f"      {line}" for line in setting.meaning.splitlines())
        if section.leaf is not None:
            yield "      The class that _target_ names, and its arguments."
            yield from (f"  {key} = {text}" for key, text in section.leaf)


def setting_names(schema: Any, prefix: str = "") -> Iterator[str]:
    """Every setting of a schema, as it is typed."""
    for setting in fields(schema):
        if is_dataclass(setting.type):
            yield from setting_names(setting.type, f"{prefix}{setting.name}.")
        else:
            yield prefix + setting.name


def _settings(
    schema: Any, settings: Sequence[Field[Any]], values: Mapping[str, Any], prefix: str
) -> Iterator[Setting]:
    for setting in settings:
        name, value = prefix + setting.name, values.get(setting.name, _default(setting))
        if is_dataclass(setting.type):
            yield from _settings(setting.type, fields(setting.type), value or {}, f"{name}.")
        else:
            kind = type_in_words(setting.type)
            yield Setting(name, _text(value), kind, _meaning(schema, setting))


def _meaning(schema: Any, setting: Field[Any]) -> str:
    return schema.__pydantic_fields__[setting.name].description or ""


def type_in_words(kind: Any) -> str:
    """`Annotated[int, Field(ge=3)]` -> whole number >= 3; a Literal -> its values."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        bounds = [bound for info in arguments[1:] for bound in getattr(info, "metadata", ())]
        found = [(sign, getattr(b, name, None)) for b in bounds for name, sign in LIMITS.items()]
        limits = [f"{sign} {limit}" for sign, limit in found if limit is not None]
        return " ".join([type_in_words(arguments[0]), " and ".join(limits)]).strip()
    if origin is Literal:
        return "|".join(map(str, arguments))
    if origin in (Union, UnionType):
        return " or ".join(map(type_in_words, arguments))
    if origin is tuple:
        return f"list of {type_in_words(arguments[0])}"
    if origin is dict:
        return "{name: value, ...}"
    return NAMES[kind]


def _section(setting: Field[Any]) -> Any:
    """The dataclass of a section, or the type of a leaf that we do not own; None: one setting."""
    if is_dataclass(setting.type):
        return setting.type
    is_leaf = get_origin(setting.type) is dict and get_args(setting.type)[1] is Any
    return setting.type if is_leaf else None


def _is_read(name: str, reads: Sequence[str]) -> bool:
    """A section is read when one of its settings is, and a setting when its section is."""
    return not reads or any(
        name == read or name.startswith(f"{read}.") or read.startswith(f"{name}.") for read in reads
    )


def _default(setting: Field[Any]) -> Any:
    """The mark of a missing value where the schema has no default."""
    if setting.default_factory is not MISSING:
        return setting.default_factory()
    return MISSING_VALUE if setting.default is MISSING else setting.default


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
