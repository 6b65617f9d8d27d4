"""A frozen plan: new patients are placed and nobody moves; links are repaired on request only."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import PredefinedSplit

from pipeline.config import SplitConfig, UserError
from pipeline.manifest import Manifest
from pipeline.splits import LeakageError, load_plan, plan_folds, save_plan
from pipeline.splits.frozen import check_fits
from pipeline.splits.growth import grow_plan, predefined_split, repair_plan


def cohort(num_patients, seed=0, joined=()):
    """`joined` are pairs of patient numbers that share a group."""
    generator = np.random.default_rng(seed)
    group = {i: i for i in range(num_patients)} | {b: a for a, b in joined}
    rows = []
    for i in range(num_patients):
        label = "ab"[int(generator.random() < 0.3)]
        for j in range(1 + int(generator.exponential(4))):
            rows.append([f"P{i:03}", f"{i}_{j}.png", label, f"P{group[i]:03}"])
    table = pd.DataFrame(rows, columns=["patient_id", "image_path", "label", "group"])
    return Manifest(Path("x.csv"), Path(), ("a", "b"), table)


def places(plan):
    return {patient: fold.index for fold in plan.folds for patient in fold.test}


@pytest.mark.parametrize("locked", [0.0, 0.2])
def test_growing_moves_nobody_and_places_everybody(locked, tmp_path):
    old = plan_folds(cohort(40), SplitConfig(num_folds=5, locked_fraction=locked))
    bigger = cohort(55)
    new = grow_plan(old, bigger, SplitConfig())
    assert places(new).items() >= places(old).items()
    assert new.locked == old.locked
    assert len(places(new)) + len(new.locked) == 55
    assert (new.version, new.parent_hash) == (2, old.hash)
    save_plan(new, tmp_path / "plan.csv")
    assert load_plan(tmp_path / "plan.csv", bigger) == new


def test_growth_balances_the_columns_that_the_plan_is_stratified_by():
    """Thirty new patients of two hospitals, of whom each of three blocks gets half and half."""
    table = pd.DataFrame(
        [[f"P{i:03}", f"{i}.png", "ab"[i % 2], f"P{i:03}", "ns"[i // 2 % 2]] for i in range(60)],
        columns=["patient_id", "image_path", "label", "group", "site"],
    )
    everybody = Manifest(Path("x.csv"), Path(), ("a", "b"), table)
    first = Manifest(Path("x.csv"), Path(), ("a", "b"), table[:12])
    split = SplitConfig(num_folds=3, stratify=("site",))
    new = grow_plan(plan_folds(first, split), everybody, split)
    site = dict(zip(table["patient_id"], table["site"], strict=True))
    assert [sum(site[p] == "n" for p in fold.test) for fold in new.folds] == [10, 10, 10]


def test_locked_patients_do_not_weigh_in_growth():
    """New patients are placed as if those who are locked were not there."""
    old = plan_folds(cohort(40), SplitConfig(num_folds=5, locked_fraction=0.3))
    bigger = cohort(60)
    new = grow_plan(old, bigger, SplitConfig())
    table = bigger.table[~bigger.table["patient_id"].isin(old.locked)].reset_index(drop=True)
    without = replace(
        old,
        locked=frozenset(),
        groups={p: g for p, g in old.groups.items() if p not in old.locked},
    )
    assert places(grow_plan(without, replace(bigger, table=table), SplitConfig())) == places(new)


def test_a_plan_that_nothing_changes_keeps_its_version():
    plan = plan_folds(cohort(20), SplitConfig(num_folds=4))
    assert grow_plan(plan, cohort(20), SplitConfig()) is plan
    assert repair_plan(plan, cohort(20), SplitConfig()) == (plan, [])


def test_a_new_link_stops_growth_and_is_repaired_on_request():
    old = plan_folds(cohort(20), SplitConfig(num_folds=4))
    place = places(old)
    other = next(i for i in range(1, 20) if place[f"P{i:03}"] != place["P000"])
    linked = cohort(20, joined=[(0, other)])
    with pytest.raises(LeakageError, match=f"'P000' .* and 'P{other:03}' .*plan.action=repair"):
        grow_plan(old, linked, SplitConfig())
    new, moved = repair_plan(old, linked, SplitConfig())
    assert len(moved) == 1
    assert places(new)["P000"] == places(new)[f"P{other:03}"]
    assert sum(places(new)[p] != block for p, block in place.items()) == 1
    check_fits(new, linked)


def test_a_plan_cannot_shrink_and_only_kfold_grows():
    old = plan_folds(cohort(20), SplitConfig(num_folds=4))
    with pytest.raises(UserError, match="2 patient"):
        grow_plan(old, cohort(18), SplitConfig())
    holdout = plan_folds(cohort(20), SplitConfig(scheme="holdout"))
    with pytest.raises(UserError, match="scheme holdout"):
        grow_plan(holdout, cohort(25), SplitConfig())


def test_scikit_learns_predefined_split_tests_the_same_patients():
    manifest = cohort(20)
    plan = plan_folds(manifest, SplitConfig(num_folds=4, locked_fraction=0.2))
    table = predefined_split(plan, manifest)
    owner = table["image_path"].map(manifest.table.set_index("image_path")["patient_id"])
    for fold, (train, test) in zip(
        plan.folds, PredefinedSplit(table["test_fold"]).split(), strict=True
    ):
        assert set(owner.iloc[test]) == fold.test
        assert set(owner.iloc[train]) == fold.train | fold.val  # and nobody who is locked


def test_a_purged_image_is_not_exported():
    table = cohort(20).table
    table["date"] = [f"2020-01-{1 + row % 28:02}" for row in range(len(table))]
    manifest = Manifest(Path("x.csv"), Path(), ("a", "b"), table)
    plan = plan_folds(manifest, SplitConfig(scheme="temporal", test_from="2020-01-25"))
    assert plan.purged_images
    exported = predefined_split(plan, manifest)
    assert set(exported["image_path"]) == set(table["image_path"]) - plan.purged_images
    assert set(exported["test_fold"]) == {-1, 0}
