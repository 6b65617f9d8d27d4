"""The ways of splitting: one file for each, and one line below."""

from pipeline.splits.folds import LeakageError
from pipeline.splits.schemes.holdout import HOLDOUT
from pipeline.splits.schemes.kfold import KFOLD
from pipeline.splits.schemes.leave_one_out import LEAVE_ONE_OUT
from pipeline.splits.schemes.predefined import PREDEFINED
from pipeline.splits.schemes.scheme import Groups, Scheme
from pipeline.splits.schemes.temporal import TEMPORAL

__all__ = ["SCHEMES", "Groups", "Scheme", "scheme_named"]

SCHEMES = {scheme.name: scheme for scheme in (KFOLD, LEAVE_ONE_OUT, HOLDOUT, TEMPORAL, PREDEFINED)}


def scheme_named(name: str) -> Scheme:
    """Raises LeakageError for an unknown name."""
    if name not in SCHEMES:
        raise LeakageError(f"scheme {name!r} is unknown; known are {', '.join(SCHEMES)}.")
    return SCHEMES[name]
