"""The ways of splitting: a file for each, and its name in `SplitScheme` of the settings."""

from importlib import import_module
from typing import get_args

from pipeline.config import SplitScheme
from pipeline.splits.folds import LeakageError
from pipeline.splits.schemes.scheme import Groups, Scheme

__all__ = ["SCHEMES", "Groups", "Scheme", "scheme_named"]

SCHEMES: dict[str, Scheme] = {
    name: import_module(f"pipeline.splits.schemes.{name}").SCHEME for name in get_args(SplitScheme)
}


def scheme_named(name: str) -> Scheme:
    """Raises LeakageError for an unknown name."""
    if name not in SCHEMES:
        raise LeakageError(f"scheme {name!r} is unknown; known are {', '.join(SCHEMES)}.")
    return SCHEMES[name]
