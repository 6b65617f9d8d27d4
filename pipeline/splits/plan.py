"""`Plan`: all folds of one cross-validation, made here from groups, and proved."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pipeline.arrays import Ints
from pipeline.config import SplitConfig, UserError, fingerprint
from pipeline.manifest import Manifest
from pipeline.splits.dealing.balance import Quantities
from pipeline.splits.dealing.counts import count_groups, group_names, groups_of
from pipeline.splits.dealing.deal import deal
from pipeline.splits.folds import PARTS, Fold, LeakageError, folds_of
from pipeline.splits.given import NO_WORDS, Words
from pipeline.splits.schemes import Groups, Scheme, scheme_named
from pipeline.words import counted

IMAGE_LEVEL = "-image-level-UNSAFE"
"""Follows the scheme's name in a plan that deals images; plan.json keeps it."""


@dataclass(frozen=True)
class Plan:
    """All folds of one experiment, whatever the scheme; it proves itself when made.

    In every fold each patient of the manifest is in one part, or is `locked` (kept away from all
    folds) or purged. How often a patient is tested follows from the scheme.

    Raises LeakageError when a group lies on two sides, a patient is lost or tested too often, or
    the scheme is unknown.
    """

    scheme: str
    seed: int
    folds: tuple[Fold, ...]
    groups: Mapping[str, str]
    """Every patient id -> the leakage group it belongs to."""
    manifest_hash: str
    repeats: int = 1
    """How often everybody is tested, by a scheme that rotates."""
    locked: frozenset[str] = frozenset()
    purged_patients: frozenset[str] = frozenset()
    """Patients all of whose images are purged."""
    purged_images: frozenset[str] = frozenset()
    """Image paths that no part holds: earlier than the period that their patient is in."""
    cuts: tuple[str, ...] = ()
    """First days of the test period, or of the validation and the test period; temporal only."""
    version: int = 1
    parent_hash: str = ""
    """Hash of the plan that this one was grown or repaired from."""

    def __post_init__(self) -> None:
        if [fold.index for fold in self.folds] != list(range(self.num_folds)) or not self.folds:
            raise LeakageError("folds must be numbered from 0 and be at least one.")
        everyone = self.groups.keys()
        for fold in self.folds:
            inside = [*fold.train, *fold.val, *fold.test, *self.locked, *self.purged_patients]
            if len(inside) != len(everyone) or everyone != set(inside):
                lost = set(inside) ^ everyone or {p for p in inside if inside.count(p) > 1}
                raise LeakageError(f"fold {fold.index}: patient {min(lost)!r} is not in one place.")
            self._check_groups(fold)
        self._check_rotation()
        expected = {self.repeats} if self.made_by.tests_everybody else {0, 1}
        if wrong := set(self.times_tested.values()) - expected:
            raise LeakageError(
                f"scheme {self.scheme} tests everybody {' or '.join(map(str, sorted(expected)))} "
                f"times, but some are tested {counted(max(wrong), 'time')}."
            )

    def _check_groups(self, fold: Fold) -> None:
        sides = [*((part, fold.of(part)) for part in PARTS), ("locked", self.locked)]
        seen: dict[str, tuple[str, str]] = {}
        for side, patients in sides:
            for patient in patients:
                other_side, other = seen.setdefault(self.groups[patient], (side, patient))
                if other_side != side:
                    raise LeakageError(
                        f"fold {fold.index}: patients {min(other, patient)!r} and "
                        f"{max(other, patient)!r} belong together (group "
                        f"{self.groups[patient]!r}) but are in {other_side} and {side}."
                    )

    def _check_rotation(self) -> None:
        if not self.made_by.rotates:
            if self.repeats > 1:
                raise LeakageError(f"scheme {self.scheme} has no repeats, got {self.repeats}.")
            return
        if self.num_folds % self.repeats or self.num_folds < 3 * self.repeats:
            raise LeakageError(
                f"a plan needs at least 3 folds per repeat, got {self.num_folds} in "
                f"{counted(self.repeats, 'repeat')}."
            )
        if self.out_of_turn:
            first = self.out_of_turn[0]
            raise LeakageError(f"fold {first} does not validate on the next fold's block.")

    @property
    def num_folds(self) -> int:
        return len(self.folds)

    @property
    def made_by(self) -> Scheme:
        """Raises LeakageError for an unknown one."""
        return scheme_named(self.scheme.removesuffix(IMAGE_LEVEL))

    @property
    def unsafe(self) -> bool:
        """Are single images dealt, so that patients are on two sides? Never for results."""
        return self.scheme.endswith(IMAGE_LEVEL)

    @cached_property
    def out_of_turn(self) -> list[int]:
        """The folds that do not validate on what the next fold of their repeat tests."""
        k = self.num_folds // self.repeats
        following = [self.folds[i // k * k + (i + 1) % k].test for i in range(self.num_folds)]
        return [fold.index for fold in self.folds if fold.val != following[fold.index]]

    @cached_property
    def times_tested(self) -> dict[str, int]:
        """How often each patient that is in the folds is tested."""
        times = Counter(patient for fold in self.folds for patient in fold.test)
        inside = self.groups.keys() - self.locked - self.purged_patients
        return {patient: times[patient] for patient in sorted(inside)}

    @cached_property
    def rows(self) -> list[list[str]]:
        """Patient id, group, folds that test it (or locked, purged), folds that validate on it."""
        tested, validated = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        for fold in self.folds:
            for folds_of_patient, patients in ((tested, fold.test), (validated, fold.val)):
                for patient in patients:
                    folds_of_patient[patient].append(str(fold.index))
        for state, patients in (("locked", self.locked), ("purged", self.purged_patients)):
            tested |= {patient: [state] for patient in patients}
        return [
            [p, self.groups[p], " ".join(tested[p]), " ".join(validated[p])]
            for p in sorted(self.groups)
        ]

    @cached_property
    def hash(self) -> str:
        """SHA-256 of who is tested and validated when; equal for equal folds, however found."""
        who = [[row[0], *row[2:]] for row in self.rows]
        return fingerprint([self.num_folds, self.unsafe, who, sorted(self.purged_images)])


def plan_folds(manifest: Manifest, split: SplitConfig, words: Words = NO_WORDS) -> Plan:
    """Deal the manifest's leakage groups to the parts of every fold, as `split` says.

    The same samples give the same plan, in whatever order the rows came and on any machine.
    `words` are audit.words, which a predefined split may need.

    Raises UserError when there are too few groups, or the manifest lacks a column or value that
    the scheme needs; LeakageError when a predefined split cuts a group.
    """
    scheme = scheme_named(split.scheme)
    in_use, cuts = scheme.purge(manifest, split) if scheme.purge else (manifest, ())
    names, groups = group_names(in_use), groups_of(manifest)
    quantities = count_groups(in_use, names, split.stratify, split.num_bins)
    locked = _locked(quantities, split)
    free = np.setdiff1d(np.arange(len(names)), locked)
    members = defaultdict[str, list[str]](list)
    for patient in in_use.patients:
        members[groups[patient]].append(patient)

    def patients(positions: Ints) -> frozenset[str]:
        return frozenset(patient for i in positions.tolist() for patient in members[names[i]])

    rounds = scheme.rounds(Groups(in_use, names, quantities, free, words), split)
    return Plan(
        scheme=scheme.name,
        seed=split.seed,
        folds=folds_of(patients(free), ((patients(test), patients(val)) for test, val in rounds)),
        groups=groups,
        manifest_hash=manifest.hash,
        repeats=split.repeats,
        locked=patients(locked),
        purged_patients=frozenset(groups) - frozenset(in_use.patients),
        purged_images=frozenset(manifest.table["image_path"].iloc[sorted(in_use.purged)]),
        cuts=cuts,
    )


def plan_by_image(manifest: Manifest, split: SplitConfig) -> tuple[Manifest, Plan]:
    """Deal images as if each were a patient, to show what that leak costs; the rows stay in order.

    Patient ids become "UNSAFE|<patient>|<image_path>", so that every row of every file is marked;
    `Plan.unsafe` is true, and such runs are marked everywhere.
    """
    ids = "UNSAFE|" + manifest.table["patient_id"] + "|" + manifest.table["image_path"]
    leaking = replace(manifest, table=manifest.table.assign(patient_id=ids, group=ids))
    plan = plan_folds(leaking, split)
    return leaking, replace(plan, scheme=plan.scheme + IMAGE_LEVEL)


def _locked(quantities: Quantities, split: SplitConfig) -> Ints:
    """(L,) positions of the groups that no fold sees."""
    if not split.locked_fraction:
        return np.zeros(0, np.int64)
    if len(quantities) < 4:
        raise UserError(
            f"split.locked_fraction needs 4 independent patients or more, got {len(quantities)}."
        )
    shares = np.array([split.locked_fraction, 1 - split.locked_fraction])
    return np.flatnonzero(deal(quantities, shares, split.seed) == 0)
