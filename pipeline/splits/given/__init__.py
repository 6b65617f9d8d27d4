"""Splits that somebody else made, read in any of the usual forms; unlike a `Plan` they may leak."""

from pipeline.splits.given.given_split import GivenSplit, Numbers, Round, Rows
from pipeline.splits.given.reading import read_column, read_file
from pipeline.splits.given.words import NEVER_TESTED, fold_number

__all__ = [
    "NEVER_TESTED",
    "GivenSplit",
    "Numbers",
    "Round",
    "Rows",
    "fold_number",
    "read_column",
    "read_file",
]
