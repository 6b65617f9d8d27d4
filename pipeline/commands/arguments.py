"""What stands on a command line: settings as name=value, and Hydra's own flags.

Checked here, so that a mistake gets one line of advice, and not the words of Hydra's own parser.
"""

import difflib
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from pipeline.errors import UserError

COMPLETION = {"-sc", "--shell-completion"}
JOBS = {"-m", "--multirun", "-r", "--run", *COMPLETION}
PRINTED = ("job", "hydra", "all")
ASKED = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
CHOICES = {"-c": PRINTED, "--cfg": PRINTED, "-i": ASKED, "--info": ASKED}
PLACES = "-p --package -cd --config-dir -cn --config-name -cp --config-path"
WITH_VALUE = {*PLACES.split(), *CHOICES}
WITHOUT_VALUE = {*JOBS, "--resolve", "--hydra-help"}


def in_order(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags, each a word or a flag with its value, and the settings."""
    flags, settings = [], []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        flag, mark, value = word.partition("=")
        if flag in WITH_VALUE:
            if not mark and not rest:
                raise UserError(f"{flag}: needs a value")
            value = value if mark else rest.pop(0)
            allowed = CHOICES.get(flag, (value,))
            if value not in allowed:
                raise UserError(f"{flag}: must be one of {', '.join(allowed)}, got {value!r}")
            flags += [flag, value]
        elif word in WITHOUT_VALUE:
            flags.append(word)
        elif word.startswith("-"):
            raise UserError(_without_dashes(word, rest))
        elif "=" not in word and not word.startswith("~"):
            raise UserError(f"{word}: settings are written name=value, e.g. experiment=demo")
        else:
            settings.append(word)
    jobs = [flag for flag in flags if flag in JOBS | CHOICES.keys()]
    if len(jobs) > 1:
        raise UserError(f"{' and '.join(jobs)}: give one of them")
    if "--resolve" in flags and not {"-c", "--cfg"} & set(flags):
        raise UserError("--resolve: works together with --cfg job")
    return flags, settings


def nested(arguments: Sequence[str], words: Sequence[str] = ()) -> dict[str, Any]:
    """Settings as nested text, for the commands that compose no experiment.

    `words` are settings that may come first as a word, with their values after it: `diff A B` is
    diff=[A,B], and `prune` prune=true.
    """
    values, arguments = _worded(arguments, words)
    flags, settings = in_order(arguments)
    if flags:
        raise UserError(f"{flags[0]}: this command takes settings only, as name=value")
    for setting in settings:
        name, _, value = setting.partition("=")
        *sections, last = name.split(".")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise UserError(f"{name}: {section} has a value of its own")
        inner[last] = value
    return values


def _worded(arguments: Sequence[str], words: Sequence[str]) -> tuple[dict[str, Any], Sequence[str]]:
    """The setting that comes first as a word, if one does, and all other arguments."""
    if not words or not arguments or not _is_word(arguments[0]):
        return {}, arguments
    first, *rest = arguments
    if first not in words:
        known = " or ".join([f"{word} ..." for word in words])
        raise UserError(f"{first}: unknown; write {known}, or settings as name=value")
    given = list(takewhile(_is_word, rest))
    return {first: given or "true"}, rest[len(given) :]


def _is_word(argument: str) -> bool:
    return not argument.startswith(("-", "~")) and "=" not in argument


def value_of(flags: Sequence[str], names: Sequence[str]) -> str | None:
    """The value of a flag, e.g. of -cd or --config-dir; None: it was not given."""
    return next((flags[i + 1] for i, flag in enumerate(flags) if flag in names), None)


def _without_dashes(word: str, rest: Sequence[str]) -> str:
    """What to write in place of `--experiment demo`."""
    if close := difflib.get_close_matches(word, WITHOUT_VALUE | WITH_VALUE, n=1, cutoff=0.85):
        return f"{word}: unknown; did you mean {close[0]}?"
    name, mark, value = word.lstrip("-").partition("=")
    if not mark:
        is_value = bool(rest) and "=" not in rest[0] and not rest[0].startswith("-")
        value = rest[0] if is_value else "..."
    return f"{word}: settings have no dashes; write {name.replace('-', '_')}={value}"
