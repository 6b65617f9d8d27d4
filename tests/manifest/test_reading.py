"""Every rule of a manifest: the line, what was found, what is allowed."""

import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.config import ColumnsConfig, ManifestConfig
from pipeline.manifest import (
    Finding,
    Manifest,
    ManifestError,
    csv_file,
    paths,
    read_manifest,
    read_usable,
)
from pipeline.manifest.ids import canonical_id
from pipeline.processes import process_pool

Write = Callable[..., ManifestConfig]

HEADER = "patient_id,image_path,label"
GOOD = ("P1,a.png,no", "P2,b.png,yes", "P3,c.png,no")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a manifest of these lines beside the images a.png to h.png, all different."""
    for number, letter in enumerate("abcdefgh"):
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(tmp_path / f"{letter}.png")

    def write(*lines: str, header: str = HEADER, **settings: Any) -> ManifestConfig:
        path = tmp_path / "manifest.csv"
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return ManifestConfig(name="test", path=str(path), **settings)

    return write


def refused(config: ManifestConfig) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        read_manifest(config)
    assert str(caught.value).startswith(f"manifest {config.path}: ")
    return caught.value


def problems(config: ManifestConfig) -> list[str]:
    return refused(config).problems


def test_a_good_manifest_is_read_in_canonical_order(write: Write) -> None:
    manifest = read_manifest(write("P2,b.png,yes", "P1,c.png,no", "P1,a.png,no"))
    assert manifest.table["patient_id"].tolist() == ["P1", "P1", "P2"]
    assert manifest.table["image_path"].tolist() == ["a.png", "c.png", "b.png"]
    assert manifest.table["line"].tolist() == [4, 3, 2]
    assert manifest.classes == ("no", "yes")
    assert manifest.labels.tolist() == [0, 0, 1]
    assert manifest.patients == ("P1", "P2")
    assert manifest.num_per_class(manifest.of(["P1"])).tolist() == [2, 0]
    assert manifest.num_patients_per_class(manifest.of(["P1", "P2"])).tolist() == [1, 1]


def test_configured_classes_keep_their_order_and_columns_their_names(write: Write) -> None:
    config = write(
        "x,a.png,P1,s1",
        "y,b.png,P2,s2",
        header="dx,file,person,visit",
        columns=ColumnsConfig(patient="person", image="file", label="dx", study="visit"),
        classes=("y", "x"),
    )
    manifest = read_manifest(config)
    assert manifest.classes == ("y", "x")
    assert manifest.labels.tolist() == [1, 0]
    assert {"patient_id", "image_path", "label", "study"} <= set(manifest.table)


# --- the file and its header


def test_a_missing_manifest_says_from_where_and_hints(tmp_path: Path) -> None:
    config = ManifestConfig(name="x", path=str(tmp_path / "none.csv"), hint="run the maker")
    error = refused(config)
    assert error.problems == [f"no such file (searched from {Path.cwd()})"]
    assert str(error).endswith("\n  hint: run the maker")


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    found = problems(ManifestConfig(name="x", path=str(tmp_path)))
    assert found == ["cannot be read: Is a directory"]


def test_every_missing_column_is_reported(write: Write) -> None:
    assert problems(write("P1,a.png,no", header="patient,image_path,dx")) == [
        "line 1: column 'patient_id' is missing (manifest.columns.patient); "
        "the columns are 'patient', 'image_path', 'dx'; did you mean 'patient'?",
        "line 1: column 'label' is missing (manifest.columns.label); "
        "the columns are 'patient', 'image_path', 'dx'",
    ]


@pytest.mark.parametrize(("separator", "word"), [(";", "semicolon"), ("\t", "tab"), ("|", "pipe")])
def test_another_separator_is_recognised(write: Write, separator: str, word: str) -> None:
    lines = [line.replace(",", separator) for line in (HEADER, *GOOD)]
    error = refused(write(*lines[1:], header=lines[0]))
    assert len(error.problems) == 3  # the hint is not counted as a problem
    hint = f"hint: the separator seems to be {separator!r}; set manifest.separator={word}"
    assert str(error).endswith(hint)
    for given in (separator, word):
        assert len(read_manifest(write(*lines[1:], header=lines[0], separator=given))) == 3


def test_a_column_that_occurs_twice_is_refused(write: Write) -> None:
    found = problems(write("P1,a.png,no,yes", header=f"{HEADER},label"))
    assert found == ["line 1: column 'label' occurs 2 times"]


@pytest.mark.parametrize("name", ["line", "group", "study", "date", "fold", "part"])
def test_a_column_that_is_only_called_like_ours_means_nothing(write: Write, name: str) -> None:
    """Equal cells in all rows: as a study or group they would join everybody."""
    lines = [f"{line},same" for line in GOOD]
    manifest = read_manifest(write(*lines, header=f"{HEADER},{name}"))
    assert manifest.table["group"].nunique() == 3
    assert manifest.table["line"].tolist() == [2, 3, 4]
    assert manifest.column_names == ["patient_id", "image_path", "label", name]
    assert manifest.table[manifest.column(name)].tolist() == ["same"] * 3
    linked = write(*lines, header=f"{HEADER},{name}", group_columns=(name,), largest_group=1.0)
    assert read_manifest(linked).table["group"].nunique() == 1


def test_another_column_may_name_the_patients(write: Write) -> None:
    """A set with two kinds of ids: the other one keeps its name."""
    lines = ("x,a.png,no,P1", "y,b.png,yes,P2", "x,c.png,no,P2")
    columns = ColumnsConfig(patient="person")
    manifest = read_manifest(write(*lines, header=f"{HEADER},person", columns=columns))
    assert manifest.patients == ("P1", "P2")
    ours = manifest.column("patient_id")
    assert ours != "patient_id"
    assert manifest.table[ours].tolist() == ["x", "y", "x"]
    assert sorted(manifest.column_names) == ["image_path", "label", "patient_id", "person"]
    assert manifest.column("nobody") is None


def test_an_empty_file_and_a_lone_header_are_refused(write: Write, tmp_path: Path) -> None:
    assert problems(write()) == ["has no rows"]
    (tmp_path / "manifest.csv").write_text("")
    config = ManifestConfig(name="x", path=str(tmp_path / "manifest.csv"))
    assert problems(config) == ["line 1: the file is empty"]
    (tmp_path / "manifest.csv").write_text(",,\n1,2,3\n")
    assert problems(config) == ["line 1: the header has no names"]


def test_text_that_is_not_utf_8_is_refused_with_its_line(write: Write) -> None:
    config = write(*GOOD)
    path = Path(config.path)
    path.write_bytes(path.read_bytes().replace(b"P2", "Jörg".encode("latin-1")))
    assert problems(config) == [
        "line 3: is not UTF-8; save the file as UTF-8, or set manifest.encoding "
        "(latin-1 or cp1252 is likely)"
    ]


def test_a_byte_order_mark_and_windows_line_ends_are_fine(write: Write) -> None:
    config = write(*GOOD)
    plain = read_manifest(config)
    path = Path(config.path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    marked = read_manifest(config)
    pd.testing.assert_frame_equal(marked.table, plain.table)


def test_a_row_with_another_number_of_cells_is_refused(write: Write) -> None:
    found = problems(write("P1,a.png,no", "P2,b.png", "", "P3,c.png,yes,more"))
    assert found == [
        "line 3: has 2 cells, the header has 3",
        "line 5: has 4 cells, the header has 3",
    ]


@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_a_quote_that_is_never_closed_does_not_swallow_rows(
    write: Write, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(csv_file, "ROWS_AT_ONCE", at_once)
    (found,) = problems(write("P1,a.png,no", 'P2,b.png,"yes', "P3,c.png,no", task="multiclass"))
    assert found.startswith("line 3: a cell is badly quoted")


@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_lines_are_counted_through_quoted_cells_and_blank_lines(
    write: Write, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(csv_file, "ROWS_AT_ONCE", at_once)
    config = write(
        'P1,a.png,no,"two\nlines"',  # lines 2 and 3
        "P2,b.png,yes,form\x0cfeed\u2028and more",  # line 4: neither character ends a line
        "",  # line 5
        'P3,c.png,maybe,"three\n\nlines"',  # lines 6 to 8
        "P4,d.png,perhaps,",  # line 9
        header=f"{HEADER},remark",
        classes=("no", "yes"),
    )
    assert problems(config) == [
        "line 6: unknown class 'maybe'; allowed are 'no', 'yes'",
        "line 9: unknown class 'perhaps'; allowed are 'no', 'yes'",
    ]


# --- rows


def test_blank_cells_are_refused(write: Write) -> None:
    found = problems(write(" ,a.png,no", "P2, ,yes", "P3,c.png,  ", "P4,d.png,no"))
    assert "line 2: the patient id is blank" in found
    assert "line 3: the image path is blank" in found
    (label,) = [text for text in found if text.startswith("line 4")]
    assert "the label is blank" in label
    assert "allowed are 'no', 'yes', or set manifest.blank_label=leave_out" in label
    assert len(found) == 3


def test_rows_without_a_label_are_left_out_and_counted_on_request(write: Write) -> None:
    lines = (*GOOD, "P4,d.png,", "P5,e.png,  ")
    assert [text.split(":")[0] for text in problems(write(*lines))] == ["line 5", "line 6"]
    manifest = read_manifest(write(*lines, blank_label="leave_out"))
    assert manifest.num_left_out == 2
    assert manifest.patients == ("P1", "P2", "P3")
    assert read_manifest(write(*GOOD, blank_label="leave_out")).num_left_out == 0


def test_a_row_that_is_left_out_still_links_its_patients(write: Write) -> None:
    """P1 and P4 have one study, P2 and P3 one picture, and P5, of whom nothing is used, two."""
    lines = (
        "P1,a.png,no,s1",
        "P2,b.png,yes,s2",
        "P3,c.png,no,s3",
        "P4,d.png,yes,s4",
        "P4,e.png,,s1",
        "P3,twin.png,,s5",
        "P5,gone.png,,s3",
        "P5,f.png,,s4",
        " ,g.png,,s2",
        " ,h.png,,s3",
    )
    config = write(
        *lines,
        header=f"{HEADER},visit",
        columns=ColumnsConfig(study="visit"),
        blank_label="leave_out",
        largest_group=1.0,
    )
    folder = Path(config.path).parent
    (folder / "twin.png").write_bytes((folder / "b.png").read_bytes())
    manifest = read_manifest(config)
    assert manifest.table["group"].tolist() == ["P1"] * 4
    assert manifest.patients == ("P1", "P2", "P3", "P4")
    grouping = manifest.grouping
    assert (grouping.num_groups, grouping.num_patients) == (1, 4)
    assert (grouping.largest_name, grouping.largest_num_patients) == ("P1", 4)
    assert grouping.joins == {"study": 2, "identical files": 1}


def test_an_unknown_class_is_refused(write: Write) -> None:
    found = problems(write(*GOOD, "P4,d.png,NO", classes=("no", "yes")))
    assert found == ["line 5: unknown class 'NO'; allowed are 'no', 'yes'; did you mean 'no'?"]


@pytest.mark.parametrize(
    ("labels", "task", "allowed"),
    [
        (
            ("a", "b", "c"),
            "binary",
            "exactly 2 classes, got 3: 'a', 'b', 'c'; set manifest.task=multiclass",
        ),
        (("a", "a", "a"), "binary", "exactly 2 classes, got 1: 'a'"),
        (("a", "a", "a"), "multiclass", "at least 2 classes, got 1: 'a'"),
    ],
)
def test_the_number_of_classes_must_fit_the_task(
    write: Write, labels: tuple[str, ...], task: str, allowed: str
) -> None:
    lines = [f"P{i},{'abc'[i]}.png,{label}" for i, label in enumerate(labels)]
    assert problems(write(*lines, task=task)) == [f"task {task} needs {allowed}"]


def test_a_class_that_no_row_has_is_refused(write: Write) -> None:
    config = write(*GOOD, classes=("no", "yes", "perhaps"), task="multiclass")
    assert problems(config) == ["no row has the label 'perhaps' of manifest.classes"]


def test_cells_stay_text(write: Write) -> None:
    lines = ("007,a.png,NA", "NA,b.png,0", "1e5,c.png,NA", "1.0,d.png,0")
    table = read_manifest(write(*[f"{line},{{x" for line in lines], header=f"{HEADER},age")).table
    assert table["patient_id"].tolist() == ["007", "1.0", "1e5", "NA"]
    assert set(table["label"]) == {"NA", "0"}
    assert all(type(cell) is str for cell in table[["patient_id", "label", "age"]].to_numpy().flat)


def test_columns_that_are_only_called_like_ours_are_set_aside(write: Write) -> None:
    names = ["site", "centre", "group", "csv group"]
    rows = [f"{good},s{i},c{i},g{i},h{i}" for i, good in enumerate(GOOD[:2])]
    columns = ColumnsConfig(site="centre")
    manifest = read_manifest(write(*rows, header=",".join([HEADER, *names]), columns=columns))
    found = [manifest.table[manifest.column(name) or ""].tolist() for name in names]
    assert found == [["s0", "s1"], ["c0", "c1"], ["g0", "g1"], ["h0", "h1"]]
    assert manifest.table["group"].tolist() == ["P1", "P2"]


OURS = ("site", "study", "date", "part", "fold", "line", "group", "weight", "label")


def test_labels_may_be_called_like_our_own_columns(write: Write) -> None:
    """Each label is on in one row; the next label is on there too."""
    rows = []
    for number, letter in enumerate("abcdefgh"):
        flags = ["1" if n in (number, number + 1) else "0" for n in range(len(OURS))]
        rows.append(f"P{number},{letter}.png," + ",".join(flags))
    columns = ColumnsConfig(label=OURS, site=None)
    header = ",".join(["patient_id", "image_path", *OURS])
    manifest = read_manifest(write(*rows, header=header, columns=columns, task="multilabel"))
    assert manifest.classes == OURS
    expected = [f"{one}|{two}" for one, two in itertools.pairwise(OURS)]
    assert manifest.table["label"].tolist() == expected
    assert manifest.table["group"].tolist() == [f"P{number}" for number in range(8)]
    assert manifest.table["line"].tolist() == list(range(2, 10))


@pytest.mark.parametrize("names", [("line", "group"), ("label", "site"), ("image_path", "weight")])
def test_images_may_be_in_columns_called_like_ours(write: Write, names: tuple[str, ...]) -> None:
    lines = ("P1,a.png,b.png,no", "P2,c.png,d.png,yes")
    columns = ColumnsConfig(image=names, label="dx", site=None)
    header = ",".join(["patient_id", *names, "dx"])
    manifest = read_manifest(write(*lines, header=header, columns=columns))
    assert manifest.table["image_path"].tolist() == ["a.png|b.png", "c.png|d.png"]
    assert manifest.table["label"].tolist() == ["no", "yes"]
    assert manifest.table["line"].tolist() == [2, 3]


# --- one person, one spelling


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("p1", "P1"),
        ("P1", "P001"),
        ("7", "007"),
        ("7", "7.0"),
        ("A-7-x", "A-07-x"),
        ("P1", " P1"),
        ("P1", "P1 "),
        ("P\u00a01", "P 1"),
        ("P  1", "P 1"),
        ("P1", "\uff301"),  # full-width P
        ("Jo\u0308rg", "J\u00f6rg"),
        ("STRASSE", "straße"),
        ("P1", "P1\u200b"),  # zero-width space
    ],
)
def test_ids_that_look_alike_are_refused(write: Write, one: str, other: str) -> None:
    found = problems(write(f"{one},a.png,no", f"{other},b.png,yes", "Q2,c.png,no"))
    assert found == [
        f"line 3: patient id {other!r} is also written {one!r} (line 2); "
        "write one patient one way (or rename one if they are two people)"
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("P1", "P10"),
        ("P10", "P100"),
        ("1.5", "1.05"),
        ("1.50", "1.5"),
        ("P1", "Q1"),
        ("0", "1"),
        ("A 1", "A1"),
    ],
)
def test_ids_of_different_people_stay_different(one: str, other: str) -> None:
    assert canonical_id(one) != canonical_id(other)


# --- images


def test_an_image_listed_twice_is_refused(write: Write) -> None:
    found = problems(write("P1,a.png,no", "P1,a.png,no", "P2,./a.png,yes"))
    assert found == [
        "line 3: image 'a.png' is already on line 2",
        "line 4: image 'a.png' is already on line 2, there for patient 'P1'",
    ]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("none.png", None, "no such file"),
        ("empty.png", b"", "the file is empty"),
        (
            "text.png",
            b"hello world",
            "is in no known format (first bytes b'hello wo'); allowed are",
        ),
        ("scan.gif", b"GIF89a", "is in no known format (first bytes b'GIF89a'); allowed are PNG"),
        ("brain.nii", b"x" * 400, "is in no known format"),
        ("brain.nii.gz", b"x" * 400, "is in no known format"),
        ("bare", b"x", "is in no known format"),
    ],
)
def test_a_file_that_is_no_image_is_refused(
    write: Write, tmp_path: Path, name: str, content: bytes | None, why: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (found,) = problems(write("P1,a.png,no", f"P2,{name},yes", "P3,c.png,no"))
    assert found.startswith(f"line 3: patient 'P2': image {tmp_path / name}: {why}")


def test_a_folder_is_no_image(write: Write, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (found,) = problems(write(*GOOD, "P4,folder.png,yes"))
    assert found.endswith("folder.png: cannot be read: Is a directory")


def test_a_file_without_permission_is_reported(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner in (Path, os):
        real_open = owner.open

        def deny(path: Any, *args: Any, real_open: Any = real_open, **kwargs: Any) -> Any:
            if str(path).endswith("b.png"):
                raise PermissionError(13, "Permission denied")
            return real_open(path, *args, **kwargs)

        monkeypatch.setattr(owner, "open", deny)
    (found,) = problems(write(*GOOD))
    assert found == f"line 3: patient 'P2': image {tmp_path / 'b.png'}: " + (
        "cannot be read: Permission denied"
    )


def test_missing_images_show_the_hint_even_when_they_are_many(write: Write) -> None:
    error = refused(write(*(f"P{i},x{i}.png,no" for i in range(99)), hint="run the maker"))
    assert str(error).endswith("\n  hint: run the maker")
    unrelated = refused(write(*GOOD, "P4,d.png,", hint="run the maker"))
    assert "run the maker" not in str(unrelated)


def test_image_paths_are_relative_to_the_image_root(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).rename(tmp_path / "sub" / name)
    assert len(problems(write(*GOOD))) == 3
    manifest = read_manifest(write(*GOOD, image_root=str(tmp_path / "sub")))
    assert manifest.image_files[0] == tmp_path / "sub" / "a.png"
    monkeypatch.chdir(tmp_path)
    assert len(read_manifest(write(*GOOD, image_root="sub"))) == 3


# --- the error, and the table


def test_all_problems_come_in_one_error_by_line(write: Write) -> None:
    error = refused(
        write(
            "P1,a.png,no",
            "P2,none.png,yes",
            "p1,b.png,perhaps",
            ",c.png,no",
            "P5,a.png,",
            classes=("no", "yes"),
        )
    )
    starts = [
        (3, "patient 'P2': image"),
        (4, "patient id 'p1'"),
        (4, "unknown class 'perhaps'"),
        (5, "the patient id is blank"),
        (6, "image 'a.png' is already"),
        (6, "the label is blank"),
    ]
    assert len(error.problems) == len(starts)
    assert [int(text.split(":")[0].removeprefix("line ")) for text in error.problems] == [
        line for line, _ in starts
    ]
    for line, text in starts:
        assert any(found.startswith(f"line {line}: {text}") for found in error.problems), text
    assert str(error).splitlines()[0].endswith(": 6 problems")


def test_more_than_fifty_causes_are_counted_but_not_listed() -> None:
    words = [a + b for a in "abcdefgh" for b in "opqrstu"][:53]
    findings = [Finding("x", "error", f"is {word}", line) for line, word in enumerate(words, 2)]
    shown = str(ManifestError("m.csv", findings)).splitlines()
    assert shown[0].endswith(": 53 problems")
    assert len(shown) == 1 + 50 + 1
    assert shown[1].startswith("  line 2: ")
    assert shown[-1] == "  and 3 more"
    assert len(str(ManifestError("m.csv", findings[:50])).splitlines()) == 1 + 50


def test_one_problem_is_singular(write: Write) -> None:
    assert str(refused(write(*GOOD, "P4,x.png,no"))).splitlines()[0].endswith(": 1 problem")


@pytest.mark.parametrize("seed", range(5))
def test_row_order_changes_neither_table_nor_hash(write: Write, seed: int) -> None:
    lines = [
        f"P{i % 4},{letter}.png,{'no' if i % 2 else 'yes'}" for i, letter in enumerate("abcdefgh")
    ]
    original = read_manifest(write(*lines))
    shuffled = lines.copy()
    random.Random(seed).shuffle(shuffled)
    assert shuffled != lines
    manifest = read_manifest(write(*shuffled))
    assert manifest.hash == original.hash
    pd.testing.assert_frame_equal(
        manifest.table.drop(columns="line"), original.table.drop(columns="line")
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("P1,a", "P9,a"),
        ("a.png", "d.png"),
        ("a.png,no", "a.png,yes"),
    ],
)
def test_the_hash_changes_with_patients_images_and_labels(write: Write, old: str, new: str) -> None:
    def changed(lines: tuple[str, ...]) -> Manifest:
        return read_manifest(write(*(line.replace(old, new) for line in lines)))

    assert changed(GOOD).hash != read_manifest(write(*GOOD)).hash


def test_the_hash_changes_with_the_order_of_the_classes(write: Write) -> None:
    swapped = read_manifest(write(*GOOD, classes=("yes", "no")))
    assert swapped.hash != read_manifest(write(*GOOD)).hash


def test_a_file_too_large_for_a_manifest_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    with path.open("wb") as file:
        file.truncate(2**30 + 1)
    with pytest.raises(ManifestError, match=r"has 1,073,741,825 bytes; a manifest may have"):
        read_manifest(ManifestConfig(name="m", path=str(path)))


def test_many_files_are_looked_at_beside_with_the_same_result(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(*GOOD, "P4,d.png,yes", "P5,gone.png,no", "P6,e.jpg,no")
    (Path(config.path).parent / "e.png").rename(Path(config.path).parent / "e.jpg")
    by_one = read_usable(config)
    pool = Mock(wraps=process_pool)
    monkeypatch.setattr(paths, "process_pool", pool)
    monkeypatch.setattr(paths, "MANY", 3)
    monkeypatch.setattr(paths, "CHUNK", 2)
    by_several = read_usable(config)
    pool.assert_called_once()
    assert by_several.findings == by_one.findings
    assert {finding.rule for finding in by_one.findings} == {"image_file", "misnamed"}
    for name in ("size", "start", "is_dicom", "is_misnamed"):
        assert getattr(by_several.looks, name).tolist() == getattr(by_one.looks, name).tolist()
    assert by_one.looks.size[6] == -1
    assert by_one.looks.size[7] == (Path(config.path).parent / "e.jpg").stat().st_size


def test_purged_rows_are_in_no_sample_and_come_back(write: Write) -> None:
    manifest = read_manifest(write(*GOOD))
    fewer = manifest.with_purged([1])
    assert fewer.samples["patient_id"].tolist() == ["P1", "P3"]
    assert len(fewer) == 3
    assert fewer.with_purged([1]) is fewer, "with all that it has counted"
    assert fewer.with_purged([]).patients == manifest.patients == ("P1", "P2", "P3")


def test_what_was_seen_of_a_file_is_found_by_its_line(write: Write) -> None:
    manifest = read_manifest(write("P2,b.png,yes", "", "P1,a.png,no", "P3,c.png,no"))
    lines = manifest.table["line"].to_numpy()
    assert lines.tolist() == [4, 2, 5]
    sizes = [file.stat().st_size for file in manifest.image_files]
    assert manifest.looks.at(lines).size.tolist() == sizes
    assert manifest.looks.at(np.array([99, 5])).size.tolist() == [-1, sizes[2]]
    assert len(set(manifest.looks.at(lines).start.tolist())) == 3
