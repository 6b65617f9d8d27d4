"""Which settings of a sweep are best, and how good they really are: nested selection.

In rotating folds the validation patients of one fold are the test patients of another. Who takes
the settings with the best mean over all folds has chosen with test patients, and reports too much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.arrays import Floats, Ints
from pipeline.config import UserError
from pipeline.engine.alike import names_of, refuse_unlike
from pipeline.engine.finished import Finished
from pipeline.evaluation.summary import Summary, summarise
from pipeline.levels import Level

HEADLINE = "auroc"


@dataclass(frozen=True)
class Selection:
    """What a sweep is worth."""

    select_by: str
    names: Sequence[str]
    """Of the settings."""
    validation: Sequence[Sequence[float]]
    """(R, F) of each run and fold, in the best epoch."""
    chosen: Sequence[int]
    """(F,) the run that is best on each fold's own validation part."""
    summary: Summary
    """Of each fold's test part, judged by the run chosen for it."""
    level: Level
    nested: float | None
    """The headline metric of `summary`."""
    best_mean: int
    """The run with the best mean of validation."""
    naive: float | None
    """Its headline metric on test, which is reported where selection is not nested."""
    best_test: float | None
    """The highest headline metric on test among all runs: what choosing by test would report."""
    left_out: Sequence[str] = ()
    """Metrics of the user's own whose plugin was not named."""


def finished_below(folders: Sequence[str]) -> list[Finished]:
    """The finished run folders that these are, or that lie in them."""
    found = []
    for folder in map(Path, folders):
        if (folder / "environment.json").exists() or not folder.is_dir():
            found.append(Finished.read(folder))
            continue
        inside = sorted(path.parent for path in folder.glob("*/metrics.json"))
        if not inside:
            raise UserError(f"{folder}: no finished run folder lies in it")
        found += [Finished.read(path) for path in inside]
    return found


def select_runs(
    runs: Sequence[Finished], level: Level | None = None, plugins: Sequence[str] = ()
) -> Selection:
    """Choose for every fold by that fold's validation part, and test the chosen; the headline is
    of patients if the runs have that level, or of `level`.

    `plugins` may be called for the metrics of the user's own, which the first run knows.

    Raises:
        UserError: the runs cannot be put side by side, or chose their epochs by different metrics.
    """
    refuse_unlike(runs)
    choices = {result["select_by"] for run in runs for result in run.results.values()}
    if len(choices) > 1:
        raise UserError(
            f"the runs chose their epochs by different metrics ({', '.join(sorted(choices))}): "
            "their validation values do not compare"
        )
    (select_by,) = choices
    folds = sorted(runs[0].results)
    validation = np.array(
        [[run.results[fold]["select_value"] for fold in folds] for run in runs], np.float64
    )
    gain = -validation if select_by == "val/loss" else validation
    chosen = nested(gain)
    tables = {of: _gathered(runs, chosen, folds, of) for of in runs[0].levels}
    level = level or runs[0].levels[0]
    runs[0].cases(level)  # says so where there is none
    own, left_out = runs[0].own_metrics(plugins)
    summary = summarise(tables, runs[0].classes, runs[0].plan[1], own)
    best_mean = int(gain.mean(axis=1).argmax())
    on_test = [_headline(run.summary, level) for run in runs]
    known = [value for value in on_test if value is not None]
    return Selection(
        select_by,
        names_of(runs),
        validation.tolist(),
        chosen.tolist(),
        summary,
        level,
        _headline(summary, level),
        best_mean,
        on_test[best_mean],
        max(known, default=None),
        left_out,
    )


def nested(gain: Floats) -> Ints:
    """(F,) the run that is best in each fold, of (R, F) validation values; of equals the first."""
    chosen: Ints = gain.argmax(axis=0)
    return chosen


def _gathered(
    runs: Sequence[Finished], chosen: Ints, folds: Sequence[int], level: Level
) -> pd.DataFrame:
    tables = {int(run): runs[int(run)].cases(level) for run in set(chosen.tolist())}
    parts = [
        tables[int(run)][tables[int(run)]["fold"] == fold]
        for run, fold in zip(chosen, folds, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def _headline(summary: Summary, level: Level) -> float | None:
    entries = summary.get(level)
    return None if entries is None else entries[HEADLINE]["value"]
