"""Does the network fail somebody? Metrics of each group of patients against all others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NotRequired, TypedDict

import numpy as np
import pandas as pd

from pipeline.arrays import AnyInts, Bools, Ints
from pipeline.evaluation.auroc import FEW, auroc_within
from pipeline.evaluation.cases import Cases, LabelCases, cases_of
from pipeline.evaluation.comparison import LEVEL, holm
from pipeline.evaluation.contrast import Measured, difference, p_of
from pipeline.evaluation.grouping import Grouping, in_order
from pipeline.evaluation.intervals import mean_of_shares_interval, pulls_of_shares
from pipeline.evaluation.metrics import METRICS
from pipeline.evaluation.scores import MeanOfShares, balanced_accuracy, sensitivity, specificity
from pipeline.evaluation.within_site import WithinSite, within_site
from pipeline.levels import Level

NAMES = ("auroc", "sensitivity", "specificity")
NAMES_OF_MORE = ("auroc", "balanced_accuracy")
"""What is measured of two classes, and of more classes or of labels: the mean over them."""
LEAST_P = 0.0001
"""Smaller ones are not told apart."""
SHARES: Mapping[str, MeanOfShares] = {
    "sensitivity": sensitivity,
    "specificity": specificity,
    "balanced_accuracy": balanced_accuracy,
}


class Subgroup(TypedDict):
    """One metric of one group; what cannot be computed is None, and `missing` says why."""

    column: str
    """As the CSV calls it."""
    group: str
    metric: str
    num_patients: int
    num_positive: int
    """Patients with the class; of several classes, with the rarest."""
    num_negative: int
    """Patients without it."""
    value: float | None
    ci_low: float | None
    """95 % interval over patients (leakage groups)."""
    ci_high: float | None
    difference: float | None
    """To all other patients; below 0 the group fares worse."""
    difference_low: float | None
    """95 % interval, by itself."""
    difference_high: float | None
    p: float | None
    """Of the difference, for all comparisons together (Holm). None where fewer than 10 patients of
    a class that it needs are in the group, or among the others: it is not compared."""
    flagged: bool
    """Worse than the others, with p below 0.05."""
    missing: str


class Subgroups(TypedDict):
    """The block `subgroups` of metrics.json."""

    level: Level
    num_comparisons: int
    groups: list[Subgroup]
    within_site: NotRequired[WithinSite]


@dataclass(frozen=True)
class Judged:
    """The decided rows of a level: what they are, and who is independent of whom."""

    cases: Cases | LabelCases
    folds: AnyInts
    """(N,)"""
    units: AnyInts
    """(N,) patients or leakage groups, from 0."""
    patients: AnyInts
    """(N,) from 0."""

    @classmethod
    def of(
        cls, table: pd.DataFrame, classes: Sequence[str], groups: Mapping[str, str] | None
    ) -> "Judged":
        """Of a table with fold, patient_id, label, predicted and prob_*."""
        names = table["patient_id"]
        units, _ = pd.factorize(names if groups is None else names.map(groups))
        patients, _ = pd.factorize(names)
        return cls(cases_of(table, classes), table["fold"].to_numpy(), units, patients)


def subgroups(
    table: pd.DataFrame,
    classes: Sequence[str],
    grouping: Grouping,
    level: Level,
    groups: Mapping[str, str] | None = None,
) -> Subgroups:
    """Every group of each column, a row's group given by `grouping` in the order of the table.

    A group and all others are different patients (where a leakage group or a patient is on both
    sides, that is allowed for): the interval of their difference joins those of both sides
    (Newcombe 1998; Zou and Donner 2008), and p is where it touches 0. AUROCs compare the patients
    of a fold only, whose scores come from one network. Of two groups, one is compared, and the
    other mirrors it.
    """
    judged = Judged.of(table, classes, groups)
    found: list[Subgroup] = []
    copies: dict[int, bool] = {}
    for column, of_rows in grouping.columns.items():
        names = in_order(of_rows)
        if len(names) < 2:
            continue
        for name in names:
            rows = (of_rows == name).to_numpy()
            for metric in NAMES if _is_binary(judged.cases) else NAMES_OF_MORE:
                copies[len(found)] = len(names) == 2 and name == names[1]
                found.append(_compared(judged, rows, metric, column, name))
    tested = [at for at, one in enumerate(found) if one["p"] is not None and not copies[at]]
    adjusted = holm([p for at in tested if (p := found[at]["p"]) is not None])
    by_place = dict(zip(tested, adjusted, strict=True))
    many = len(NAMES if _is_binary(judged.cases) else NAMES_OF_MORE)
    for at, one in enumerate(found):
        if one["p"] is not None and one["difference"] is not None:
            p = one["p"] = by_place[at - many if copies[at] else at]
            one["flagged"] = one["difference"] < 0 and p < LEVEL
    all_of_them: Subgroups = {"level": level, "num_comparisons": len(tested), "groups": found}
    if grouping.sites is not None and (within := _within(judged, grouping.sites)):
        all_of_them["within_site"] = within
    return all_of_them


def _within(judged: Judged, sites: pd.Series) -> WithinSite | None:
    """Of the rows whose site is known."""
    known = (sites != "").to_numpy()
    targets = next(of for of in METRICS if of.name == "auroc").targets(judged.cases)
    positive = np.column_stack([of.labels == 1 for of in targets])
    scores = np.column_stack([of.probabilities[:, 1] for of in targets])
    folds, units = judged.folds[known], judged.units[known]
    return within_site(sites[known], positive[known], scores[known], folds, units)


def _is_binary(cases: Cases | LabelCases) -> bool:
    return isinstance(cases, Cases) and cases.num_classes == 2


def _compared(judged: Judged, rows: Bools, metric: str, column: str, name: str) -> Subgroup:
    positive, negative = _counts(judged, rows)
    one: Subgroup = {
        "column": column,
        "group": name,
        "metric": metric,
        "num_patients": len(np.unique(judged.patients[rows])),
        "num_positive": positive,
        "num_negative": negative,
        "value": None,
        "ci_low": None,
        "ci_high": None,
        "difference": None,
        "difference_low": None,
        "difference_high": None,
        "p": None,
        "flagged": False,
        "missing": "",
    }
    inside, outside = (_measured(judged, np.flatnonzero(of), metric) for of in (rows, ~rows))
    if inside is None:
        one["missing"] = (
            "no fold tests patients of both classes in this group"
            if metric == "auroc"
            else "no patient of a class is in this group"
        )
        return one
    interval = inside.interval
    one["value"], one["ci_low"], one["ci_high"] = interval.value, interval.low, interval.high
    if outside is None:
        one["missing"] = "not defined for all others together"
        return one
    apart = difference(inside, outside)
    one["difference"], one["difference_low"], one["difference_high"] = (
        *(apart.value, apart.low, apart.high),
    )
    fewest = min(
        _needed(counts, metric) for counts in (_counts(judged, of) for of in (rows, ~rows))
    )
    if fewest < FEW:
        one["missing"] = f"not compared: fewer than {FEW} patients of a class"
    else:
        one["p"] = p_of(inside, outside)
    return one


def _needed(counts: tuple[int, int], metric: str) -> int:
    """Of the class that a metric counts, or of the rarer."""
    return {"sensitivity": counts[0], "specificity": counts[1]}.get(metric, min(counts))


def _counts(judged: Judged, rows: Bools) -> tuple[int, int]:
    """Patients with and without the class; of several, of that with the fewest."""
    cases, patients = judged.cases, judged.patients
    codes = [1] if _is_binary(cases) else range(cases.num_classes)
    num = []
    for code in codes:
        labels = cases.against_rest(code).labels
        num.append(tuple(len(np.unique(patients[rows & (labels == has)])) for has in (1, 0)))
    return min(n[0] for n in num), min(n[1] for n in num)


def _measured(judged: Judged, rows: Ints, metric: str) -> Measured | None:
    """A metric of these rows; None where it cannot be computed."""
    if not len(rows):
        return None
    cases, folds, units = judged.cases.at(rows), judged.folds[rows], judged.units[rows]
    size = int(judged.units.max()) + 1
    targets = next(of for of in METRICS if of.name == metric).targets(cases)
    if metric == "auroc":
        positive = np.column_stack([of.labels == 1 for of in targets])
        scores = np.column_stack([of.probabilities[:, 1] for of in targets])
        found = auroc_within(positive, scores, folds, units)
        if found is None:
            return None
        pulls = np.pad(found.pulls, (0, size - len(found.pulls)))
        return Measured(found.value, pulls, found.bounds, found.fewest, found.clustered)
    pairs = [share for of in targets for share in SHARES[metric].shares(of)]
    interval = mean_of_shares_interval(pairs, units)
    if interval is None:
        return None
    pulls = pulls_of_shares(pairs, units).mean(axis=0)
    counted = [(units[of], int(of.sum())) for of, _ in pairs]
    return Measured(
        interval.value,
        np.pad(pulls, (0, size - len(pulls))),
        partial(_bounds_of_shares, pairs, units),
        min(len(np.unique(of)) for of, _ in counted),
        any(len(np.unique(of)) < num for of, num in counted),
    )


def _bounds_of_shares(
    pairs: Sequence[tuple[Bools, Bools]], units: AnyInts, z: float
) -> tuple[float, float]:
    found = mean_of_shares_interval(pairs, units, z)
    assert found is not None, "it was computed before"
    return found.low, found.high


def flagged(found: Subgroups) -> Iterator[Subgroup]:
    """The groups that fare worse."""
    return (one for one in found["groups"] if one["flagged"])


def sentence(one: Subgroup, num_comparisons: int) -> str:
    """A flagged group in a line."""
    assert one["p"] is not None, "what is flagged was compared"
    p = f"= {one['p']:.2g}" if one["p"] >= LEAST_P else f"< {LEAST_P:.4f}"
    count = {
        "sensitivity": f"{one['num_positive']} positive patients",
        "specificity": f"{one['num_negative']} negative patients",
    }.get(one["metric"], f"{one['num_patients']} patients")
    return (
        f"{one['column']} {one['group']}: {one['metric']} {one['value']:.3f} [{one['ci_low']:.3f}, "
        f"{one['ci_high']:.3f}] of {count}, {one['difference']:+.3f} "
        f"[{one['difference_low']:+.3f}, {one['difference_high']:+.3f}] against all others; "
        f"p {p} of {num_comparisons} comparisons together (Holm)"
    )
