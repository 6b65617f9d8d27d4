"""Splits that somebody else made, in any of the usual forms; unlike a `Plan` they may leak."""

from pipeline.splits.given.given_split import GivenSplit
from pipeline.splits.given.reading import read_column, read_file
from pipeline.splits.given.words import NEVER_TESTED, NO_WORDS, Words, fold_number

__all__ = [
    "NEVER_TESTED",
    "NO_WORDS",
    "GivenSplit",
    "Words",
    "fold_number",
    "read_column",
    "read_file",
]
