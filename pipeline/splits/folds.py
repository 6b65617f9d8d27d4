"""`Fold`: it checks itself when made, so that a leaking one cannot exist."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

from pipeline.config import UserError
from pipeline.words import counted

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
                    f"fold {self.index}: {counted(len(shared), 'patient')} in both {one} and "
                    f"{other}, e.g. {min(shared)!r}."
                )

    def of(self, part: Part) -> frozenset[str]:
        return {"train": self.train, "val": self.val, "test": self.test}[part]


def folds_of(
    everyone: frozenset[str], rounds: Iterable[tuple[frozenset[str], frozenset[str]]]
) -> tuple[Fold, ...]:
    """One fold for each (test, val) of `rounds`; the rest of `everyone` is trained on."""
    return tuple(Fold(i, everyone - test - val, val, test) for i, (test, val) in enumerate(rounds))
