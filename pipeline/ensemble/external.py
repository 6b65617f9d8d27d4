"""An external test: what an ensemble comes to on labelled patients that are not of its plan.

The rules are the run's: images become patients as in the cross-validation, thresholds are those of
the folds, and nothing is chosen on the new patients.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import UserError
from pipeline.engine.cohort import KEYS, OURS, USUAL
from pipeline.engine.finished import Finished
from pipeline.evaluation.beside import External, Point, UnlikeImages, beside, undefined
from pipeline.evaluation.cases import cases_of, one_by_one
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.grouping import groups_of
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

FILE_NAME = "metrics.json"
Tables = Mapping[Level, pd.DataFrame | None]


@dataclass(frozen=True)
class Labelled:
    """The new images that have a label, as the ensemble predicted them."""

    images: pd.DataFrame
    """fold (-1), patient_id, image_path, label, study or slide where the run has them, prob_*."""
    unlike: Sequence[str]
    """(N,) why an image is unlike training; "" where it is not."""
    manifest: Manifest
    """Of the new patients: their groups, and what else their CSV says."""
    num_unlabelled: int = 0
    is_compared: bool = True
    """Whether the run keeps anything by which `unlike` could be told."""


def evaluate(
    run: Finished,
    labelled: Labelled,
    decision: Callable[[Level], Decision],
    network: str = "folds",
    own: Sequence[Metric] = (),
) -> tuple[External, Tables]:
    """Metrics with intervals over the new patients, beside the cross-validation; decided tables.

    Who is of the plan must have been refused before (`known.refuse`).

    Raises:
        UserError: there is no label, or one that the networks do not know.
    """
    images, classes = labelled.images, run.classes
    if images.empty:
        raise UserError("no image has a label: there is nothing to evaluate the predictions with")
    if unknown := unknown_labels(images["label"], classes):
        raise UserError(
            f"labels must be among those of the run, {', '.join(classes)}; got "
            f"{', '.join(map(repr, unknown))}"
        )
    groups = dict(
        zip(labelled.manifest.table["patient_id"], labelled.manifest.table["group"], strict=True)
    )
    tables = _decided(run, images, decision)
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
        "num_unlabelled": labelled.num_unlabelled,
        "beside": {
            level: beside(summary[level] or {}, crossed.get(level) or {}, level) for level in levels
        },
        "points": {level: _points(tables[level], decision(level)) for level in levels},
        "unlike": _unlike(run, labelled, decision, groups),
    }
    if missing := {
        name: undefined(entry, first)
        for name, entry in (summary[first] or {}).items()
        if entry["value"] is None
    }:
        found["undefined"] = missing
    if (compared := _subgroups(run, labelled.manifest, tables[first], first, groups)) is not None:
        found["subgroups"] = compared
    return found, tables


def write(found: External, out_dir: Path) -> Path:
    """Write metrics.json, sealed."""
    path = out_dir / FILE_NAME
    write_json(path, with_seal(found))
    return path


def _decided(
    run: Finished, images: pd.DataFrame, decision: Callable[[Level], Decision]
) -> dict[Level, pd.DataFrame | None]:
    tables = by_level(images, run.classes, run.rules)
    return {
        level: None if table is None else with_decisions(table, run.classes, decision(level))
        for level, table in tables.items()
    }


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


def _unlike(
    run: Finished,
    labelled: Labelled,
    decision: Callable[[Level], Decision],
    groups: Mapping[str, str],
) -> UnlikeImages:
    """How many are unlike training, and the metrics of the others."""
    flags = np.array([bool(reason) for reason in labelled.unlike])
    images = labelled.images
    without = None
    if flags.any() and not flags.all():
        tables = _decided(run, images[~flags].reset_index(drop=True), decision)
        summary = summarise(tables, run.classes, groups)
        without = next(
            summary[level] for level in reversed(list(tables)) if tables[level] is not None
        )
    return {
        "num_images": int(flags.sum()),
        "num_patients": images["patient_id"][flags].nunique(),
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
    key = "image_path" if level == "image" else "patient_id"
    of_columns = {
        name: groups_of(manifest.samples[ours], manifest.samples[key], table[key], name)
        for name, ours in columns.items()
    }
    site = next((name for name, ours in columns.items() if ours == "site"), None)
    return subgroups(table, run.classes, of_columns, level, groups, site)


def headline(found: External, levels: Sequence[Level]) -> str:
    """The one line of it: AUROC where it is defined, beside that of the cross-validation."""
    level = levels[0]
    for name in ("auroc", "balanced_accuracy"):
        entry = found["beside"].get(level, {}).get(name)
        if entry is not None and entry["value"] is not None:
            return _line(name, level, entry)
    return "no AUROC: " + "; ".join((found.get("undefined") or {}).values())


def _line(name: str, level: Level, of: Mapping[str, float | str | None]) -> str:
    def bounds(*ends: str) -> str:
        low, high = (of[end] for end in ends)
        return "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"

    text = f"{name} of new {level}s {of['value']:.3f}{bounds('ci_low', 'ci_high')}"
    if of["cv_value"] is not None:
        text += f"; cross-validated {of['cv_value']:.3f}{bounds('cv_low', 'cv_high')}"
    if of["difference"] is not None:
        apart = bounds("difference_low", "difference_high")
        text += f"; difference {of['difference']:+.3f}{apart}"
    return text

