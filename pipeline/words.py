"""Counts and lists in a message, and text of strangers in it."""

import unicodedata
from collections.abc import Sequence

SHOWN = 5
"""Examples that a message lists, unless it says otherwise."""


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural unless the number is 1."""
    return f"{number:,} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """`patients`, `studies`."""
    ends_in_y = noun.endswith("y") and noun[-2:-1] not in set("aeiou")
    return f"{noun[:-1]}ies" if ends_in_y else f"{noun}s"


def listed(values: Sequence[str], most: int = SHOWN) -> str:
    """The first values, quoted, and how many more there are."""
    return and_more([repr(value) for value in values[:most]], len(values))


def and_more(examples: Sequence[str], number: int, between: str = ", ") -> str:
    """Examples out of `number`, and how many there are besides."""
    more = f" and {number - len(examples):,} more" if number > len(examples) else ""
    return between.join(examples) + more


def lines_and_more(lines: Sequence[str], most: int) -> list[str]:
    """The first lines, indented, and a last one that counts the rest; a line may hold several."""
    shown = ["  " + line.replace("\n", "\n  ") for line in lines[:most]]
    return shown + [f"  and {len(lines) - most:,} more"] * (len(lines) > most)


def visible(text: str) -> str:
    """Text of several lines whose other control characters are written out, as repr does.

    A terminal would obey them; marks that turn the direction of writing and lone surrogates are
    written out too.
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(c if c == "\n" or is_shown(c) else ascii(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """`visible`, with line feeds written out too: for an id or a name within a line."""
    return visible(text).replace("\n", "\\n")


def is_shown(letter: str) -> bool:
    """Is it a letter that stays what and where it is? Joiners within a script are."""
    if letter in "\u200c\u200d":
        return True
    return unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
