"""The words and numbers that others write for parts and folds, and those that cannot be any."""

import re
from collections.abc import Mapping, Sequence

from pipeline.errors import UserError
from pipeline.words import counted, listed

PARTS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "tr", "fit", "development"),
    "val": ("val", "valid", "validation", "validate", "tune", "tuning", "dev"),
    "test": ("test", "testing", "tst", "te", "ts", "holdout", "heldout", "eval", "evaluation"),
}
"""Our names of the parts, and what others call them."""
_PART_OF_WORD = {word: part for part, words in PARTS.items() for word in words}
_ENDINGS = ("", "set", "split", "part", "data", "images", "cohort")
_BLANK = ("", "none", "nan", "na", "null", "unused", "excluded")
_NUMBER = re.compile(r"(?:(?:fold|block|split|cv|part|f)[\s_-]*)?(\d{1,9})(?:\.0+)?")
_DECIMAL = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE)
_MEASUREMENT = "is this a measurement, such as an age?"
NEVER_TESTED = -1
"""scikit-learn's PredefinedSplit writes -1 for rows that every fold trains on."""
MOST_FOLDS = 10_000
MISSING_AT_MOST, MISSING_SHARE = 3, 0.1
"""Fold numbers that may be missing: so many, or this share of those that are there.

A column of folds lacks a few when patients were left out; ages from 18 to 95 lack the 17 below.
"""
ALLOWED = (
    "allowed are words for train, val and test (also training, validation, dev, holdout, ...) or "
    "fold numbers (0, 1, ... or fold_1, ..., -1 for never tested), and blank for a row in no part"
)

Words = Mapping[str, str]
NO_WORDS: Words = {}
MAPPED = "other words can be mapped: 'audit.words={Discovery: train, Validation: test}'"


def part_of(value: str, words: Words = NO_WORDS) -> str | int | None:
    """train, val or test, a fold number, or None for a blank; KeyError for anything else.

    `words`, as `_own_words` gives them, come before ours.
    """
    word, text = _plain(value), value.strip().casefold()
    for ending in _ENDINGS:
        if part := words.get(word.removesuffix(ending)):
            return part
    if re.fullmatch(r"-1(\.0+)?", text):
        return NEVER_TESTED
    if re.sub(r"[\W_]+", "", text) in _BLANK:
        return None
    for ending in _ENDINGS:
        if part := _PART_OF_WORD.get(word.removesuffix(ending)):
            return part
    number = _NUMBER.fullmatch(text)
    if number is None:
        raise KeyError(value)
    return int(number[1])


def fold_number(name: str) -> int | None:
    """The number that a fold is called by, None for another name."""
    return int(name) if re.fullmatch(r"\d{1,9}", name) else None


def meanings(
    where: str, values: Sequence[str], words: Words = NO_WORDS
) -> dict[str, str | int | None]:
    """What each value means; `words` are those of audit.words.

    UserError: a value is neither a part, a number nor blank; a number cannot be a fold; all are
    blank; a word of audit.words is not among them.
    """
    found: dict[str, str | int | None] = {}
    unknown, own = [], _own_words(words)
    for value in values:
        try:
            found[value] = part_of(value, own)
        except KeyError:
            unknown.append(value)
    _check_own_words(where, words, values, unknown)
    if unknown and all(_DECIMAL.fullmatch(value.strip()) for value in unknown):
        named = listed(sorted(unknown))
        raise UserError(f"{where}: {named} cannot be a fold number; {_MEASUREMENT} {ALLOWED}.")
    if unknown:
        raise UserError(f"{where}: unknown part {listed(sorted(unknown))}; {ALLOWED}; {MAPPED}.")
    if all(part is None for part in found.values()):
        raise UserError(f"{where}: every row is blank; {ALLOWED}.")
    _check_numbers(where, found)
    return found


def _plain(value: str) -> str:
    """What counts of a word: no case, blanks or punctuation, unless it consists of them."""
    text = re.sub(r"(?<=\d)\.0+$", "", value.strip().casefold())
    return re.sub(r"[\W_]+", "", text) or text


def _own_words(words: Words) -> Words:
    """audit.words by what counts of each; UserError when two are one word and mean two parts."""
    own: dict[str, tuple[str, str]] = {}
    for word, part in words.items():
        other, same = own.setdefault(_plain(word), (word, part))
        if part != same:
            raise UserError(
                f"audit.words: {other!r} is mapped to {same} and {word!r} to {part}, but they are "
                "one word: case, blanks and punctuation do not count."
            )
    return {word: part for word, (_, part) in own.items()}


def _check_own_words(
    where: str, words: Words, values: Sequence[str], unknown: Sequence[str]
) -> None:
    """Raise UserError, with what is there, for a word of audit.words that no value is."""
    stems = {_plain(value).removesuffix(ending) for value in values for ending in _ENDINGS}
    if strange := [word for word in words if _plain(word) not in stems]:
        there = listed(sorted(value for value in values if value.strip()))
        text = f"audit.words: {listed(strange)} is not in {where}, which has {there or 'blanks'}"
        unmapped = f"; unknown there: {listed(sorted(unknown))}" if unknown else ""
        raise UserError(f"{text}{unmapped}; {ALLOWED}.")


def _check_numbers(where: str, meaning: Mapping[str, str | int | None]) -> None:
    """Raise UserError unless the bare numbers count up from 0 or 1 with few missing."""
    numbers = sorted({part for part in meaning.values() if isinstance(part, int)} - {NEVER_TESTED})
    if not numbers or not any(value.strip()[:1].isdigit() for value in meaning):
        return
    first, last = numbers[0], numbers[-1]
    num_missing = last - min(first, 1) + 1 - len(numbers)
    most = max(MISSING_AT_MOST, int(MISSING_SHARE * len(numbers)))
    if num_missing > most or len(numbers) > MOST_FOLDS:
        raise UserError(
            f"{where}: {counted(len(numbers), 'different number')} from {first} to {last} cannot "
            f"be fold numbers: those count up from 0 or 1, {MOST_FOLDS:,} of them at most, and few "
            f"are missing (here {num_missing:,}, at most {most:,} may be); {_MEASUREMENT} "
            f"{ALLOWED}."
        )
