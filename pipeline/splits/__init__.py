"""Folds that never share a patient: dealt, proved, saved, loaded again."""

from pipeline.splits.conflicts import PlanError, check_classes
from pipeline.splits.folds import Fold, LeakageError, Part
from pipeline.splits.frozen import load_plan, save_plan
from pipeline.splits.plan import Plan, plan_by_image, plan_folds
from pipeline.splits.quality import missing_classes

__all__ = [
    "Fold",
    "LeakageError",
    "Part",
    "Plan",
    "PlanError",
    "check_classes",
    "load_plan",
    "missing_classes",
    "plan_by_image",
    "plan_folds",
    "save_plan",
]
