"""Runs of the same plan, compared over the same patients, from their folders alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.config import UserError
from pipeline.engine.finished import Finished
from pipeline.evaluation.cases import cases_of
from pipeline.evaluation.comparison import Difference, Pair, difference, holm, verdict
from pipeline.evaluation.metrics import Level, named_metrics
from pipeline.splits.schemes import scheme_named


@dataclass(frozen=True)
class Compared:
    """One run against the first."""

    name: str
    difference: Difference
    p: float
    """That of all comparisons together."""
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """Every other run against the first."""

    first: str
    metric: str
    level: Level
    higher_is_better: bool
    compared: Sequence[Compared]


def compare_runs(runs: Sequence[Finished], metric: str, level: Level | None) -> Comparison:
    """Compare each run with the first; the level is the patient's where all have it.

    Raises:
        UserError: they have not judged the same rows in the same folds by the same rules, or the
            metric is unknown or cannot be computed for one of them.
    """
    _refuse_unlike(runs)
    first = runs[0]
    if level is None:
        level = "image" if first.summary["patient"] is None else "patient"
    named = named_metrics(first.classes, level)
    if metric not in named:
        raise UserError(f"metric={metric}: unknown; there are {', '.join(named)}")
    found, target = named[metric]
    differences = []
    for run, pair in zip(runs[1:], _pairs(runs, level), strict=True):
        one = difference(pair, found, target, _test_over_train(first))
        if one is None:
            raise UserError(
                f"{metric} cannot be computed at {level} level for {first.dir} and {run.dir}: a "
                "fold, or a draw of its patients, lacks a class"
            )
        differences.append(one)
    names = _names(runs)
    together = holm([one.p for one in differences])
    compared = [
        Compared(name, one, p, verdict(one, p, found, names[0], name))
        for name, one, p in zip(names[1:], differences, together, strict=True)
    ]
    return Comparison(names[0], metric, level, found.higher_is_better, compared)


def _names(runs: Sequence[Finished]) -> list[str]:
    """Of each run, without the words that all have; two of one name have their folder's with it."""
    words = [run.name.split() for run in runs]
    shared = set.intersection(*map(set, words))
    names = [" ".join(word for word in of if word not in shared) or " ".join(of) for of in words]
    return [
        f"{name} ({run.dir.resolve().name})" if names.count(name) > 1 else name
        for name, run in zip(names, runs, strict=True)
    ]


def _pairs(runs: Sequence[Finished], level: Level) -> Iterator[Pair]:
    """The first run with each of the others."""
    tables = [run.cases(level) for run in runs]
    classes, groups = runs[0].classes, runs[0].plan[1]
    units, _ = pd.factorize(tables[0]["patient_id"].map(groups))
    first, *others = (cases_of(table, classes) for table in tables)
    for other in others:
        yield Pair(first, other, tables[0]["fold"].to_numpy(), units)


def _test_over_train(run: Finished) -> float | None:
    """Patients that a fold tests, as a share of those it trains on; None unless folds rotate."""
    header, _ = run.plan
    if not scheme_named(header["scheme"]).rotates:
        return None
    per_repeat: int = header["num_folds"] // header["repeats"]
    return 1 / (per_repeat - 2)


def _refuse_unlike(runs: Sequence[Finished]) -> None:
    """UserError unless all runs have judged the same rows in the same folds by the same rules."""
    if len(runs) < 2:
        raise UserError("runs: name two run folders or more, e.g. 'runs=[runs/demo/A,runs/demo/B]'")
    if len({run.dir.resolve() for run in runs}) < len(runs):
        raise UserError("runs: a run folder is named twice; it differs from itself by nothing")
    first = runs[0]
    problems = [
        f"{run.dir} was split by image (UNSAFE): its numbers are no results"
        for run in runs
        if run.is_unsafe
    ]
    for run in runs[1:]:
        for what, of_first, of_other in _facts(first, run):
            if of_first != of_other:
                problems.append(
                    f"{run.dir} has another {what} than {first.dir}: "
                    + f"{of_other}, not {of_first}".removesuffix(", not ")
                )
                break
    if problems:
        raise UserError("These runs cannot be compared:\n  " + "\n  ".join(problems))


def _facts(first: Finished, other: Finished) -> Iterator[tuple[str, Any, Any]]:
    """What must be the same: its name, and what both have; in the order of their weight."""
    yield "plan", first.plan[0]["plan_hash"][:12], other.plan[0]["plan_hash"][:12]
    yield "list of classes", list(first.classes), list(other.classes)
    for name in ("aggregate", "patient_label"):
        of_first, of_other = (run.settings["evaluation"][name] for run in (first, other))
        yield f"evaluation.{name}", of_first, of_other
    columns = ["fold", "patient_id", "image_path", "label"]
    rows = [run.cases("image")[columns] for run in (first, other)]
    missing = len(rows[0].merge(rows[1], how="outer", indicator=True).query("_merge != 'both'"))
    yield "set of images and labels", "", f"{missing} rows are not in both" if missing else ""
