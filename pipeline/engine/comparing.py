"""Runs of the same plan, compared over the same patients, from their folders alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.config import UserError
from pipeline.engine.alike import names_of, refuse_unlike
from pipeline.engine.finished import Finished
from pipeline.evaluation.cases import cases_of
from pipeline.evaluation.comparison import Difference, Pair, difference, holm, verdict
from pipeline.evaluation.metrics import named_metrics
from pipeline.levels import Level
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


def compare_runs(
    runs: Sequence[Finished], metric: str, level: Level | None, plugins: Sequence[str] = ()
) -> Comparison:
    """Compare each run with the first; by default at the level of patients if they have it.

    `plugins` may be called for a metric of the user's own, which the first run knows.

    Raises:
        UserError: they have not judged the same rows in the same folds by the same rules, or the
            metric is unknown or cannot be computed for one of them.
    """
    refuse_unlike(runs)
    first = runs[0]
    if level is None:
        level = first.levels[0]
    own, untrusted = first.own_metrics(plugins)
    named = named_metrics(first.classes, level, own)
    of_others = [name for name in untrusted if f"{metric}_".startswith(f"{name}_")]
    if metric not in named and of_others:
        package = first.summary["own"][of_others[0]]["function"].split(".")[0]
        raise UserError(
            f"metric={metric} is a function of a plugin, whose code runs: name it yourself, "
            f"plugins=[{package}]"
        )
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
    names = names_of(runs)
    together = holm([one.p for one in differences])
    compared = [
        Compared(name, one, p, verdict(one, p, found, names[0], name))
        for name, one, p in zip(names[1:], differences, together, strict=True)
    ]
    return Comparison(names[0], metric, level, found.higher_is_better, compared)


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
