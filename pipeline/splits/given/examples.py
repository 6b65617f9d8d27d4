"""Counts and examples in a message: the first few, and how many more there are."""

from collections.abc import Sequence

SHOWN = 5


def listed(values: Sequence[str], most: int = SHOWN) -> str:
    """The first values, quoted, and how many more there are."""
    return and_more([repr(value) for value in values[:most]], len(values))


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def and_more(examples: list[str], number: int) -> str:
    """Examples, and how many there are besides."""
    more = f" and {number - len(examples):,} more" if number > len(examples) else ""
    return ", ".join(examples) + more
