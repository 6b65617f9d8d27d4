"""`plan_folds`: every scheme behind one door; each returns a plan that proves itself."""

from collections.abc import Callable, Iterable

import numpy as np

from pipeline.arrays import Ints
from pipeline.config import SplitConfig, UserError
from pipeline.manifest import Manifest
from pipeline.splits.balance import Quantities
from pipeline.splits.counts import count_groups, group_names
from pipeline.splits.deal import carved, deal, deal_some
from pipeline.splits.folds import Fold, Plan
from pipeline.splits.leave_one_out import leave_one_out
from pipeline.splits.predefined import predefined_rounds
from pipeline.splits.temporal import cuts_of, purged_manifest, temporal_rounds

Rounds = Iterable[tuple[Ints, Ints]]
"""A fold's (test, val): positions of groups; the others are trained on."""


def plan_folds(manifest: Manifest, split: SplitConfig) -> Plan:
    """Deal the manifest's leakage groups to the parts of every fold, as `split` says.

    The same samples give the same plan, in whatever order the rows came and on any machine.

    Raises:
        UserError: when there are too few groups, or a column or value that the scheme needs is
            not there. LeakageError: when a predefined split cuts a group.
    """
    cuts = cuts_of(split) if split.scheme == "temporal" else ()
    in_use = purged_manifest(manifest, cuts) if cuts else manifest
    names = group_names(in_use)
    quantities = count_groups(in_use, names, split.stratify, split.num_bins)
    locked = _locked(quantities, split)
    free = np.setdiff1d(np.arange(len(names)), locked)
    rounds = list(_SCHEMES[split.scheme](in_use, names, quantities, free, split))
    pairs = manifest.table[["patient_id", "group"]].drop_duplicates()
    groups = dict(zip(pairs["patient_id"].astype(str), pairs["group"].astype(str), strict=True))
    position = {name: i for i, name in enumerate(names)}
    members: list[list[str]] = [[] for _ in names]
    for patient in in_use.patients:
        members[position[groups[patient]]].append(patient)

    def patients(positions: Ints) -> frozenset[str]:
        return frozenset(patient for i in positions.tolist() for patient in members[i])

    everyone = patients(free)
    folds = []
    for index, (test, val) in enumerate(rounds):
        test_part, val_part = patients(test), patients(val)
        folds.append(Fold(index, everyone - test_part - val_part, val_part, test_part))
    return Plan(
        scheme=split.scheme,
        seed=split.seed,
        folds=tuple(folds),
        groups=dict(sorted(groups.items())),
        manifest_hash=manifest.hash,
        repeats=split.repeats,
        locked=patients(locked),
        purged_patients=frozenset(groups) - frozenset(in_use.patients),
        purged_images=frozenset(manifest.table["image_path"].iloc[sorted(in_use.purged)]),
        cuts=cuts,
    )


def _locked(quantities: Quantities, split: SplitConfig) -> Ints:
    if not split.locked_fraction:
        return np.zeros(0, np.int64)
    _need(len(quantities), 4, "split.locked_fraction")
    shares = np.array([split.locked_fraction, 1 - split.locked_fraction])
    return np.flatnonzero(deal(quantities, shares, split.seed) == 0)


def _kfold(
    manifest: Manifest, _: list[str], quantities: Quantities, free: Ints, split: SplitConfig
) -> Rounds:
    k = split.num_folds
    if len(free) < k:
        raise UserError(_too_few(manifest, quantities, free, k))
    for repeat in range(split.repeats):
        blocks = deal_some(quantities, free, [1 / k] * k, split.seed + repeat)
        for i in range(k):
            yield free[blocks == i], free[blocks == (i + 1) % k]


def _too_few(manifest: Manifest, quantities: Quantities, free: Ints, num_folds: int) -> str:
    """How many folds there can be, at most one a group and one a group of the rarest class."""
    text = (
        f"split.num_folds is {num_folds}, but {manifest.path} has only {len(free)} independent "
        "patient(s)"
    )
    if len(free) < 3:
        return f"{text}; at least 3 are needed."
    of_class = (quantities.images[free] > 0).sum(axis=0)
    rarest = int(of_class.argmin())
    most = int(of_class[rarest])
    if most < len(free):
        text += f", and class {manifest.classes[rarest]!r} only {most}"
    if most < 3:
        return f"{text}; 3 of each class are needed: leave its rows out, or merge it with another."
    return f"{text}; use {'3' if most == 3 else f'3 to {most}'} folds."


def _holdout(
    _: Manifest, __: list[str], quantities: Quantities, free: Ints, split: SplitConfig
) -> Rounds:
    _need(len(free), 3, "split.scheme=holdout")
    of_the_free = 1 / (1 - split.locked_fraction)  # the fractions are of all patients
    test, val = split.test_fraction * of_the_free, split.val_fraction * of_the_free
    blocks = deal_some(quantities, free, [test, val, 1 - test - val], split.seed)
    yield free[blocks == 0], free[blocks == 1]


def _predefined(
    manifest: Manifest, names: list[str], quantities: Quantities, free: Ints, split: SplitConfig
) -> Rounds:
    for given in predefined_rounds(manifest, names, split):
        test, val = (np.intersect1d(part, free) for part in given)
        rest = np.setdiff1d(free, np.concatenate([test, val]))
        gone = [name for name, part, was in (("test", test, given[0]), ("val", val, given[1]))
                if len(was) and not len(part)]  # fmt: skip
        if gone or not len(rest):
            raise UserError(
                f"split.locked_fraction={split.locked_fraction} locks all patients of the "
                f"{' and '.join(gone) or 'train'} part of a given fold; set it to 0, or lock "
                "patients by hand: take their rows out of the manifest."
            )
        if not len(val) and len(rest) >= 2:
            val = carved(quantities, rest, split.val_fraction, split.seed)
        yield test, val


def _need(found: int, least: int, what: str) -> None:
    if found < least:
        raise UserError(f"{what} needs {least} independent patients or more, got {found}.")


_SCHEMES: dict[str, Callable[[Manifest, list[str], Quantities, Ints, SplitConfig], Rounds]] = {
    "kfold": _kfold,
    "holdout": _holdout,
    "leave_one_out": leave_one_out,
    "temporal": temporal_rounds,
    "predefined": _predefined,
}
