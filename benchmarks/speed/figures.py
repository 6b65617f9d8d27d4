"""Medians, ratios with their spread, and a straight line through sizes. Imports no torch."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BASE = "bare"
"""The variant that all others are divided by."""


@dataclass(frozen=True)
class Spread:
    """A median, and the smallest and largest value behind it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int) -> str:
        """`2.10 (1.95 to 2.31)`; without the spread where all are the same to so many digits."""
        median, low, high = (f"{v:.{digits}f}" for v in (self.median, self.low, self.high))
        return median if low == high else f"{median} ({low} to {high})"


Round = Mapping[str, Mapping[str, float]]
"""Variant -> quantity -> value, of one round; a round may lack a variant."""


def values_of(rounds: Sequence[Round], variant: str, quantity: str) -> list[float]:
    """Of the rounds that have it."""
    return [r[variant][quantity] for r in rounds if quantity in r.get(variant, {})]


def ratios(rounds: Sequence[Round], variant: str, base: str, quantity: str) -> list[float]:
    """One ratio a round: only what ran in the same round is divided by each other."""
    return [r[variant][quantity] / r[base][quantity] for r in rounds if variant in r and base in r]


@dataclass(frozen=True)
class Line:
    """y = start + slope * x by least squares, and the share of the variance that it explains."""

    start: float
    slope: float
    r2: float

    @classmethod
    def through(cls, x: Sequence[float], y: Sequence[float]) -> "Line":
        """ValueError for fewer than three points: two always lie on a line."""
        if len(x) < 3:
            raise ValueError(f"a fit needs three sizes or more, got {len(x)}.")
        slope, start = statistics.linear_regression(x, y)
        return cls(start, slope, statistics.correlation(x, y) ** 2)


def table(rounds: Sequence[Round], variants: Sequence[str]) -> list[str]:
    """Markdown: a row for each variant that was measured."""
    lines = [
        "| | working time, s | ratio to bare | whole process, s | ratio to bare "
        "| processor time, s | ratio to bare | AUROC on val | rounds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for variant in variants:
        if not (working := values_of(rounds, variant, "working")):
            continue
        cells = [variant]
        for quantity in ("working", "whole", "processor"):
            cells.append(f"{Spread.of(values_of(rounds, variant, quantity)).median:.1f}")
            divided = ratios(rounds, variant, BASE, quantity)
            cells.append(Spread.of(divided).text(2) if divided else "")
        cells.append(f"{statistics.median(values_of(rounds, variant, 'auroc')):.3f}")
        cells.append(str(len(working)))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def faster_than(rounds: Sequence[Round], ours: str, peers: Sequence[str]) -> list[str]:
    """How many times as long the working time of each peer is as that of ours."""
    lines = []
    for peer in peers:
        if divided := ratios(rounds, peer, ours, "working"):
            lines.append(f"{peer} / {ours}, working time: {Spread.of(divided).text(1)}")
    return lines


def disagreement(round_: Round, least_auroc: float) -> list[str]:
    """Why the variants of a round cannot be compared: they did not do the same work, or badly."""
    problems = []
    for quantity in ("train_images", "val_images", "test_images", "steps"):
        counts = {name: values[quantity] for name, values in round_.items()}
        if len(set(counts.values())) > 1:
            problems.append(f"{quantity} differ: {counts}")
    problems += [
        f"{name}: AUROC on val is {values['auroc']:.3f}, expected {least_auroc} or more"
        for name, values in round_.items()
        if not values["auroc"] >= least_auroc
    ]
    return problems
