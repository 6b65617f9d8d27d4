"""`Fold` and `Plan`: they check themselves when made, so that a leaking one cannot exist."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal, get_args

from pipeline.config import UserError, fingerprint

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)


class LeakageError(UserError):
    """A plan that would put a patient, or a group of patients, on two sides, or lose one."""


@dataclass(frozen=True, slots=True)
class Fold:
    """One round: the patient ids of its three parts, none empty, none shared."""

    index: int
    train: frozenset[str]
    val: frozenset[str]
    test: frozenset[str]

    def __post_init__(self) -> None:
        for part in PARTS:
            if not self.of(part):
                raise LeakageError(f"fold {self.index}: the {part} part has no patient.")
        for one, other in combinations(PARTS, 2):
            if shared := self.of(one) & self.of(other):
                raise LeakageError(
                    f"fold {self.index}: {len(shared)} patient(s) in both {one} and {other}, "
                    f"e.g. {min(shared)!r}."
                )

    def of(self, part: Part) -> frozenset[str]:
        parts: dict[Part, frozenset[str]] = {
            "train": self.train,
            "val": self.val,
            "test": self.test,
        }
        return parts[part]


@dataclass(frozen=True)
class Plan:
    """All folds of one experiment, whatever the scheme; it proves itself when made.

    In every fold each patient of the manifest is in one part, or is `locked` (kept away from all
    folds) or purged. kfold: fold i tests block i and validates on block (i + 1) mod k, so that all
    are tested once a repeat; leave_one_out tests everybody once, other schemes at most once.

    Raises:
        LeakageError: when a group lies on two sides, or a patient is lost or tested too often.
    """

    scheme: str
    seed: int
    folds: tuple[Fold, ...]
    groups: Mapping[str, str]
    """Every patient id -> the leakage group it belongs to."""
    manifest_hash: str
    repeats: int = 1
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
                odd = set(inside) ^ everyone or {p for p in inside if inside.count(p) > 1}
                raise LeakageError(f"fold {fold.index}: patient {min(odd)!r} is not in one place.")
            self._check_groups(fold)
        self._check_times()

    def _check_groups(self, fold: Fold) -> None:
        sides: dict[str, frozenset[str]] = {part: fold.of(part) for part in PARTS}
        sides["locked"] = self.locked
        seen: dict[str, tuple[str, str]] = {}
        for side, patients in sides.items():
            for patient in patients:
                other_side, other = seen.setdefault(self.groups[patient], (side, patient))
                if other_side != side:
                    raise LeakageError(
                        f"fold {fold.index}: patients {min(other, patient)!r} and "
                        f"{max(other, patient)!r} belong together (group "
                        f"{self.groups[patient]!r}) but are in {other_side} and {side}."
                    )

    def _check_times(self) -> None:
        times = set(self.times_tested.values())
        rotating = self.scheme.startswith("kfold")
        if rotating:
            k, rest = divmod(self.num_folds, self.repeats)
            if k < 3 or rest:
                raise LeakageError(
                    f"a plan needs at least 3 folds a repeat, got {self.num_folds} in "
                    f"{self.repeats} repeat(s)."
                )
            for i, fold in enumerate(self.folds):
                if fold.val != self.folds[i // k * k + (i + 1) % k].test:
                    raise LeakageError(f"fold {i} does not validate on the next fold's block.")
        expected = {self.repeats} if rotating else {1} if self.scheme == "leave_one_out" else {0, 1}
        if not times <= expected:
            raise LeakageError(
                f"scheme {self.scheme} tests everybody {' or '.join(map(str, sorted(expected)))} "
                f"time(s), but some are tested {max(times - expected)} time(s)."
            )

    @property
    def num_folds(self) -> int:
        return len(self.folds)

    @property
    def unsafe(self) -> bool:
        """Are single images dealt, so that patients are on two sides? Never for results."""
        return self.scheme.endswith("UNSAFE")

    @cached_property
    def times_tested(self) -> dict[str, int]:
        """How often each patient that is in the folds is tested."""
        counts = dict.fromkeys(sorted(self.groups.keys() - self.locked - self.purged_patients), 0)
        for fold in self.folds:
            for patient in fold.test:
                counts[patient] = counts.get(patient, 0) + 1
        return counts

    @cached_property
    def rows(self) -> list[list[str]]:
        """Patient id, group, folds that test it (or locked, purged), folds that validate on it."""
        tested: dict[str, list[str]] = {patient: [] for patient in self.groups}
        validated: dict[str, list[str]] = {patient: [] for patient in self.groups}
        for fold in self.folds:
            for patient in fold.test:
                tested[patient].append(str(fold.index))
            for patient in fold.val:
                validated[patient].append(str(fold.index))
        for state, patients in (("locked", self.locked), ("purged", self.purged_patients)):
            for patient in patients:
                tested[patient] = [state]
        return [
            [p, self.groups[p], " ".join(tested[p]), " ".join(validated[p])]
            for p in sorted(self.groups)
        ]

    @cached_property
    def hash(self) -> str:
        """SHA-256 of who is tested and validated when; equal for equal folds, however found."""
        who = [[row[0], *row[2:]] for row in self.rows]
        return fingerprint([self.num_folds, self.unsafe, who, sorted(self.purged_images)])
