"""What decisions come to: counts of the cases that are rightly and wrongly called positive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TypedDict

from pipeline.arrays import Bools


class Reached(TypedDict):
    """How one class was decided, and what came of it; as in result.json and metrics.json."""

    threshold: float | None
    """None over folds: each has its own."""
    rule: str
    fitted_on: str
    """`val`, or `none`: fixed beforehand."""
    val: dict[str, float | int | None]
    test: dict[str, float | int | None]


@dataclass(frozen=True)
class OperatingPoint:
    """Counts of cases; a share of none is None."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @classmethod
    def of(cls, positive: Bools, called: Bools) -> OperatingPoint:
        """Of N cases (N,), which are positive and which are called so."""
        pairs = ((True, True), (False, True), (True, False), (False, False))
        return cls(*(int(((positive == is_) & (called == said)).sum()) for is_, said in pairs))

    @classmethod
    def read(cls, record: Mapping[str, object]) -> OperatingPoint:
        """Of what `record` wrote."""
        counts = (record[name] for name in cls.__dataclass_fields__)
        return cls(*(int(str(count)) for count in counts))

    def record(self) -> dict[str, float | int | None]:
        """Shares first, then counts."""
        names = ("sensitivity", "specificity", "ppv", "npv")
        return {name: getattr(self, name) for name in names} | asdict(self)

    @property
    def num_cases(self) -> int:
        return sum(asdict(self).values())

    @property
    def num_positive(self) -> int:
        return self.true_positives + self.false_negatives

    @property
    def sensitivity(self) -> float | None:
        return _share(self.true_positives, self.false_negatives)

    @property
    def specificity(self) -> float | None:
        return _share(self.true_negatives, self.false_positives)

    @property
    def ppv(self) -> float | None:
        return _share(self.true_positives, self.false_positives)

    @property
    def npv(self) -> float | None:
        return _share(self.true_negatives, self.false_negatives)


def together(of_folds: Iterable[Mapping[str, Reached]]) -> dict[str, Reached]:
    """Class -> what its decisions came to in all folds, whose counts are added."""
    folds = list(of_folds)
    found: dict[str, Reached] = {}
    for name in folds[0]:
        points = [of[name] for of in folds]
        # a fold whose part had one class alone could not choose
        chosen = next((of for of in points if of["rule"] != "fixed"), points[0])
        found[name] = {
            "threshold": None,
            "rule": chosen["rule"],
            "fitted_on": chosen["fitted_on"],
            "val": _added(of["val"] for of in points),
            "test": _added(of["test"] for of in points),
        }
    return found


def _added(records: Iterable[Mapping[str, float | int | None]]) -> dict[str, float | int | None]:
    points = [list(asdict(OperatingPoint.read(record)).values()) for record in records]
    return OperatingPoint(*map(sum, zip(*points, strict=True))).record()


def _share(hits: int, others: int) -> float | None:
    return hits / (hits + others) if hits + others else None
