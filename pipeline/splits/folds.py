"""`Fold` and `Plan`: they check themselves when made, so that a leaking one cannot exist."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal, get_args

from pipeline.config import UserError, fingerprint
from pipeline.manifest import Manifest

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
    """Rotating k-fold: fold i tests block i, validates on block (i + 1) mod k, trains on the rest.

    `blocks` maps every patient id to its block, `groups` to the leakage group it belongs to. The
    folds are derived from the blocks and never stored.

    Raises:
        LeakageError: when a group lies in two blocks, a block is empty or there are fewer than 3.
    """

    num_folds: int
    seed: int
    blocks: Mapping[str, int]
    groups: Mapping[str, str]
    manifest_hash: str

    def __post_init__(self) -> None:
        if self.num_folds < 3:
            raise LeakageError(f"a plan needs at least 3 folds, got {self.num_folds}.")
        if unknown := set(self.blocks.values()) - set(range(self.num_folds)):
            raise LeakageError(f"block {min(unknown)} is outside 0 to {self.num_folds - 1}.")
        if self.blocks.keys() != self.groups.keys():
            odd = min(self.blocks.keys() ^ self.groups.keys())
            raise LeakageError(f"patient {odd!r} has a block but no group, or no block.")
        seen: dict[str, str] = {}
        for patient in sorted(self.blocks):
            other = seen.setdefault(self.groups[patient], patient)
            if self.blocks[other] != self.blocks[patient]:
                raise LeakageError(
                    f"patients {other!r} and {patient!r} belong together (group "
                    f"{self.groups[patient]!r}) but lie in blocks {self.blocks[other]} and "
                    f"{self.blocks[patient]}."
                )
        tested = [patient for fold in self.folds for patient in fold.test]
        assert sorted(tested) == sorted(self.blocks), "every patient is tested exactly once"

    @cached_property
    def folds(self) -> tuple[Fold, ...]:
        members = [frozenset(p for p, b in self.blocks.items() if b == i)
                   for i in range(self.num_folds)]  # fmt: skip
        everyone = frozenset(self.blocks)
        return tuple(
            Fold(i, everyone - members[i] - val, val, members[i])
            for i in range(self.num_folds)
            for val in [members[(i + 1) % self.num_folds]]
        )

    @cached_property
    def hash(self) -> str:
        """SHA-256 of who is tested when; equal for equal folds, however they were found."""
        return fingerprint([self.num_folds, sorted(self.blocks.items())])

    def check_covers(self, manifest: Manifest) -> None:
        """Prove that this plan was made for `manifest`.

        Raises:
            LeakageError: for another manifest, a lost or unknown patient, or a split group.
        """
        if lost := set(manifest.patients) - self.blocks.keys():
            raise LeakageError(f"{len(lost)} patient(s) are in no fold, e.g. {min(lost)!r}.")
        if unknown := self.blocks.keys() - set(manifest.patients):
            raise LeakageError(
                f"{len(unknown)} patient(s) of the plan are not in the manifest, "
                f"e.g. {min(unknown)!r}."
            )
        if self.manifest_hash != manifest.hash:
            raise LeakageError(
                f"the plan was made for another manifest (hash {self.manifest_hash[:12]}, this one "
                f"is {manifest.hash[:12]}): images, labels or groups differ."
            )
