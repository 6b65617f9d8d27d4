"""Folds that never share a patient: dealt, proved, saved, loaded again."""

from pipeline.splits.conflicts import PlanError, check_classes
from pipeline.splits.folds import Fold, LeakageError, Part, Plan
from pipeline.splits.plan_file import load_plan, save_plan
from pipeline.splits.quality import missing_classes
from pipeline.splits.schemes import plan_folds

__all__ = [
    "Fold",
    "LeakageError",
    "Part",
    "Plan",
    "PlanError",
    "check_classes",
    "load_plan",
    "missing_classes",
    "plan_folds",
    "save_plan",
]
