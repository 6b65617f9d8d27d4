"""An external test: what an ensemble comes to on labelled patients that are not of its plan.

The rules are the run's: images become patients as in the cross-validation, thresholds are those of
the folds, and nothing is chosen on the new patients.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.config import UserError
from pipeline.engine.cohort import KEYS, OURS, USUAL
from pipeline.engine.finished import Finished
from pipeline.ensemble.ensemble import NO_FOLD
from pipeline.ensemble.flags import UNLIKE
from pipeline.evaluation.beside import Beside, External, Point, UnlikeImages, beside, undefined
from pipeline.evaluation.cases import cases_of, one_by_one
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.grouping import Grouping
from pipeline.evaluation.metrics import Metric
from pipeline.evaluation.operating_points import OperatingPoint
from pipeline.evaluation.patients import by_level
from pipeline.evaluation.predictions import unknown_labels, with_decisions
from pipeline.evaluation.subgroups import Subgroups, subgroups
from pipeline.evaluation.summary import summarise
from pipeline.files import write_json
from pipeline.levels import Level
from pipeline.manifest import Manifest
from pipeline.tracking.result import with_seal
from pipeline.words import counted

FILE_NAME = "metrics.json"
TOLD = ("auroc", "balanced_accuracy", "sensitivity", "specificity")
Tables = Mapping[Level, pd.DataFrame | None]


@dataclass(frozen=True)
class Labelled:
    """New images that have a label, as the ensemble predicted them."""

    images: pd.DataFrame
    """patient_id, image_path, label, study or slide where the run has them, prob_*, and `unlike`
    (`flags.UNLIKE`)."""
    manifest: Manifest
    """Of the new patients: their groups, and what else their CSV says."""
    decision: Callable[[Level], Decision]
    """How the ensemble decides each level."""
    is_compared: bool = True
    """Whether the run keeps anything by which `unlike` could be told."""

    @property
    def groups(self) -> dict[str, str]:
        """New patient -> leakage group."""
        table = self.manifest.table
        return dict(zip(table["patient_id"], table["group"], strict=True))

    def tables(self, run: Finished, rows: pd.Series | None = None) -> Tables:
        """Of all images, or of those `rows`: each level, decided."""
        images = self.images if rows is None else self.images[rows].reset_index(drop=True)
        found = by_level(images.assign(fold=NO_FOLD), run.classes, run.rules)
        return {
            level: None
            if table is None
            else with_decisions(table, run.classes, self.decision(level))
            for level, table in found.items()
        }


def evaluate(
    run: Finished, labelled: Labelled, network: str = "folds", own: Sequence[Metric] = ()
) -> tuple[External, Tables]:
    """Metrics with intervals over the new patients, beside the cross-validation; decided tables.

    Who is of the plan must have been refused before (`known.refuse`).

    Raises:
        UserError: there is no label, or one that the networks do not know.
    """
    images, classes, groups = labelled.images, run.classes, labelled.groups
    if "label" not in images or images.empty:
        raise UserError("no image has a label: there is nothing to evaluate the predictions with")
    if unknown := unknown_labels(images["label"], classes):
        raise UserError(
            f"labels must be among those of the run, {', '.join(classes)}; got "
            f"{', '.join(map(repr, unknown))}"
        )
    tables = labelled.tables(run)
    summary = summarise(tables, classes, groups, own)
    levels = [level for level, table in tables.items() if table is not None]
    crossed = run.numbers
    first = levels[-1]  # images come first in tables
    found: External = {
        **summary,
        "run_dir": str(run.dir),
        "key": run.key,
        "plan_hash": str(run.plan[0]["plan_hash"]),
        "network": network,
        "num_networks": len(run.results) if network == "folds" else 1,
        "beside": {
            level: beside(summary[level] or {}, crossed.get(level) or {}, level) for level in levels
        },
        "points": {level: _points(tables[level], labelled.decision(level)) for level in levels},
        "unlike": _unlike(run, labelled),
        "undefined": {
            name: undefined(entry, first)
            for name, entry in (summary[first] or {}).items()
            if entry["value"] is None
        },
    }
    if (compared := _subgroups(run, labelled.manifest, tables[first], first, groups)) is not None:
        found["subgroups"] = compared
    return found, tables


def write(found: External, out_dir: Path) -> Path:
    """Write metrics.json, sealed."""
    path = out_dir / FILE_NAME
    write_json(path, with_seal(found))
    return path


def _points(table: pd.DataFrame | None, decision: Decision) -> dict[str, Point]:
    """Class with a threshold -> what it came to."""
    assert table is not None, "the level is there"
    cases = dict(one_by_one(cases_of(table, decision.classes), decision.classes))
    return {
        name: {
            "threshold": threshold.value,
            "reached": OperatingPoint.of(
                cases[name].labels == 1, cases[name].predicted == 1
            ).record(),
        }
        for name, threshold in decision.thresholds.items()
    }


def _unlike(run: Finished, labelled: Labelled) -> UnlikeImages:
    """How many are unlike training, and the metrics of the others."""
    flags = labelled.images[UNLIKE] != ""
    without = None
    if flags.any() and not flags.all():
        tables = labelled.tables(run, ~flags)
        summary = summarise(tables, run.classes, labelled.groups)
        without = next(
            summary[level] for level in reversed(list(tables)) if tables[level] is not None
        )
    return {
        "num_images": int(flags.sum()),
        "num_patients": labelled.images["patient_id"][flags].nunique(),
        "compared": labelled.is_compared,
        "without": without,
    }


def _subgroups(
    run: Finished,
    manifest: Manifest,
    table: pd.DataFrame | None,
    level: Level,
    groups: Mapping[str, str],
) -> Subgroups | None:
    """By the columns that the run names, or the usual ones, as far as the new CSV has them."""
    assert table is not None, "the level is there"
    asked = run.settings["evaluation"].get("subgroups")
    columns = {
        name: ours
        for name in manifest.column_names
        if (ours := manifest.column(name)) is not None
        and ours not in (*KEYS, *OURS)
        and (name in asked if asked is not None else name.casefold() in USUAL or ours == "site")
    }
    if not columns:
        return None
    grouping = Grouping.of(manifest.samples, columns, table, level)
    return subgroups(table, run.classes, grouping, level, groups)


def in_words(found: External, level: Level) -> Iterator[str]:
    """The metrics that people ask for first, beside those of the cross-validation."""
    told = found["beside"][level]
    values = [name for name in TOLD if name in told and told[name]["value"] is not None]
    yield from (f"  {_line(name, told[name])}" for name in values)
    if not values:
        whys = dict.fromkeys(found["undefined"].values())
        yield f"  no metric: {'; '.join(whys)}"
    if num := found["unlike"]["num_images"]:
        yield (
            f"  {counted(num, 'image')} unlike those of training count in this; the page has the "
            "metrics without them"
        )


def _line(name: str, of: Beside) -> str:
    text = f"{name} {_bounded(of['value'], of['ci_low'], of['ci_high'])}"
    if of["cv_value"] is not None:
        text += f"; cross-validated {_bounded(of['cv_value'], of['cv_low'], of['cv_high'])}"
    if of["difference"] is not None:
        difference = _bounded(of["difference"], of["difference_low"], of["difference_high"], "+")
        text += f"; difference {difference}"
    return text


def _bounded(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    """`0.812 [0.744, 0.868]`."""
    if low is None or high is None:
        return f"{value:{sign}.3f}"
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"
