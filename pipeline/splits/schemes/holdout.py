"""One fold: patients are dealt to test, validation and training by fractions of all."""

from pipeline.config import SplitConfig, UserError
from pipeline.splits.dealing.deal import deal_some
from pipeline.splits.schemes.scheme import Groups, Rounds, Scheme


def _rounds(groups: Groups, split: SplitConfig) -> Rounds:
    if len(groups.free) < 3:
        raise UserError(
            f"split.scheme=holdout needs 3 independent patients or more, got {len(groups.free)}."
        )
    of_the_free = 1 / (1 - split.locked_fraction)  # the fractions are of all patients
    test, val = split.test_fraction * of_the_free, split.val_fraction * of_the_free
    blocks = deal_some(groups.quantities, groups.free, [test, val, 1 - test - val], split.seed)
    yield groups.free[blocks == 0], groups.free[blocks == 1]


SCHEME = Scheme(
    name="holdout",
    words="one test part and one validation part, dealt by fractions",
    rounds=_rounds,
    remedy="change split.test_fraction or split.val_fraction, or use split.scheme=kfold",
)
