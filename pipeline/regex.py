"""A user's regular expressions: compiled, and matched within a limit of time."""

import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from pipeline.errors import UserError
from pipeline.words import counted

LIMIT_S, EACH_S = 5.0, 0.001
"""What all texts together may take, and each of them besides; an honest pattern needs a few µs."""
T = TypeVar("T")


class _TooSlowError(Exception):
    pass


def compiled(text: str, what: str) -> re.Pattern[str]:
    """The regular expression; `what` names it in the message, e.g. "where.view='[a-'".

    Raises:
        UserError: when it is none, or one that cannot be compiled.
    """
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(f"{what} is not a regular expression: {error}") from None


def for_each(match: Callable[[str], T], texts: Sequence[str], what: str) -> list[T]:
    """`match` of every text, where it is a search with a user's regular expression.

    One such as (a+)+b tries more ways than there are seconds in a life, on a text of 40 letters.

    Raises:
        UserError: when that takes too long; it names the text.
    """
    found: list[T] = []
    limit = LIMIT_S + EACH_S * len(texts)
    try:
        with _alarm(limit):
            for text in texts:
                found.append(match(text))
    except _TooSlowError:
        raise UserError(
            f"{what} takes too long: {limit:.0f} s were not enough for "
            f"{counted(len(texts), 'text')}, it was at {texts[len(found)][:200]!r}; a repetition "
            "within a repetition, such as (a+)+, tries every way to share out the text: say what "
            "lies between the parts, e.g. [^_]+_[^_]+"
        ) from None
    return found


@contextmanager
def _alarm(limit_s: float) -> Iterator[None]:
    """Raise _TooSlowError in the block after this time; `re` looks at signals while it searches."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only, where all commands read their patterns
        return

    def stop(*_: object) -> None:
        raise _TooSlowError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
