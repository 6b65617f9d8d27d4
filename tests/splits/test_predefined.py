"""Folds that somebody made are trained on as they are, or refused: none cut, nobody lost."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.audit.foreign import audit_parts
from pipeline.config import AuditConfig, SplitConfig, UserError
from pipeline.manifest import Manifest
from pipeline.splits import LeakageError, Plan, load_plan, plan_folds, save_plan
from pipeline.splits.growth import predefined_split

IDS = [f"P{i:03}" for i in range(24)]
FOLDS = {patient: i % 4 for i, patient in enumerate(IDS)}
PARTS = {patient: ("train", "val", "test")[i % 3] for i, patient in enumerate(IDS)}
COLUMN = SplitConfig(scheme="predefined")
Text = Callable[[Mapping[str, str]], str]


def cohort(**columns: Mapping[str, object]) -> Manifest:
    """24 patients with 2 images each, every other one ill; further columns by patient."""
    rows = [
        (patient, f"img/{patient}_{j:04d}.nii.gz", ("well", "ill")[i % 2], patient)
        for i, patient in enumerate(IDS)
        for j in range(2)
    ]
    table = pd.DataFrame(rows, columns=["patient_id", "image_path", "label", "group"])
    for name, values in columns.items():
        table[name] = [str(values.get(patient, patient)) for patient in table["patient_id"]]
    return Manifest(Path("m.csv"), Path(), ("well", "ill"), table.assign(line=range(2, 50)))


def planned(path: Path, text: str, manifest: Manifest | None = None) -> Plan:
    path.write_text(text, encoding="utf-8")
    split = SplitConfig(scheme="predefined", assignments=str(path))
    return plan_folds(manifest or cohort(), split)


def refused(path: Path, text: str, manifest: Manifest | None = None) -> str:
    """What the error says after the setting and the file."""
    with pytest.raises(UserError) as caught:
        planned(path, text, manifest)
    start = f"split.assignments {path}: "
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


def csv_of(values: Mapping[str, object], header: str = "patient_id,fold") -> str:
    return "\n".join([header, *(f"{name},{value}" for name, value in values.items())])


def long_of(folds: Sequence[Mapping[str, str]], name: str = "fold_{}") -> str:
    lines = [
        f"{name.format(i)},{p},{part}" for i, fold in enumerate(folds) for p, part in fold.items()
    ]
    return "\n".join(["fold,patient,part", *lines])


def blocks_of(plan: Plan) -> list[set[str]]:
    return [set(fold.test) for fold in plan.folds]


BLOCKS = [{p for p in IDS if FOLDS[p] == i} for i in range(4)]
ROUNDS = [{p: "test" if FOLDS[p] == i else "train" for p in IDS} for i in range(4)]


# --- the same folds in every form


@pytest.mark.parametrize("spelling", ["{}", "fold_{}", "{}.0", "F{}", " {} "])
@pytest.mark.parametrize("source", ["column", "csv"])
def test_numbered_folds_rotate(tmp_path: Path, source: str, spelling: str) -> None:
    values = {patient: spelling.format(fold) for patient, fold in FOLDS.items()}
    if source == "column":
        plan = plan_folds(cohort(fold=values), COLUMN)
    else:
        plan = planned(tmp_path / "a.csv", csv_of(values))
    assert blocks_of(plan) == BLOCKS
    assert [set(fold.val) for fold in plan.folds] == [BLOCKS[(i + 1) % 4] for i in range(4)]


@pytest.mark.parametrize("words", ["train val test", "Training Dev Holdout", "fit tune eval"])
@pytest.mark.parametrize("source", ["part", "fold", "csv"])
def test_parts_are_taken_as_they_are(tmp_path: Path, source: str, words: str) -> None:
    """Both columns hold either kind, as an audited one does."""
    word = dict(zip(("train", "val", "test"), words.split(), strict=True))
    values = {patient: word[part] for patient, part in PARTS.items()}
    if source == "csv":
        (fold,) = planned(tmp_path / "a.csv", csv_of(values, "id;split").replace(",", ";")).folds
    else:
        (fold,) = plan_folds(cohort(**{source: values}), COLUMN).folds
    found = {p: part for part in ("train", "val", "test") for p in fold.of(part)}
    assert found == PARTS


def nnunet(folds: Sequence[Mapping[str, str]], test_as: str = "val") -> str:
    lists = [
        {"val": [], "train": [p for p in fold if fold[p] == "train"]}
        | {test_as: [p for p in fold if fold[p] == "test"]}
        for fold in folds
    ]
    return json.dumps(lists)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("splits_final.json", nnunet(ROUNDS)),
        ("with_test.json", nnunet(ROUNDS, "test")),
        ("long.csv", long_of(ROUNDS)),
        ("named.csv", long_of(ROUNDS, "{}th")),
    ],
)
def test_listed_folds_test_their_part_and_validate_on_some_of_train(
    tmp_path: Path, name: str, text: str
) -> None:
    """nnU-Net's val is tested; where a file also lists test cases, those are."""
    plan = planned(tmp_path / name, text)
    assert blocks_of(plan) == BLOCKS
    for fold in plan.folds:
        assert 1 <= len(fold.val) <= 3
    assert plan == planned(tmp_path / name, text)


def test_a_validation_part_that_is_listed_is_used(tmp_path: Path) -> None:
    rounds = [
        {p: "val" if FOLDS[p] == (i + 2) % 4 else part for p, part in fold.items()}
        for i, fold in enumerate(ROUNDS)
    ]
    plan = planned(tmp_path / "a.csv", long_of(rounds))
    assert blocks_of(plan) == BLOCKS
    assert [set(fold.val) for fold in plan.folds] == [BLOCKS[(i + 2) % 4] for i in range(4)]


@pytest.mark.parametrize(
    "name",
    [
        "img/{p}_{j:04d}.nii.gz",
        "D:\\data\\img\\{p}_{j:04d}.nii.gz",
        "/moved/img/{p}_{j:04d}.nii.gz",
        "{p}_{j:04d}",
        "{p}",
    ],
)
def test_moved_and_otherwise_named_images_are_known(tmp_path: Path, name: str) -> None:
    values = {name.format(p=p, j=j): fold for p, fold in FOLDS.items() for j in range(2)}
    assert blocks_of(planned(tmp_path / "a.csv", csv_of(values, "image,fold"))) == BLOCKS


def test_ids_that_lost_their_zeros(tmp_path: Path) -> None:
    manifest = cohort()
    table = manifest.table.assign(patient_id=manifest.table["patient_id"].str[1:])
    manifest = replace(manifest, table=table.assign(group=table["patient_id"]))
    plan = planned(
        tmp_path / "a.csv", csv_of({str(int(p[1:])): f for p, f in FOLDS.items()}), manifest
    )
    assert blocks_of(plan) == [{p[1:] for p in block} for block in BLOCKS]


def test_who_is_never_tested_is_trained_on(tmp_path: Path) -> None:
    """As scikit-learn's PredefinedSplit has it."""
    plan = planned(tmp_path / "a.csv", csv_of({**FOLDS, "P000": -1, "P001": -1}))
    assert blocks_of(plan) == [block - {"P000", "P001"} for block in BLOCKS]
    assert all({"P000", "P001"} <= fold.train for fold in plan.folds)


def test_a_plan_comes_back_from_the_test_fold_that_was_written(tmp_path: Path) -> None:
    manifest = cohort()
    plan = plan_folds(manifest, SplitConfig(num_folds=4))
    again = planned(tmp_path / "a.csv", predefined_split(plan, manifest).to_csv(index=False))
    assert again.folds == plan.folds


def test_patients_of_one_group_stay_together(tmp_path: Path) -> None:
    manifest = cohort(group={"P004": "P000", "P008": "P000"})
    plan = planned(tmp_path / "a.csv", csv_of(FOLDS), manifest)
    assert blocks_of(plan) == BLOCKS
    assert planned(tmp_path / "a.json", nnunet(ROUNDS), manifest).groups["P008"] == "P000"


def test_rows_that_had_no_label_may_be_named(tmp_path: Path) -> None:
    text = csv_of({**FOLDS, "Q1": 0, "Q2": 1})
    gone = pd.DataFrame({"patient_id": ["Q1", "Q2"], "image_path": ["Q1.png", "Q2.png"]})
    plan = planned(tmp_path / "a.csv", text, replace(cohort(), left_out=gone))
    assert blocks_of(plan) == BLOCKS
    assert refused(tmp_path / "a.csv", text, replace(cohort(), left_out=gone[:1])) == (
        "1 name of a.csv (matched by patient id) not in the manifest, or of several of its "
        "patients: 'Q2'."
    )


# --- what cannot be trained on


def test_a_plan_of_ours_belongs_elsewhere(tmp_path: Path) -> None:
    manifest = cohort()
    plan = plan_folds(manifest, SplitConfig(num_folds=3))
    save_plan(plan, tmp_path / "plan.csv")
    path = tmp_path / "plan.csv"
    assert refused(path, path.read_text(), manifest) == (
        f"is a plan of ours, which proves itself: use split.file={path} instead (split.scheme "
        "then means nothing)."
    )
    assert load_plan(path, manifest) == plan


LEAKS: dict[str, tuple[str, str, dict[str, str], str]] = {
    "two lines": (
        "a.csv",
        csv_of(PARTS, "id,part") + "\nP003,test",
        {},
        "patient 'P003' is in both train and test",
    ),
    "two blocks": (
        "a.csv",
        csv_of(FOLDS) + "\nP003,1",
        {},
        "patient 'P003' is in both fold 1 and fold 3",
    ),
    "never tested": (
        "a.csv",
        csv_of(FOLDS) + "\nP003,-1",
        {},
        "patient 'P003' is in both fold -1 and fold 3",
    ),
    "nnU-Net": (
        "a.json",
        nnunet(ROUNDS).replace('"val": ["P003"', '"val": ["P000", "P003"'),
        {},
        "patient 'P000' is in both train and val of fold 3",
    ),
    "images": (
        "a.csv",
        csv_of({f"{p}_{j:04d}": ("train", "test")[j] for p in IDS for j in range(2)}, "image,part"),
        {},
        "patient 'P000' is in both train and test, and 23 more groups cut",
    ),
    "long": (
        "a.csv",
        long_of(ROUNDS) + "\nfold_2,P001,test",
        {},
        "patient 'P001' is in both train and test of fold 2",
    ),
    "family": (
        "a.csv",
        csv_of(PARTS, "id,part"),
        {"P000": "P001"},
        "patients 'P000' and 'P001' belong together but are in train and val",
    ),
    "family of a fold": (
        "a.json",
        nnunet(ROUNDS),
        {"P005": "P002", "P004": "P000"},
        "patients 'P002' and 'P005' belong together but are in train and val of fold 1",
    ),
    "two of a family": (
        "a.csv",
        csv_of(FOLDS) + "\nP003,1",
        {"P002": "P003"},
        "patient 'P003' is in both fold 1 and fold 3",
    ),
}


@pytest.mark.parametrize("case", LEAKS)
def test_a_group_that_is_cut_is_a_leak(tmp_path: Path, case: str) -> None:
    name, text, groups, message = LEAKS[case]
    path = tmp_path / name
    with pytest.raises(LeakageError) as caught:
        planned(path, text, cohort(group=groups))
    assert str(caught.value) == (
        f"split.assignments {path}: {message}; patientfold check with audit.part_file={path} names "
        "all."
    )
    findings, _ = audit_parts(cohort(group=groups), AuditConfig(part_file=str(path)))
    assert {f.rule for f in findings} & {"shared_patients", "shared_groups"}


@pytest.mark.parametrize("column", ["fold", "part"])
def test_a_cut_column_is_reported_by_its_setting(column: str) -> None:
    values: dict[str, dict[str, object]] = {column: {**(FOLDS if column == "fold" else PARTS)}}
    with pytest.raises(LeakageError) as caught:
        plan_folds(cohort(group={"P000": "P001"}, **values), COLUMN)
    both = "fold 0 and fold 1" if column == "fold" else "train and val"
    assert str(caught.value) == (
        f"manifest.columns.{column}: patients 'P000' and 'P001' belong together but are in {both}; "
        f"patientfold check with audit.part_column={column} names all."
    )


def without(values: Mapping[str, object], *names: str) -> dict[str, object]:
    return {name: value for name, value in values.items() if name not in names}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.csv",
            csv_of(without(FOLDS, "P000", "P007")),
            "2 of 24 patients in no part: 'P000', 'P007'",
        ),
        ("a.csv", csv_of({**PARTS, "P003": ""}, "id,part"), "1 of 24 patients in no part: 'P003'"),
        (
            "a.csv",
            csv_of(
                {
                    f"{p}_{j:04d}": f
                    for p, f in FOLDS.items()
                    for j in range(2)
                    if (p, j) != ("P004", 1)
                },
                "image,fold",
            ),
            "1 of 48 images in no part: 'img/P004_0001.nii.gz'",
        ),
        (
            "a.json",
            nnunet([ROUNDS[0], {p: r for p, r in ROUNDS[1].items() if p > "P006"}]),
            "7 of 24 patients in no part of fold 1: 'P000', 'P001', 'P002', 'P003', 'P004' and 2 "
            "more",
        ),
    ],
)
def test_who_would_be_lost_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    rest = "; give each a part, or take the rows out of the manifest."
    assert refused(tmp_path / name, text) == message + rest


def shifted(step: int) -> str:
    return csv_of({p: fold + step for p, fold in FOLDS.items()})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.csv",
            shifted(1),
            "folds must be numbered from 0 without a gap, 3 or more, got '1', '2', '3', '4'.",
        ),
        (
            "a.csv",
            csv_of({p: f + f // 2 for p, f in FOLDS.items()}),
            "folds must be numbered from 0 without a gap, 3 or more, got '0', '1', '3', '4'.",
        ),
        ("a.csv", csv_of({p: f % 2 for p, f in FOLDS.items()}), "3 or more, got '0', '1'."),
        ("a.csv", csv_of(dict.fromkeys(FOLDS, -1)), "3 or more, got none."),
        (
            "a.csv",
            long_of(ROUNDS).replace("fold_3", "fold_4"),
            "folds must be numbered from 0 without a gap, got '0', '1', '2', '4'.",
        ),
        ("a.csv", csv_of({**FOLDS, "Q1": 0}), "1 name of a.csv (matched by patient id) not in the"),
        (
            "a.json",
            nnunet([{**ROUNDS[0], "Q1": "test"}]),
            "1 name of a.json (matched by patient id) ",
        ),
        (
            "a.csv",
            csv_of({p: part.replace("test", "train") for p, part in PARTS.items()}, "id,part"),
            "the split has nobody in test; it has 'train', 'val', and what is to be tested must be "
            "called test.",
        ),
        (
            "a.csv",
            csv_of(dict.fromkeys(IDS, "test"), "id,part"),
            "the split has nobody in train; it",
        ),
        (
            "a.json",
            nnunet([ROUNDS[0], dict.fromkeys(IDS, "train")]),
            "fold 1 has nobody in val; it has 'train', 'val'.",
        ),
        (
            "a.csv",
            long_of([*ROUNDS, ROUNDS[1]]),
            "patient 'P001' is tested in 2 folds; allowed is once (train the repeats, or the folds "
            "beside one common test part, one by one).",
        ),
        ("a.csv", csv_of({**PARTS, "P003": "red"}, "id,part"), "unknown part 'red'; allowed are"),
        (
            "a.csv",
            csv_of({**PARTS, "P003": 3}, "id,part"),
            "holds both fold numbers ('3') and words",
        ),
        ("a.csv", csv_of({**FOLDS, "P003": 1.5}), "'1.5' cannot be a fold number; is this a"),
        ("a.csv", "patient_id,colour\nP000,red\n", "needs a column patient_id or image_path, and"),
        (
            "a.csv",
            csv_of({f"X{i}": i % 4 for i in range(9)}),
            "none of its names is a patient id or",
        ),
        ("a.json", "{", "is not JSON (Expecting property name"),
        ("a.json", '{"train": [], "val": []}', "needs nnU-Net's form, a list of"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    assert message in refused(tmp_path / name, text)


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    split = SplitConfig(scheme="predefined", assignments=str(path))
    with pytest.raises(UserError, match=f"^split.assignments {re.escape(str(path))}: No such file"):
        plan_folds(cohort(), split)


def test_blank_columns_and_words_are_reported_by_their_setting() -> None:
    for column, value in (("fold", ""), ("part", "red")):
        with pytest.raises(UserError, match=rf"^manifest\.columns\.{column}: "):
            plan_folds(cohort(**{column: dict.fromkeys(IDS, value)}), COLUMN)


# --- beside other settings


def test_a_locked_patient_leaves_every_part(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(csv_of(FOLDS))
    split = SplitConfig(
        scheme="predefined", assignments=str(tmp_path / "a.csv"), locked_fraction=0.2
    )
    plan = plan_folds(cohort(), split)
    assert plan.locked
    assert blocks_of(plan) == [block - plan.locked for block in BLOCKS]


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_the_file_does_not_matter(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    header, *lines = long_of(ROUNDS).split("\n")
    generator.shuffle(lines)
    shuffled = planned(tmp_path / "a.csv", "\n".join([header, *lines]))
    assert shuffled == planned(tmp_path / "a.csv", long_of(ROUNDS))


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_part_that_is_locked_whole_is_reported(part: str, tmp_path: Path) -> None:
    """Who is locked is dealt, not asked: it may be the only one of a part."""
    path = tmp_path / "a.csv"
    path.write_text(csv_of(PARTS, "patient_id,part"))
    split = SplitConfig(scheme="predefined", assignments=str(path), locked_fraction=0.2)
    lone = min(plan_folds(cohort(), split).locked)
    others = [name for name in ("train", "val", "test") if name != part]
    parts = {p: part if p == lone else others[i // 2 % 2] for i, p in enumerate(IDS)}
    path.write_text(csv_of(parts, "patient_id,part"))
    with pytest.raises(UserError, match=rf"locked_fraction=0\.2 locks all patients of the {part}"):
        plan_folds(cohort(), split)
