"""Folds that never share a patient: dealt, proved, saved, loaded again."""

from pipeline.splits.conflicts import check_classes
from pipeline.splits.folds import NO_FOLD, Everybody, Fold, LeakageError, Part
from pipeline.splits.frozen import load_plan, save_plan
from pipeline.splits.plan import Plan, plan_by_image, plan_folds

__all__ = [
    "NO_FOLD",
    "Everybody",
    "Fold",
    "LeakageError",
    "Part",
    "Plan",
    "check_classes",
    "load_plan",
    "plan_by_image",
    "plan_folds",
    "save_plan",
]
