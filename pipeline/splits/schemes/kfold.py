"""Each fold tests one block of patients and validates on the next; the blocks are alike."""

from pipeline.config import SplitConfig, UserError
from pipeline.splits.dealing.deal import deal_some
from pipeline.splits.schemes.scheme import Groups, Rounds, Scheme
from pipeline.words import SHOWN, and_more, counted


def _rounds(groups: Groups, split: SplitConfig) -> Rounds:
    k, free = split.num_folds, groups.free
    if len(free) < k:
        raise UserError(_too_few(groups, k))
    for repeat in range(split.repeats):
        blocks = deal_some(groups.quantities, free, [1 / k] * k, split.seed + repeat)
        for i in range(k):
            yield free[blocks == i], free[blocks == (i + 1) % k]


def _too_few(groups: Groups, num_folds: int) -> str:
    """How many folds there can be: no more than groups, and than groups of the rarest class.

    Every class that has too few for any plan is named.
    """
    num_free = len(groups.free)
    text = (
        f"split.num_folds is {num_folds}, but {groups.manifest.path} has only "
        f"{counted(num_free, 'independent patient')}"
    )
    if num_free < 3:
        return f"{text}; at least 3 are needed."
    of_class = (groups.quantities.images[groups.free] > 0).sum(axis=0)
    most, rarest = int(of_class.min()), int(of_class.argmin())
    rare = [
        f"class {name!r} only {number}"
        for i, (name, number) in enumerate(zip(groups.manifest.classes, of_class, strict=True))
        if i == rarest or number < 3
    ]
    if most < num_free:
        text += f", and {and_more(rare[:SHOWN], len(rare))}"
    if most < 3:
        what = "its rows out, or merge it" if len(rare) == 1 else "their rows out, or merge them"
        return f"{text}; 3 of each class are needed: leave {what} with another."
    return f"{text}; use {'3' if most == 3 else f'3 to {most}'} folds."


SCHEME = Scheme(
    name="kfold",
    words="fold i tests block i, validates on block i + 1, trains on the rest",
    rounds=_rounds,
    tests_everybody=True,
    rotates=True,
    remedy="another split.seed may deal them better",
)
