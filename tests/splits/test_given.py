"""What others write for folds and parts is understood, and what cannot be meant so is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config import ManifestConfig, SplitConfig, UserError
from pipeline.manifest import Manifest, read_manifest
from pipeline.splits import plan_folds
from pipeline.splits.folds import LeakageError
from pipeline.splits.given import GivenSplit, fold_number, read_column, read_file
from pipeline.splits.given.words import MOST_FOLDS, part_of


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("Train", "train"),
        ("TRAINING SET", "train"),
        ("tr", "train"),
        ("dev", "val"),
        ("validation_set", "val"),
        ("Hold-out", "test"),
        ("test_split", "test"),
        ("fold_3", 3),
        ("Fold 12", 12),
        ("2.0", 2),
        ("7", 7),
        ("-1", -1),
        ("-1.0", -1),
        ("", None),
        (" - ", None),
        ("NaN", None),
        ("unused", None),
    ],
)
def test_words_of_others_are_understood(word: str, part: str | int | None) -> None:
    assert part_of(word) == part


@pytest.mark.parametrize("word", ["red", "-2", "1.5", "_3", "trains", "test2x", "9" * 5000])
def test_other_words_are_not_guessed(word: str) -> None:
    with pytest.raises(KeyError):
        part_of(word)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("0", 0),
        ("007", 7),
        ("a", None),
        ("", None),
        ("-1", None),
        ("9" * 5000, None),
    ],
)
def test_a_fold_is_called_by_a_number_or_by_a_name(name: str, number: int | None) -> None:
    assert fold_number(name) == number


def of_values(values: list[str]) -> Manifest:
    """A patient for each value of the column `fold`."""
    ids = [f"P{i:05d}" for i in range(len(values))]
    table = pd.DataFrame(
        {
            "patient_id": ids,
            "group": ids,
            "image_path": [f"{p}.png" for p in ids],
            "fold": values,
            "label": [("well", "ill")[i % 2] for i in range(len(ids))],
            "line": range(2, len(ids) + 2),
        }
    )
    return Manifest(Path("m.csv"), Path(), ("well", "ill"), table)


def read(values: list[str]) -> GivenSplit:
    return read_column(of_values(values), "fold", "audit.part_column=age", "age")


# --- numbers that are no folds


AGES = [23, 31, 34, 35, 38, 41, 42, 47, 50, 53, 56, 58, 60, 61, 64, 67, 70, 71, 75, 78, 82, 91]


@pytest.mark.parametrize(
    "numbers",
    [
        range(1000),
        range(1, 1001),
        [n for n in range(1000) if n % 11],
        [0, 1, 5],
        [1, 2, 6],
        [2, 3],
        [0, 0, 1, 1, 2, 2],
        range(-1, 5),
        [-1, 3],
        range(MOST_FOLDS),
    ],
    ids=str,
)
def test_numbers_that_count_up_are_folds(numbers: list[int]) -> None:
    """A fold per patient included, and a few that are missing."""
    split = read([str(number) for number in numbers])
    assert split.form == "kfold"
    assert list(split.folds) == [str(number) for number in sorted(set(numbers)) if number >= 0]
    assert split.table["fold"].tolist() == [str(number) for number in sorted(numbers)]


@pytest.mark.parametrize(
    "numbers",
    [
        AGES,
        range(18, 96),
        range(20, 91),
        range(5, 26),
        range(2010, 2024),
        [0, 1, 6],
        [n for n in range(1000) if n % 10],
        range(MOST_FOLDS + 1),
        [20200105, 20210317],
    ],
    ids=str,
)
def test_numbers_of_something_else_are_refused(numbers: list[int]) -> None:
    for ending in ("", ".0"):
        with pytest.raises(UserError, match="cannot be fold numbers: ") as caught:
            read([f"{number}{ending}" for number in numbers])
        assert "is this a measurement, such as an age? allowed are words for" in str(caught.value)


def test_the_message_says_what_was_found_and_what_is_allowed() -> None:
    with pytest.raises(UserError) as caught:
        read([str(age) for age in AGES])
    assert str(caught.value).startswith(
        "audit.part_column=age: 22 different numbers from 23 to 91 cannot be fold numbers: those "
        "count up from 0 or 1, 10,000 of them at most, and few are missing (here 69, at most 3 may "
        "be); is this a measurement, such as an age? allowed are words for train, val and test"
    )


def test_folds_that_are_called_so_are_no_measurement() -> None:
    """Somebody's second repeat, say."""
    split = read([f"fold_{number}" for number in range(10, 15)])
    assert split.form == "kfold"
    assert list(split.folds) == ["10", "11", "12", "13", "14"]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (["1.5", "2", "3"], "'1.5'"),
        (["61.25", "34.5", "8"], "'34.5', '61.25'"),
        (["-2"], "'-2'"),
        (["61,5", "2"], "'61,5'"),
        (["1e3", "2"], "'1e3'"),
        (["1234567890"], "'1234567890'"),
        ([f"{i}.5" for i in range(7)], "'0.5', '1.5', '2.5', '3.5', '4.5' and 2 more"),
    ],
)
def test_what_is_no_whole_number_is_no_fold(values: list[str], named: str) -> None:
    with pytest.raises(UserError) as caught:
        read(values)
    assert str(caught.value).startswith(
        f"audit.part_column=age: {named} cannot be a fold number; is this a measurement, such as "
        "an age? allowed are "
    )


def test_a_word_among_numbers_is_reported_as_a_word() -> None:
    with pytest.raises(UserError, match=r"unknown part '1.5', 'red'; allowed are"):
        read(["1.5", "red"])


def test_ages_are_no_folds_to_train_on_either(tmp_path: Path) -> None:
    manifest = of_values([str(age) for age in AGES])
    with pytest.raises(UserError, match=r"^manifest\.columns\.fold: 22 different numbers from 23"):
        plan_folds(manifest, SplitConfig(scheme="predefined"))
    manifest.table[["patient_id", "fold"]].to_csv(tmp_path / "a.csv", index=False)
    split = SplitConfig(scheme="predefined", assignments=str(tmp_path / "a.csv"))
    with pytest.raises(UserError, match=r"^split\.assignments .*a\.csv: 22 different numbers from"):
        plan_folds(manifest, split)


# --- many folds of many rows


@pytest.mark.parametrize("seed", range(5))
def test_parts_come_back_as_they_were(tmp_path: Path, seed: int) -> None:
    """Each row once and in order, however often and in whatever order it was listed."""
    generator = np.random.default_rng(seed)
    folds = [
        {
            part: generator.integers(0, 50, size).tolist()
            for part, size in (("train", 40), ("val", 0), ("test", 9))
        }
        for _ in range(2)
    ]
    names = [{part: [f"P{i:05d}" for i in rows] for part, rows in fold.items()} for fold in folds]
    (tmp_path / "a.json").write_text(json.dumps(names))
    split = read_file(of_values(["0"] * 50), tmp_path / "a.json", "audit.part_file a.json")
    assert split.folds == {"0": ("train", "val", "test"), "1": ("train", "val", "test")}
    expected = [
        (row, str(i), part)
        for i, fold in enumerate(folds)
        for part, rows in fold.items()
        for row in sorted(set(rows))
    ]
    assert list(split.table.itertuples(index=False, name=None)) == expected


def test_many_folds_that_list_all_rows_take_little_memory(tmp_path: Path) -> None:
    """A line of the table takes 6 bytes: 4 for the row, 1 each for fold and part."""
    manifest = of_values(["0"] * 4000)
    ids = manifest.table["patient_id"]
    lines = [
        f"{fold},{p},{'test' if i % 50 == fold else 'train'}"
        for fold in range(50)
        for i, p in enumerate(ids)
    ]
    (tmp_path / "a.csv").write_text("\n".join(["fold,patient,part", *lines]))
    split = read_file(manifest, tmp_path / "a.csv", "audit.part_file a.csv")
    sizes = split.table.groupby(["fold", "part"], observed=True).size()
    assert sizes.tolist() == [3920, 80] * 50
    assert split.table.memory_usage(index=False).sum() < 50 * 4000 * 6.1


@pytest.mark.parametrize("num_folds", [3, 500])
def test_a_plan_lists_only_who_is_not_trained_on(tmp_path: Path, num_folds: int) -> None:
    """Leave-one-out over many patients would list all rows for each of them."""
    manifest = of_values(["0"] * 500)
    lines = [
        f"{p},{p},{i % num_folds},{(i + 1) % num_folds}"
        for i, p in enumerate(manifest.table["patient_id"])
    ]
    (tmp_path / "p.csv").write_text("\n".join(["patient_id,group,fold,val_fold", *lines]))
    split = read_file(manifest, tmp_path / "p.csv", "audit.part_file p.csv")
    assert len(split.table) == 2 * 500
    for _, placed in split.complete():
        assert sorted(placed["row"]) == list(range(500))


# --- a file's text


def of_patients(*patients: str) -> Manifest:
    rows = {"patient_id": patients, "image_path": [f"{p}.png" for p in patients], "label": "a"}
    return Manifest(Path("m.csv"), Path(), ("a", "b"), pd.DataFrame(rows).assign(group=patients))


@pytest.mark.parametrize(
    "text",
    [
        "patient_id,part\r\nP1,train\rP2,test\nP3,val\r\n",
        "patient_id;part\rP1;train\rP2;test\rP3;val",
        "\ufeffpatient_id,part\r\r\nP1,train\r\r\nP2,test\n\rP3,val",
    ],
)
def test_line_ends_may_be_mixed(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.csv").write_bytes(text.encode())
    given = read_file(of_patients("P1", "P2", "P3"), tmp_path / "s.csv", "here")
    assert dict(zip(given.table["row"], given.table["part"], strict=True)) == {
        0: "train",
        1: "test",
        2: "val",
    }


@pytest.mark.parametrize(
    ("name", "raw", "reason"),
    [
        (
            "s.csv",
            b"patient_id,part\rP1,train\0\nP2,test\n",
            r"here: line 2: has a zero byte \(NUL",
        ),
        ("s.csv", b"patient_id,part\r\nP\x001,train\n", r"here: line 2: has a zero byte \(NUL"),
        ("s.csv", "patient_id,part\n".encode("utf-16"), r"line 1: has a zero byte .* as UTF-8"),
        ("s.csv", b"patient_id,part\rP1,train\rP\xff,test", r"here: line 3: is not UTF-8"),
        ("s.csv", b"patient_id,part\nP\xed\xa0\x80,test", r"here: line 2: is not UTF-8"),
        ("s.json", b'[{"train": ["P1"], "val": ["P2"]}]\0', r"here: line 1: has a zero byte"),
        (
            "s.json",
            b'[{"train": ["P1", "P\\ud800"], "val": ["P2"]}]',
            r"'P\\ud800' is half of a ch",
        ),
    ],
)
def test_text_that_is_damaged_is_refused(
    tmp_path: Path, name: str, raw: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(UserError, match=reason):
        read_file(of_patients("P1", "P2", "P3"), tmp_path / name, "here")


# --- ids that manifest.patient_pattern shortens

CUT = ["P1,train", "P2,test", "P3,val", "P4,train"]
AS_IN_CSV = [row.replace(",", f"_{side},") for row in CUT for side in ("left", "right")]


def of_eyes(make_cohort: Callable[..., ManifestConfig]) -> Manifest:
    eyes = {f"P{i}_{side}": ["ab"[i % 2]] for i in range(1, 5) for side in ("left", "right")}
    pattern = r"(?P<patient>.+)_(left|right)"
    return read_manifest(replace(make_cohort(eyes), patient_pattern=pattern))


@pytest.mark.parametrize("rows", [CUT, AS_IN_CSV])
def test_a_split_may_name_patients_before_or_after_the_pattern(
    make_cohort: Callable[..., ManifestConfig], tmp_path: Path, rows: list[str]
) -> None:
    path = tmp_path / "s.csv"
    path.write_text("\n".join(["patient_id,part", *rows]))
    plan = plan_folds(of_eyes(make_cohort), SplitConfig(scheme="predefined", assignments=str(path)))
    (fold,) = plan.folds
    assert [sorted(part) for part in (fold.train, fold.val, fold.test)] == [
        ["P1", "P4"],
        ["P3"],
        ["P2"],
    ]


def test_two_eyes_of_one_patient_in_two_parts_are_a_leak(
    make_cohort: Callable[..., ManifestConfig], tmp_path: Path
) -> None:
    path = tmp_path / "s.csv"
    rows = [row.replace("P1_right,train", "P1_right,test") for row in AS_IN_CSV]
    path.write_text("\n".join(["patient_id,part", *rows]))
    with pytest.raises(LeakageError, match="patient 'P1' is in both train and test"):
        plan_folds(of_eyes(make_cohort), SplitConfig(scheme="predefined", assignments=str(path)))
