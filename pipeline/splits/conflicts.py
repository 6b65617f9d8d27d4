"""What a plan cannot give, however it is dealt: parts without a class."""

from collections.abc import Collection

from pipeline.config import UserError
from pipeline.manifest import Manifest
from pipeline.splits.folds import Part
from pipeline.splits.plan import Plan
from pipeline.splits.quality import missing_classes
from pipeline.words import SHOWN, and_more, counted

Missing = tuple[int, str, str]
"""(fold, part, class)"""


class PlanError(UserError):
    """A plan under which training, or choosing an epoch, cannot work."""


def check_classes(plan: Plan, manifest: Manifest, needed: Collection[Part]) -> list[str]:
    """What a metric will be missing for, one line per class.

    Raises:
        PlanError: when a part among `needed` misses a class.
    """
    missing = missing_classes(plan, manifest)
    fatal = [m for m in missing if m[1] in needed]
    if fatal:
        raise PlanError(
            "\n".join(
                [
                    f"{counted(plan.num_folds, 'fold')} of {manifest.path} cannot be trained:",
                    *(f"  {line}" for line in _class_by_class(fatal, manifest)),
                    f"  {_advice(fatal, manifest, plan)}",
                ]
            )
        )
    return [
        f"{line}; metrics there that need it will be reported as missing"
        for line in _class_by_class(missing, manifest)
    ]


def _class_by_class(missing: list[Missing], manifest: Manifest) -> list[str]:
    """One line per class: how many patients it has, and where it is missing."""
    lines = []
    for name, count in _num_patients(manifest).items():
        places = [f"{part} of fold {fold}" for fold, part, label in missing if label == name]
        if places:
            where = and_more(places[:SHOWN], len(places))
            lines.append(f"class {name!r} has {counted(count, 'patient')}, none in {where}")
    return lines


def _advice(missing: list[Missing], manifest: Manifest, plan: Plan) -> str:
    """How to get a plan that can be trained."""
    independent = _num_groups(manifest, plan)
    fewest = min(independent[label] for _, _, label in missing)
    most = min(fewest, plan.num_folds // plan.repeats - 1)
    if fewest < 3:
        advice = (
            "a class needs 3 independent patients or more, one each to train, validate and test: "
            "leave its rows out, or merge it with another class"
        )
    elif not plan.made_by.rotates:
        advice = f"split.scheme={plan.scheme} separates the class from the others: "
        advice += plan.made_by.remedy
    else:
        advice = f"use at most {most} folds (split.num_folds)" if most >= 3 else plan.made_by.remedy
    if {part for _, part, _ in missing} == {"val"}:
        advice += "; or training.select_by=val/loss, which needs no class in val"
    return advice


def _num_patients(manifest: Manifest) -> dict[str, int]:
    everyone = manifest.of(manifest.patients)
    counts = manifest.num_patients_per_class(everyone).tolist()
    return dict(zip(manifest.classes, counts, strict=True))


def _num_groups(manifest: Manifest, plan: Plan) -> dict[str, int]:
    """Leakage groups with an image of each class, of those that are not locked."""
    rows = manifest.samples[~manifest.samples["patient_id"].isin(plan.locked)]
    counts = rows.groupby("label")["group"].nunique()
    return {name: int(counts.get(name, 0)) for name in manifest.classes}
