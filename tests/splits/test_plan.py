"""The plan: leak-free by construction, complete, reproducible, balanced."""

import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from pipeline.config import ManifestConfig, SplitConfig, UserError
from pipeline.manifest import Manifest, read_manifest
from pipeline.splits import (
    Fold,
    LeakageError,
    Plan,
    check_classes,
    plan_folds,
)
from pipeline.splits.conflicts import PlanError
from pipeline.splits.frozen import check_fits
from pipeline.splits.quality import count_parts, missing_classes

Cohort = Callable[..., ManifestConfig]


def manifest_of(patients: dict[str, list[str]], joined: dict[str, str] | None = None) -> Manifest:
    """A manifest without files; `joined` maps a patient to the group it belongs to."""
    rows = [
        (patient, f"{patient}/{i}.png", label, (joined or {}).get(patient, patient))
        for patient, labels in patients.items()
        for i, label in enumerate(labels)
    ]
    table = pd.DataFrame(rows, columns=["patient_id", "image_path", "label", "group"], dtype=str)
    classes = tuple(sorted(table["label"].unique()))
    return Manifest(Path("x.csv"), Path(), classes, table)


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[Manifest, int, int]:
    """A random cohort of 3 to 25 patients, some joined, with a possible number of folds."""
    num_patients = draw(st.integers(3, 25))
    labels = st.lists(st.sampled_from("abc"), min_size=1, max_size=5)
    patients = {f"P{i}": draw(labels) for i in range(num_patients)}
    patients["P0"] = [*patients["P0"], "a", "b"]  # at least two classes
    joined = {
        patient: f"P{draw(st.integers(0, i))}"
        for i, patient in enumerate(patients)
        if draw(st.integers(0, 3)) == 0
    }
    joined = {patient: min(patient, group) for patient, group in joined.items()}
    joined |= {group: group for group in joined.values()}
    manifest = manifest_of(patients, joined)
    num_groups = manifest.table["group"].nunique()
    num_folds = draw(st.integers(3, max(3, min(10, num_groups))))
    return manifest, num_folds, draw(st.integers(0, 99))


def kfold(num_folds: int, seed: int = 0) -> SplitConfig:
    return SplitConfig(num_folds=num_folds, seed=seed)


def group_count(manifest: Manifest) -> int:
    return int(manifest.table["group"].nunique())


@given(cohorts())
def test_every_promise_of_a_plan_on_random_cohorts(cohort: tuple[Manifest, int, int]) -> None:
    manifest, num_folds, seed = cohort
    if group_count(manifest) < num_folds:
        with pytest.raises(UserError, match="independent patient"):
            plan_folds(manifest, kfold(num_folds, seed))
        return
    plan = plan_folds(manifest, kfold(num_folds, seed))
    check_fits(plan, manifest)
    everyone = set(manifest.patients)
    seen = {part: Counter[str]() for part in ("train", "val", "test")}
    group_of = dict(zip(manifest.table["patient_id"], manifest.table["group"], strict=True))
    assert len(plan.folds) == num_folds
    for i, fold in enumerate(plan.folds):
        parts = (fold.train, fold.val, fold.test)
        assert fold.index == i
        assert all(parts)
        assert sum(map(len, parts)) == len(everyone)
        assert frozenset().union(*parts) == everyone
        assert fold.val == plan.folds[(i + 1) % num_folds].test
        groups = [{group_of[patient] for patient in part} for part in parts]
        assert not groups[0] & groups[1]
        assert not groups[0] & groups[2]
        assert not groups[1] & groups[2]
        for part, count in seen.items():
            count.update(getattr(fold, part))
    assert seen["test"] == seen["val"] == Counter(everyone)
    assert seen["train"] == Counter(dict.fromkeys(everyone, num_folds - 2))


@settings(max_examples=settings().max_examples // 5)  # test_schemes.py shuffles the most
@given(cohorts(), st.randoms(use_true_random=False))
def test_row_order_does_not_change_the_plan(
    cohort: tuple[Manifest, int, int], shuffle: random.Random
) -> None:
    manifest, num_folds, seed = cohort
    if group_count(manifest) < num_folds:
        return
    order = list(range(len(manifest)))
    shuffle.shuffle(order)
    table = manifest.table.iloc[order].reset_index(drop=True)
    shuffled = Manifest(manifest.path, manifest.image_root, manifest.classes, table)
    assert (
        plan_folds(shuffled, kfold(num_folds, seed)).hash
        == plan_folds(manifest, kfold(num_folds, seed)).hash
    )


PATIENTS = {f"P{i}": ["no"] * (1 + i % 4) + ["yes"] * (i % 3) for i in range(20)}


def test_a_shuffled_csv_gives_the_same_plan(make_cohort: Cohort) -> None:
    shuffled = list(PATIENTS)
    random.Random(1).shuffle(shuffled)
    one = read_manifest(make_cohort(PATIENTS, name="one"))
    other = read_manifest(make_cohort({p: PATIENTS[p] for p in shuffled}, name="other"))
    assert one.table["line"].tolist() != other.table["line"].tolist()
    assert plan_folds(one, kfold(4, 0)) == plan_folds(other, kfold(4, 0))


@pytest.mark.slow
def test_another_process_with_another_hash_seed_makes_the_same_plan(make_cohort: Cohort) -> None:
    config = make_cohort(PATIENTS)
    code = (
        "import sys, json\n"
        "from pipeline.config import ManifestConfig, SplitConfig\n"
        "from pipeline.manifest import read_manifest\n"
        "from pipeline.splits import plan_folds\n"
        "plan = plan_folds(read_manifest(ManifestConfig(name='x', path=sys.argv[1])),"
        " SplitConfig(num_folds=5, seed=3))\n"
        "print(json.dumps([plan.hash, plan.manifest_hash, hash('P1'), plan.rows]))\n"
    )
    found = []
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        answer = subprocess.run(
            [sys.executable, "-c", code, config.path],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        found.append(json.loads(answer.stdout))
    here = plan_folds(read_manifest(config), kfold(5, 3))
    assert found[0][2] != found[1][2]  # the hash seed had its effect
    for plan_hash, manifest_hash, _, rows in found:
        assert (plan_hash, manifest_hash, rows) == (here.hash, here.manifest_hash, here.rows)


def test_the_seed_matters_and_repeats() -> None:
    manifest = manifest_of(PATIENTS)
    plans = {seed: plan_folds(manifest, kfold(5, seed)).hash for seed in range(10)}
    assert len(set(plans.values())) > 1
    assert all(plan_folds(manifest, kfold(5, seed)).hash == found for seed, found in plans.items())


def test_a_plan_never_moves_between_versions() -> None:
    # A frozen example: numpy's or our own change of draws would silently make other folds.
    plan = plan_folds(manifest_of(PATIENTS), kfold(4, 7))
    tested = {row[0]: row[2] for row in plan.rows}
    assert "".join(tested[f"P{i}"] for i in range(20)) == "01012223301231330120"


# --- what cannot be made


@pytest.mark.parametrize("num_folds", [5, 4])
def test_more_folds_than_groups_is_an_error(num_folds: int) -> None:
    patients = {f"P{i}": ["a", "b"] for i in range(4)}
    manifest = manifest_of(patients, joined={"P1": "P0"})
    with pytest.raises(UserError) as caught:
        plan_folds(manifest, kfold(num_folds, 0))
    assert str(caught.value) == (
        f"split.num_folds is {num_folds}, but x.csv has only 3 independent patients; use 3 folds."
    )
    assert len(plan_folds(manifest, kfold(3, 0)).folds) == 3


def test_every_class_with_too_few_patients_is_named() -> None:
    labels = {"P0": ["a"], "P1": ["a"], "P2": ["b"], "P3": ["b"]}
    with pytest.raises(UserError) as caught:
        plan_folds(manifest_of(labels), kfold(5, 0))
    assert str(caught.value) == (
        "split.num_folds is 5, but x.csv has only 4 independent patients, and class 'a' only 2, "
        "class 'b' only 2; 3 of each class are needed: leave their rows out, or merge them with "
        "another."
    )


def test_fewer_than_three_groups_can_never_be_dealt() -> None:
    with pytest.raises(UserError, match="only 2 independent patients; at least 3 are needed"):
        plan_folds(manifest_of({"P1": ["a"], "P2": ["b"]}), kfold(3, 0))


def fold(**changed: set[str]) -> Fold:
    parts = {"train": {"P1"}, "val": {"P2"}, "test": {"P3"}} | changed
    return Fold(2, **{part: frozenset(patients) for part, patients in parts.items()})


@pytest.mark.parametrize(("one", "other"), [("train", "val"), ("train", "test"), ("val", "test")])
def test_a_fold_refuses_a_patient_in_two_parts(one: str, other: str) -> None:
    assert fold().of("train") == {"P1"}
    with pytest.raises(LeakageError) as caught:
        fold(**{one: {"P8", "P9"}, other: {"P9", "P7", "P8"}})
    assert str(caught.value) == f"fold 2: 2 patients in both {one} and {other}, e.g. 'P8'."


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_fold_refuses_an_empty_part(part: str) -> None:
    with pytest.raises(LeakageError, match=f"fold 2: the {part} part has no patient"):
        fold(**{part: set()})


def plan_of(blocks: dict[str, int], num_folds: int = 3, **changed: Any) -> Plan:
    """A rotating plan from each patient's block."""
    members = [frozenset(p for p, b in blocks.items() if b == i) for i in range(num_folds)]
    everyone = frozenset(blocks)
    folds = tuple(
        Fold(i, everyone - test - members[(i + 1) % num_folds], members[(i + 1) % num_folds], test)
        for i, test in enumerate(members)
    )
    given: dict[str, Any] = {
        "scheme": "kfold",
        "folds": folds,
        "groups": {patient: patient for patient in blocks},
    }
    return Plan(seed=0, manifest_hash="x", **(given | changed))


def test_a_fold_and_a_plan_are_frozen() -> None:
    plan = plan_of({"A": 0, "B": 1, "C": 2})
    with pytest.raises(AttributeError):
        plan.seed = 1  # type: ignore[misc]
    with pytest.raises(AttributeError):
        plan.folds[0].test = frozenset({"A", "B"})  # type: ignore[misc]


def test_a_plan_refuses_a_group_in_two_blocks() -> None:
    with pytest.raises(LeakageError) as caught:
        plan_of({"A": 0, "B": 1, "C": 2, "D": 2}, groups={"A": "A", "B": "B", "C": "C", "D": "A"})
    assert str(caught.value) == (
        "fold 0: patients 'A' and 'D' belong together (group 'A') but are in train and test."
    )


def test_a_plan_refuses_fewer_than_three_folds_a_repeat() -> None:
    plan = plan_of({"A": 0, "B": 1, "C": 2, "D": 3}, 4)
    with pytest.raises(LeakageError, match="at least 3 folds per repeat, got 4 in 2 repeats"):
        replace(plan, repeats=2)


def test_a_plan_refuses_an_empty_block() -> None:
    with pytest.raises(LeakageError, match="has no patient"):
        plan_of({"A": 0, "B": 0, "C": 2})


def test_a_plan_refuses_lost_patients_and_those_it_does_not_know() -> None:
    for groups in ({"A": "A", "B": "B"}, dict(zip("ABCD", "ABCD", strict=True))):
        with pytest.raises(LeakageError, match="is not in one place"):
            plan_of({"A": 0, "B": 1, "C": 2}, groups=groups)


def test_a_plan_refuses_locked_patients_in_a_fold() -> None:
    with pytest.raises(LeakageError, match="'A' is not in one place"):
        plan_of({"A": 0, "B": 1, "C": 2}, locked=frozenset("A"))
    with pytest.raises(LeakageError, match="belong together"):
        plan_of(
            {"A": 0, "B": 1, "C": 2},
            groups={"A": "A", "B": "B", "C": "C", "D": "A"},
            locked=frozenset("D"),
        )


def test_a_plan_refuses_another_number_of_tests() -> None:
    plan = plan_of({"A": 0, "B": 1, "C": 2})
    twice = (plan.folds[0], replace(plan.folds[0], index=1))
    with pytest.raises(LeakageError, match="some are tested 2 time"):
        replace(plan, scheme="holdout", folds=twice)
    with pytest.raises(LeakageError, match="some are tested 0 time"):
        replace(plan, scheme="leave_one_out", folds=plan.folds[:2])
    swapped = Fold(0, plan.folds[0].val, plan.folds[0].train, plan.folds[0].test)
    with pytest.raises(LeakageError, match="does not validate on the next"):
        replace(plan, folds=(swapped, *plan.folds[1:]))


@pytest.mark.parametrize(
    ("ill_in", "locked", "advice"),
    [
        ("0112", "", "use at most 3 folds (split.num_folds)"),  # four ill, and one block without
        ("01 2", "", "use at most 3 folds (split.num_folds)"),
        (
            "0112",
            "BC",
            "a class needs 3 independent patients or more",
        ),  # two of the four are locked
    ],
)
def test_the_advice_is_less_than_what_was_asked_for(ill_in: str, locked: str, advice: str) -> None:
    blocks = {
        patient: int(block)
        for patient, block in zip("ABCD", ill_in, strict=True)
        if block != " " and patient not in locked
    }
    well = {f"W{i}": i for i in range(4)}
    everyone = {p: ["ill"] for p in [*blocks, *locked]} | {p: ["well"] for p in well}
    plan = plan_of(
        blocks | well,
        4,
        locked=frozenset(locked),
        groups={patient: patient for patient in everyone},
    )
    with pytest.raises(PlanError) as caught:
        check_classes(plan, manifest_of(everyone), ("train", "val"))
    assert advice in str(caught.value)


# --- balance


def test_equal_patients_are_dealt_equally() -> None:
    patients = {f"H{i}": ["no"] * 3 for i in range(20)} | {f"S{i}": ["yes"] * 3 for i in range(10)}
    manifest = manifest_of(patients)
    for seed in range(10):
        plan = plan_folds(manifest, kfold(5, seed))
        tests = [counts for counts in count_parts(plan, manifest) if counts.part == "test"]
        assert [counts.patients_per_class for counts in tests] == [(4, 2)] * 5
        assert [counts.images_per_class for counts in tests] == [(12, 6)] * 5


@pytest.mark.slow
def test_a_rare_class_reaches_every_block_when_it_can() -> None:
    patients = {f"H{i}": ["no"] * (1 + i % 7) for i in range(60)} | {
        f"S{i}": ["yes"] for i in range(5)
    }
    manifest = manifest_of(patients)
    for seed in range(20):
        assert missing_classes(plan_folds(manifest, kfold(5, seed)), manifest) == []


def uneven_cohort(seed: int, prevalence: float, mixed: bool) -> dict[str, list[str]]:
    """80 patients with 1 to about 60 images; `mixed`: a sick patient has images of both classes."""
    draws = np.random.default_rng(seed)
    cohort = {}
    for i in range(80):
        num_images = 1 + int(draws.exponential(8))
        num_sick = num_images if draws.random() < prevalence else 0
        if mixed and num_sick:
            num_sick = int(draws.integers(1, num_images + 1))
        cohort[f"P{i:02d}"] = ["no"] * (num_images - num_sick) + ["yes"] * num_sick
    return cohort


def scikit_learns(manifest: Manifest) -> Plan:
    blocks: dict[str, int] = {}
    patients = manifest.table["patient_id"]
    split = StratifiedGroupKFold(5).split(patients, manifest.labels, patients)
    for i, (_, test) in enumerate(split):
        blocks |= dict.fromkeys(patients.iloc[test], i)
    return plan_of(blocks, 5)


def off_by(plan: Plan, manifest: Manifest) -> tuple[float, float]:
    """Largest distance of a block's class share from the whole set's, of images and patients."""
    shares = []
    for rows in [manifest.of(manifest.patients), *(manifest.of(f.test) for f in plan.folds)]:
        num_patients = manifest.table["patient_id"].iloc[rows].nunique()
        images = manifest.num_per_class(rows) / len(rows)
        shares.append([images, manifest.num_patients_per_class(rows) / num_patients])
    whole, *blocks = np.array(shares)
    images, patients = np.abs(np.array(blocks) - whole).max(axis=(0, 2))
    return float(images), float(patients)


@pytest.mark.slow
def test_balance_is_as_good_as_scikit_learns() -> None:
    """Over 16 uneven cohorts: image shares within 2 points of StratifiedGroupKFold's on average.

    It evens out nothing but image shares; we also even out patients, and there we must win.
    """
    off = []
    for prevalence, mixed, seed in itertools.product((0.1, 0.3), (False, True), range(4)):
        manifest = manifest_of(uneven_cohort(seed, prevalence, mixed))
        ours, theirs = plan_folds(manifest, kfold(5, 0)), scikit_learns(manifest)
        off.append([off_by(ours, manifest), off_by(theirs, manifest)])
        num_patients = [len(found.test) for found in ours.folds]
        assert max(num_patients) - min(num_patients) <= 3
    (our_images, our_patients), (their_images, their_patients) = np.mean(off, axis=0)
    assert our_images <= their_images + 0.02
    assert our_patients < their_patients


def test_one_huge_patient_leaves_no_block_empty() -> None:
    patients = {"BIG": ["no", "yes"] * 500} | {f"P{i}": ["no", "yes"] for i in range(4)}
    plan = plan_folds(manifest_of(patients), kfold(5, 0))
    assert [len(found.test) for found in plan.folds] == [1] * 5


def test_missing_classes_names_fold_part_and_class() -> None:
    manifest = manifest_of({"A": ["no"], "B": ["no", "yes"], "C": ["no"], "D": ["no"]})
    plan = plan_of({"A": 0, "B": 1, "C": 2, "D": 2})
    # Fold i tests block i, validates on i + 1, trains on i + 2; only block 1 has "yes".
    assert missing_classes(plan, manifest) == [
        (0, "train", "yes"),
        (0, "test", "yes"),
        (1, "train", "yes"),
        (1, "val", "yes"),
        (2, "val", "yes"),
        (2, "test", "yes"),
    ]


def test_the_counts_of_a_part_are_those_of_its_rows() -> None:
    manifest = manifest_of({"A": ["no"], "B": ["no", "yes", "yes"], "C": ["no"], "D": ["yes"]})
    plan = plan_of({"A": 0, "B": 1, "C": 2, "D": 2})
    counts = {(found.fold, found.part): found for found in count_parts(plan, manifest)}
    assert len(counts) == 9
    val = counts["0", "val"]
    assert (val.num_patients, val.num_images) == (1, 3)
    assert (val.patients_per_class, val.images_per_class) == ((1, 1), (1, 2))
    train = counts["0", "train"]
    assert (train.num_patients, train.num_images) == (2, 2)
