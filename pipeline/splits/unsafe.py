"""A split by image, which leaks: only to show what the leak costs."""

from dataclasses import replace

from pipeline.config import SplitConfig
from pipeline.manifest import Manifest
from pipeline.splits.folds import Plan
from pipeline.splits.schemes import plan_folds


def plan_by_image(manifest: Manifest, split: SplitConfig) -> tuple[Manifest, Plan]:
    """Deal images as if each were a patient; the rows stay in order.

    Patient ids become "UNSAFE|<patient>|<image_path>", so that every row of every file is marked;
    `Plan.unsafe` is true, and such runs are marked everywhere.
    """
    ids = "UNSAFE|" + manifest.table["patient_id"] + "|" + manifest.table["image_path"]
    leaking = replace(manifest, table=manifest.table.assign(patient_id=ids, group=ids))
    plan = plan_folds(leaking, split)
    return leaking, replace(plan, scheme=f"{plan.scheme}-image-level-UNSAFE")
