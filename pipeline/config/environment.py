"""Settings that come from environment variables: written down as the text that names them.

A password or a token in `${oc.env:TOKEN}` must reach no file and no server; what is recorded is the
text itself.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

Place = tuple[str | int, ...]
"""Where a setting stands: keys of mappings, and positions in lists."""
REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")
MARK = "oc.env:"


def environment_texts(values: Any) -> dict[Place, str]:
    """Of unresolved settings, those that depend on the environment, also through other settings.

    In the texts, references to other settings are filled in: each can be read by itself.
    """
    texts = {place: _filled_in(text, place, values) for place, text in _texts(values, ())}
    return {place: text for place, text in texts.items() if MARK in text}


def with_texts(value: Any, texts: Mapping[Place, str], place: Place = ()) -> Any:
    """Plain values in which those at the places of `texts` are replaced by them."""
    if place in texts:
        return texts[place]
    if isinstance(value, Mapping):
        return {key: with_texts(inner, texts, (*place, key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        inner = enumerate(value)
        return [with_texts(item, texts, (*place, position)) for position, item in inner]
    return value


def _texts(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """Every text with an interpolation."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, (*place, key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _texts(inner, (*place, position))
    elif isinstance(value, str) and "${" in value:
        yield place, value


def _filled_in(text: str, place: Place, values: Any, depth: int = 0) -> str:
    """The text with references to other settings replaced by what these say."""

    def target(reference: re.Match[str]) -> str:
        dots, name = reference.groups()
        there: Place = (*place[: len(place) - len(dots)], *name.split(".")) if dots else ()
        there = there or tuple(name.split("."))
        found: Any = values
        for step in there:
            if not isinstance(found, Mapping) or step not in found:
                return reference[0]
            found = found[step]
        if isinstance(found, str):
            return _filled_in(found, there, values, depth + 1)
        return json.dumps(found, default=str)

    return REFERENCE.sub(target, text) if depth < 20 else text
