"""A frozen plan lives on: on request, new patients are placed and a new link is repaired."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.config import SplitConfig, UserError
from pipeline.manifest import Manifest
from pipeline.splits.dealing.counts import count_groups, group_names, groups_of
from pipeline.splits.dealing.deal import deal
from pipeline.splits.folds import folds_of
from pipeline.splits.frozen import check_links, check_nobody_is_gone
from pipeline.splits.plan import Plan
from pipeline.words import counted


def grow_plan(plan: Plan, manifest: Manifest, split: SplitConfig) -> Plan:
    """Place the patients that `plan` does not know; nobody who has a block moves.

    New patients that are linked to a locked one are locked too. `split` names the columns that are
    balanced beside the classes; its scheme, folds and seed are those of `plan`. Raises UserError
    when a new link joins two blocks, a patient is gone, or the plan does not rotate.
    """
    check_links(plan, manifest)
    return _dealt(plan, manifest, _blocks(plan), split)


def repair_plan(plan: Plan, manifest: Manifest, split: SplitConfig) -> tuple[Plan, list[str]]:
    """Repair newly found links: the smaller side moves to the larger; also who moved, in words.

    Patients that `plan` does not know are placed as `grow_plan` does. Raises UserError when a
    patient of the plan is gone, or the plan does not rotate.
    """
    blocks, moved = _blocks(plan), []
    pairs = manifest.table[["patient_id", "group"]].drop_duplicates()
    for group, members in pairs.groupby("group")["patient_id"]:
        known = [patient for patient in sorted(members) if patient in blocks]
        counts = Counter(blocks[patient] for patient in known)
        if len(counts) < 2:
            continue
        # What is locked was never trained on: it can join a fold, a fold's patient cannot go back.
        home = min((block for block in counts if block >= 0), key=lambda b: (-counts[b], b))
        for patient in known:
            if blocks[patient] != home:
                was = "locked" if blocks[patient] < 0 else f"fold {blocks[patient]}"
                moved.append(f"{patient!r} from {was} to fold {home} (group {group!r})")
                blocks[patient] = home
    return _dealt(plan, manifest, blocks, split), moved


def predefined_split(plan: Plan, manifest: Manifest) -> pd.DataFrame:
    """image_path and test_fold for scikit-learn's PredefinedSplit, one row per image.

    PredefinedSplit trains on every row that it does not test, so that locked patients and purged
    images have no row; -1 stands for patients of the plan that no fold tests. It knows no
    validation part and trains on it too. Raises UserError for repeats.
    """
    if plan.repeats > 1:
        raise UserError("plan.test_fold: PredefinedSplit cannot hold repeats (split.repeats=1).")
    fold_of = dict.fromkeys(plan.times_tested, -1)
    fold_of |= {patient: fold.index for fold in plan.folds for patient in fold.test}
    test_fold = manifest.table["patient_id"].map(fold_of)
    there = test_fold.notna() & ~manifest.table["image_path"].isin(plan.purged_images)
    rows = manifest.table.loc[there, ["image_path"]]
    return rows.assign(test_fold=test_fold[there].astype(int))


def _blocks(plan: Plan) -> dict[str, int]:
    """Patient -> block, -1 for locked."""
    if not plan.made_by.rotates or plan.unsafe or plan.repeats > 1 or plan.purged_images:
        raise UserError(
            f"a plan of scheme {plan.scheme} with {counted(plan.repeats, 'repeat')} cannot grow or "
            "be repaired, only a kfold one with 1 repeat; make a new plan."
        )
    blocks = {patient: fold.index for fold in plan.folds for patient in fold.test}
    return blocks | dict.fromkeys(plan.locked, -1)


def _dealt(plan: Plan, manifest: Manifest, blocks: dict[str, int], split: SplitConfig) -> Plan:
    check_nobody_is_gone(plan, manifest)
    groups = groups_of(manifest)
    placed = {groups[patient]: block for patient, block in blocks.items()}
    names = [name for name in group_names(manifest) if placed.get(name) != -1]
    fixed = np.array([placed.get(name, -1) for name in names])
    k = plan.num_folds
    quantities = count_groups(manifest, names, split.stratify, split.num_bins)
    dealt = deal(quantities, np.full(k, 1 / k), plan.seed, fixed)
    block_of = dict(zip(names, dealt.tolist(), strict=True))
    locked = frozenset(p for p, group in groups.items() if placed.get(group) == -1)
    everyone = frozenset(groups) - locked
    members = [frozenset(p for p in everyone if block_of[groups[p]] == i) for i in range(k)]
    folds = folds_of(everyone, zip(members, [*members[1:], members[0]], strict=True))
    grown = replace(plan, folds=folds, groups=groups, manifest_hash=manifest.hash, locked=locked)
    if grown == plan:
        return plan
    return replace(grown, version=plan.version + 1, parent_hash=plan.hash)
