"""Every scheme, on random cohorts: disjoint, complete, tested as often as it says, repeatable."""

import random
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import SplitConfig, UserError
from pipeline.manifest import Manifest
from pipeline.splits import LeakageError, load_plan, plan_by_image, plan_folds, save_plan
from pipeline.splits.dealing.counts import count_groups
from pipeline.splits.describe import accuracy_half_width, describe_plan
from pipeline.splits.growth import grow_plan
from pipeline.splits.schemes import SCHEMES, Scheme

DAYS = [f"2020-0{month}-15" for month in range(1, 7)]
SPLITS = [
    SplitConfig(num_folds=3),
    SplitConfig(num_folds=4, repeats=2, seed=5),
    SplitConfig(num_folds=3, locked_fraction=0.2, stratify=("site",)),
    SplitConfig(scheme="leave_one_out"),
    SplitConfig(scheme="leave_one_out", leave_out="site", locked_fraction=0.1),
    SplitConfig(scheme="holdout", test_fraction=0.2, val_fraction=0.2),
    SplitConfig(scheme="temporal", test_from=DAYS[4]),
    SplitConfig(scheme="temporal", val_from=DAYS[2], test_from=DAYS[4], locked_fraction=0.2),
    SplitConfig(scheme="predefined"),
]


def manifest_of(rows):
    columns = ["patient_id", "image_path", "label", "site", "date", "group", "fold"]
    table = pd.DataFrame(rows, columns=columns, dtype=str)
    table = table.sort_values(["patient_id", "image_path"], ignore_index=True)
    return Manifest(Path("x.csv"), Path(), ("a", "b"), table.assign(line=range(2, len(table) + 2)))


@st.composite
def cohorts(draw):
    num_patients = draw(st.integers(4, 16))
    generator = random.Random(draw(st.integers(0, 10_000)))
    rows: list[list[str]] = []
    groups: list[str] = []
    fold_of: dict[str, str] = {}
    for i in range(num_patients):
        patient = f"P{i:02}"
        joins = bool(groups) and generator.random() < 0.2
        groups.append(generator.choice(groups) if joins else patient)
        site = generator.choice("xyz")
        fold = fold_of.setdefault(groups[-1], generator.choice("012"))
        if generator.random() < 0.02:  # whoever made these folds was not always careful
            fold = generator.choice("012")
        for image in range(generator.randint(1, 4)):
            day = generator.choice(DAYS)
            label = generator.choice("ab")
            name = f"{patient}/{image}.png"
            rows.append([patient, name, label, site, day, groups[-1], fold])
    return rows


def plan_or_reason(manifest, split):
    try:
        return plan_folds(manifest, split)
    except UserError as error:
        return str(error)


@settings(max_examples=settings().max_examples // 2)  # each is two plans
@given(cohorts(), st.sampled_from(SPLITS), st.randoms(use_true_random=False))
def test_every_scheme_keeps_its_promises(rows, split, shuffle):
    manifest = manifest_of(rows)
    shuffled = list(rows)
    shuffle.shuffle(shuffled)
    plan = plan_or_reason(manifest, split)
    homes = manifest.table.groupby("group")["fold"].unique()
    whole = all(len(folds) == 1 for folds in homes) and manifest.table["fold"].nunique() == 3
    if isinstance(plan, str):
        if split.scheme == "predefined":
            assert plan.startswith("manifest.columns.fold: ")
            assert not whole
        else:
            assert "independent patient" in plan or " 1 fold;" in plan
        return
    assert whole or split.scheme != "predefined"
    assert plan_folds(manifest_of(shuffled), split).hash == plan.hash
    group_of = dict(zip(manifest.table["patient_id"], manifest.table["group"], strict=True))
    tested: Counter[str] = Counter()
    for fold in plan.folds:
        sides = [fold.train, fold.val, fold.test, plan.locked]
        named = [patient for side in (*sides, plan.purged_patients) for patient in side]
        assert sorted(named) == sorted(group_of)  # each once, nobody lost
        groups = [{group_of[patient] for patient in side} for side in sides]
        assert sum(map(len, groups)) == len(set().union(*groups))
        tested.update(fold.test)
    expected = {"kfold": {split.repeats}, "leave_one_out": {1}}.get(split.scheme, {1})
    assert set(tested.values()) == expected
    if split.scheme == "predefined":
        given_fold = dict(zip(manifest.table["patient_id"], manifest.table["fold"], strict=True))
        assert all(given_fold[p] == str(fold.index) for fold in plan.folds for p in fold.test)
    if split.scheme in ("kfold", "leave_one_out", "predefined"):
        assert tested.keys() == group_of.keys() - plan.locked
    if split.scheme == "temporal":
        purged = manifest.table["image_path"].isin(plan.purged_images)
        in_use = manifest.table[~purged]
        (fold,) = plan.folds
        train, val, test = (
            in_use.loc[in_use["patient_id"].isin(fold.of(part)), "date"]
            for part in ("train", "val", "test")
        )
        assert max(train.max(), val.max()) < split.test_from <= test.min()
        assert split.val_from is None or train.max() < split.val_from <= val.min()
    if split.leave_out == "site":
        site_of = dict(zip(manifest.table["patient_id"], manifest.table["site"], strict=True))
        for fold in plan.folds:
            sites = [{site_of[patient] for patient in part} for part in (fold.train, fold.test)]
            assert not sites[0] & sites[1]
    assert describe_plan(plan, manifest, split)[0].startswith("plan: ")


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_a_plan_of_every_scheme_comes_back_from_its_file(split, tmp_path):
    manifest = cohort()
    plan = plan_folds(manifest, split)
    save_plan(plan, tmp_path / "plan.csv")
    assert load_plan(tmp_path / "plan.csv", manifest) == plan


def cohort(**changed):
    """24 patients at 3 sites, 2 images each, half of them positive."""
    rows = [
        [
            f"P{i:02}",
            f"P{i:02}/{j}.png",
            "ab"[i % 2],
            "xyz"[i % 3],
            DAYS[(i + j) % 6],
            f"P{i:02}",
            str(i % 4),
        ]
        for i in range(24)
        for j in range(2)
    ]
    manifest = manifest_of(rows)
    table = manifest.table
    for column, values in changed.items():
        table = table.assign(**{column: table["patient_id"].map(values)})
    return Manifest(manifest.path, manifest.image_root, manifest.classes, table)


def test_leave_one_site_out_tests_whole_sites():
    plan = plan_folds(cohort(), SplitConfig(scheme="leave_one_out", leave_out="site"))
    assert [len(fold.test) for fold in plan.folds] == [8, 8, 8]
    assert all(fold.val for fold in plan.folds)


def test_leaving_each_of_many_patients_out_is_fast_and_bounded():
    rows = [
        [f"P{i:04}", f"{i}.png", "ab"[i % 2], "x", DAYS[0], f"P{i:04}", "0"] for i in range(1001)
    ]
    plan = plan_folds(manifest_of(rows[:60]), SplitConfig(scheme="leave_one_out"))
    assert {len(fold.test) for fold in plan.folds} == {1}
    assert {len(fold.val) for fold in plan.folds} <= {5, 6}
    with pytest.raises(UserError, match="gives 1,001 folds; 2 to 1,000"):
        plan_folds(manifest_of(rows), SplitConfig(scheme="leave_one_out"))


def test_holdout_fractions_are_met():
    split = SplitConfig(scheme="holdout", test_fraction=0.25, val_fraction=0.25)
    (fold,) = plan_folds(cohort(), split).folds
    assert (len(fold.test), len(fold.val), len(fold.train)) == (6, 6, 12)


@pytest.mark.parametrize(
    ("split", "why"),
    [
        (SplitConfig(scheme="leave_one_out", leave_out="scanner"), "has no column 'scanner'"),
        (SplitConfig(stratify=("age",)), "split.stratify: x.csv has no column 'age'"),
        (SplitConfig(scheme="temporal", test_from="2030-01-01"), "dates run from 2020-01-15 to"),
        (SplitConfig(scheme="temporal", test_from=DAYS[1], val_from=DAYS[3]), "must be before"),
        (SplitConfig(scheme="predefined", assignments="no.csv"), "no.csv: No such file"),
    ],
)
def test_what_cannot_be_planned_is_reported(split, why):
    with pytest.raises(UserError, match=why):
        plan_folds(cohort(), split)


def test_further_columns_are_counted_by_patient():
    ages = {f"P{i:02}": str(20 + i) for i in range(24)}
    both = {f"P{i:02}": "CT|MR" if i % 2 else "CT" for i in range(24)}
    manifest = cohort(age=ages, scan=both)
    names = sorted(manifest.table["group"].unique())
    counts = count_groups(manifest, names, ("site", "age", "scan"), num_bins=4)
    assert counts.patients.sum(axis=0).tolist() == [12, 12, 8, 8, 8, 6, 6, 6, 6, 24, 12]
    plan = plan_folds(manifest, SplitConfig(num_folds=4, stratify=("site",)))
    site_of = dict(zip(manifest.table["patient_id"], manifest.table["site"], strict=True))
    for fold in plan.folds:
        assert Counter(site_of[p] for p in fold.test) == {"x": 2, "y": 2, "z": 2}


def test_a_column_goes_by_the_name_that_the_csv_gives_it():
    manifest = replace(cohort(), names={"hospital": "site", "site": "csv site"})
    manifest.table["csv site"] = "same"
    names = sorted(manifest.table["group"].unique())
    assert count_groups(manifest, names, ("hospital",)).patients.shape[1] == 2 + 3
    assert count_groups(manifest, names, ("site",)).patients.shape[1] == 2 + 1
    split = SplitConfig(scheme="leave_one_out", leave_out="hospital")
    assert plan_folds(manifest, split).num_folds == 3
    for setting, split in (
        ("stratify", SplitConfig(num_folds=3, stratify=("age",))),
        ("leave_out", SplitConfig(scheme="leave_one_out", leave_out="age")),
    ):
        with pytest.raises(
            UserError, match=rf"split.{setting}: .*no column 'age'.*hospital, .*site"
        ):
            plan_folds(manifest, split)


def test_a_text_among_numbers_is_a_value_beside_the_bins():
    ages = {f"P{i:02}": "unknown" if i % 8 == 0 else str(20 + i) for i in range(24)}
    manifest = cohort(age=ages)
    names = sorted(manifest.table["group"].unique())
    counts = count_groups(manifest, names, ("age",), num_bins=3)
    assert counts.patients.sum(axis=0).tolist() == [12, 12, 7, 7, 7, 3]


def test_fractions_are_of_all_patients_also_beside_locked_ones():
    manifest = cohort()
    split = SplitConfig(
        scheme="holdout", test_fraction=0.25, val_fraction=0.25, locked_fraction=0.25
    )
    plan = plan_folds(manifest, split)
    (fold,) = plan.folds
    sizes = [len(part) for part in (fold.test, fold.val, fold.train, plan.locked)]
    assert sizes == [6, 6, 6, 6]


@pytest.mark.parametrize(
    ("fraction", "expected"), [(0.1, 2.4), (0.4, 9.6), (0.9, 21.6), (0.05, 1.2), (0.001, 1)]
)
def test_many_folds_validate_on_the_share_that_is_asked_for(fraction, expected):
    plan = plan_folds(cohort(), SplitConfig(scheme="leave_one_out", val_fraction=fraction))
    assert plan.num_folds == 24
    sizes = [len(fold.val) for fold in plan.folds]
    assert np.mean(sizes) == pytest.approx(expected, abs=1)
    assert min(sizes) >= 1
    assert len({fold.val for fold in plan.folds}) > 5  # not always the same patients


def test_somebody_is_left_to_train_on_however_large_the_validation_part():
    """21 of 24 patients in 20 blocks: one of them holds nobody but the one who is tested."""
    plan = plan_folds(cohort(), SplitConfig(scheme="leave_one_out", val_fraction=0.97))
    assert min(len(fold.train) for fold in plan.folds) == 1


def test_an_image_level_plan_says_that_it_is_unsafe():
    split = SplitConfig(num_folds=3)
    manifest, plan = plan_by_image(cohort(), split)
    assert plan.unsafe
    assert plan.scheme == "kfold-image-level-UNSAFE"
    assert "UNSAFE" in describe_plan(plan, manifest, split)[0]


def test_twenty_test_patients_know_an_accuracy_to_18_points():
    assert accuracy_half_width(20) == pytest.approx(0.175, abs=0.001)


def test_a_value_that_is_spelled_several_ways_cannot_be_left_out():
    """Else a hospital would be trained on, while a part of it is tested."""
    manifest = cohort(hospital={"P00": "North", "P01": "north ", "P02": "NORTH"})
    split = SplitConfig(scheme="leave_one_out", leave_out="hospital")
    with pytest.raises(UserError, match=r"'North', 'north', 'NORTH'. Each would be a fold"):
        plan_folds(manifest, split)


def test_a_number_without_end_is_a_value_beside_the_bins():
    ages = {f"P{i:02}": "1e400" if i % 8 == 0 else str(20 + i) for i in range(24)}
    manifest = cohort(age=ages)
    names = sorted(manifest.table["group"].unique())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts = count_groups(manifest, names, ("age",), num_bins=3)
    assert counts.patients.sum(axis=0).tolist() == [12, 12, 7, 7, 7, 3]


# --- one file and one line for each scheme


def test_the_registry_and_the_settings_know_the_same_schemes():
    assert SplitConfig.__annotations__["scheme"].__args__ == tuple(SCHEMES)
    assert all(scheme.name == name and scheme.words for name, scheme in SCHEMES.items())


def test_a_new_scheme_needs_no_line_elsewhere(monkeypatch, tmp_path):
    def every_third(groups, _):
        yield groups.free[::3], groups.free[1::3]

    scheme = Scheme(name="every_third", words="every third patient is tested", rounds=every_third)
    monkeypatch.setitem(SCHEMES, scheme.name, scheme)
    split = SplitConfig()
    object.__setattr__(split, "scheme", scheme.name)
    manifest = cohort()
    plan = plan_folds(manifest, split)
    assert plan.folds[0].test == {f"P{i:02}" for i in range(0, 24, 3)}
    (said,) = [line for line in describe_plan(plan, manifest, split) if "plan: " in line]
    assert said == f"plan: every_third, 1 fold, hash {plan.hash[:12]}; {scheme.words}"
    save_plan(plan, tmp_path / "plan.csv")
    assert load_plan(tmp_path / "plan.csv", manifest) == plan
    assert not plan.unsafe


def test_a_plan_of_an_unknown_scheme_is_refused_and_the_known_ones_are_named(monkeypatch, tmp_path):
    manifest = cohort()
    with monkeypatch.context() as newer:
        newer.setitem(SCHEMES, "newer", replace(SCHEMES["kfold"], name="newer"))
        plan = replace(plan_folds(manifest, SplitConfig(num_folds=3)), scheme="newer")
        save_plan(plan, tmp_path / "plan.csv")
    known = "known are kfold, leave_one_out, holdout, temporal, predefined"
    with pytest.raises(LeakageError, match=rf"plan\.csv: scheme 'newer' is unknown; {known}\."):
        load_plan(tmp_path / "plan.csv", manifest)


def test_a_plan_by_image_stays_marked_in_its_file(tmp_path):
    leaking, plan = plan_by_image(cohort(), SplitConfig(num_folds=3))
    save_plan(plan, tmp_path / "plan.csv")
    loaded = load_plan(tmp_path / "plan.csv", leaking)
    assert loaded.unsafe
    assert loaded.hash == plan.hash != replace(plan, scheme="kfold").hash
    with pytest.raises(UserError, match="cannot grow"):
        grow_plan(loaded, leaking, SplitConfig(num_folds=3))


def test_only_a_plan_that_rotates_has_repeats():
    plan = plan_folds(cohort(), SplitConfig(scheme="leave_one_out", leave_out="site"))
    with pytest.raises(LeakageError, match="leave_one_out has no repeats, got 2"):
        replace(plan, repeats=2)
