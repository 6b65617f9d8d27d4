"""`Fold`: it checks itself when made, so that a leaking one cannot exist."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal, get_args

from pipeline.config import UserError
from pipeline.words import counted

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
NO_FOLD = -1
"""The index of what belongs to no fold: the locked patients, a network trained on everybody."""


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
                    f"fold {self.index}: {counted(len(shared), 'patient')} in both {one} and "
                    f"{other}, e.g. {min(shared)!r}."
                )

    def of(self, part: Part) -> frozenset[str]:
        return {"train": self.train, "val": self.val, "test": self.test}[part]


@dataclass(frozen=True, slots=True)
class Everybody:
    """All patients of a plan's folds, to train on at once: nobody is left to choose by or to test.

    The locked patients are in no fold, and so not here.
    """

    folds: tuple[Fold, ...]
    index: int = field(default=NO_FOLD, init=False)
    val: frozenset[str] = field(default=frozenset(), init=False)
    test: frozenset[str] = field(default=frozenset(), init=False)

    @property
    def train(self) -> frozenset[str]:
        return frozenset[str]().union(*map(self.folds[0].of, PARTS))  # each fold has everybody

    def of(self, part: Part) -> frozenset[str]:
        return self.train if part == "train" else frozenset()


def folds_of(
    everyone: frozenset[str], rounds: Iterable[tuple[frozenset[str], frozenset[str]]]
) -> tuple[Fold, ...]:
    """One fold for each (test, val) of `rounds`; the rest of `everyone` is trained on."""
    return tuple(Fold(i, everyone - test - val, val, test) for i, (test, val) in enumerate(rounds))
