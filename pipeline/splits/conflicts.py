"""What a plan cannot give, however it is dealt: parts without a class."""

from collections.abc import Collection

from pandas import DataFrame

from pipeline.config import UserError
from pipeline.manifest import Manifest
from pipeline.splits.folds import Part
from pipeline.splits.plan import Plan
from pipeline.splits.quality import missing_classes, without
from pipeline.words import SHOWN, and_more, counted

Missing = tuple[int, str, str]
"""(fold, part, class)"""


class PlanError(UserError):
    """A plan under which training, or choosing an epoch, cannot work."""


def check_classes(plan: Plan, manifest: Manifest, needed: Collection[Part]) -> list[str]:
    """What metrics will miss, one line per class; PlanError if a part in `needed` lacks one."""
    missing = missing_classes(plan, manifest)
    fatal = [m for m in missing if m[1] in needed]
    if fatal:
        heading = f"{counted(plan.num_folds, 'fold')} of {manifest.path} cannot be trained:"
        lines = [*_class_by_class(fatal, manifest), _advice(fatal, manifest, plan)]
        raise PlanError("\n  ".join([heading, *lines]))
    return [
        f"{line}; metrics there that need it will be reported as missing"
        for line in _class_by_class(missing, manifest)
    ]


def _class_by_class(missing: list[Missing], manifest: Manifest) -> list[str]:
    """One line per class: how many patients it has, and where it is missing."""
    lines = []
    counts = _groups_of_class(manifest.samples, manifest, "patient_id")
    for name, count in counts.items():
        places = [f"{part} of fold {fold}" for fold, part, label in missing if label == name]
        if places:
            where = and_more(places[:SHOWN], len(places))
            lines.append(f"class {name!r} has {counted(count, 'patient')}, none in {where}")
    return lines


def _groups_of_class(rows: DataFrame, manifest: Manifest, column: str) -> dict[str, int]:
    """How many patients or groups, in `column` of the rows, each class has; of labels that do not
    exclude each other also how many have images without each.
    """
    has_class = manifest.has_class[rows.index.to_numpy()]
    names, of_class = list(manifest.classes), list(has_class.T)
    if manifest.is_multilabel:
        names, of_class = names + [without(name) for name in names], of_class + list(~has_class.T)
    return {n: rows[column][has].nunique() for n, has in zip(names, of_class, strict=True)}


def _advice(missing: list[Missing], manifest: Manifest, plan: Plan) -> str:
    """How to get a plan that can be trained."""
    rows = manifest.samples[~manifest.samples["patient_id"].isin(plan.locked)]
    independent = _groups_of_class(rows, manifest, "group")
    fewest = min(independent[label] for _, _, label in missing)
    most = min(fewest, plan.num_folds // plan.repeats - 1)
    if fewest < 3:
        advice = (
            "a class needs 3 independent patients or more, one each to train, validate and test: "
            "leave its rows out, or merge it with another class"
        )
        if manifest.is_multilabel:
            advice = (
                "a label needs 3 independent patients or more with it, and 3 without, one each to "
                "train, validate and test: leave it out, or merge it with another label"
            )
    elif not plan.made_by.rotates:
        advice = f"split.scheme={plan.scheme} separates the class from the others: "
        advice += plan.made_by.remedy
    else:
        advice = f"use at most {most} folds (split.num_folds)" if most >= 3 else plan.made_by.remedy
    if {part for _, part, _ in missing} == {"val"}:
        advice += "; or training.select_by=val/loss, which needs no class in val"
    return advice
