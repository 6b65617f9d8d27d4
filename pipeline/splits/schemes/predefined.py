"""Folds that somebody else made; patients may be locked away from them."""

import numpy as np

from pipeline.config import SplitConfig, UserError
from pipeline.splits.dealing.deal import carved
from pipeline.splits.predefined import predefined_rounds
from pipeline.splits.schemes.scheme import Groups, Rounds, Scheme


def _rounds(groups: Groups, split: SplitConfig) -> Rounds:
    free = groups.free
    for given in predefined_rounds(groups.manifest, groups.names, split):
        test, val = (np.intersect1d(part, free) for part in given)
        rest = np.setdiff1d(free, np.concatenate([test, val]))
        parts = zip(("test", "val"), given, (test, val), strict=True)
        gone = [name for name, was, part in parts if len(was) and not len(part)]
        if gone or not len(rest):
            raise UserError(
                f"split.locked_fraction={split.locked_fraction} locks all patients of the "
                f"{' and '.join(gone) or 'train'} part of a given fold; set it to 0, or lock "
                "patients by hand: take their rows out of the manifest."
            )
        if not len(val) and len(rest) >= 2:
            val = carved(groups.quantities, rest, split.val_fraction, split.seed)
        yield test, val


PREDEFINED = Scheme(
    name="predefined",
    words="as given",
    rounds=_rounds,
    remedy="assign patients in another way, or use split.scheme=kfold",
)
