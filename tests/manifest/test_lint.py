"""Every rule of the lint: a planted fault gives its one finding, a clean manifest none."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.commands.door import load_config
from pipeline.config import ColumnsConfig, ManifestConfig
from pipeline.manifest import (
    Finding,
    Manifest,
    ManifestError,
    contradictory_labels,
    read_manifest,
)

DATA = os.environ.get("PATIENTFOLD_DATA")
Edit = Callable[[pd.DataFrame], None]


def config_of(folder: Path, edit: Edit | None = None, **settings: object) -> ManifestConfig:
    """Eight patients of two sites with two images each, every second ill; `edit` plants a fault."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(16):
        patient = f"P{number // 2}"
        path = f"{patient}-{'ab'[number % 2]}.png"
        Image.fromarray(generator.integers(0, 255, (4, 4), np.uint8)).save(folder / path)
        label = ("well", "ill")[number // 2 % 2]
        rows.append((patient, path, label, f"site {number // 8}", "2024-01-05"))
    table = pd.DataFrame(rows, columns=["patient_id", "image_path", "label", "site", "day"])
    if edit is not None:
        edit(table)
    table.to_csv(folder / "m.csv", index=False)
    config = ManifestConfig(
        name="m",
        path=str(folder / "m.csv"),
        columns=ColumnsConfig(site="site", date="day"),
        task="binary",
        largest_group=1.0,
    )
    return replace(config, **settings)  # type: ignore[arg-type]


def lint(config: ManifestConfig) -> tuple[Manifest | None, tuple[Finding, ...]]:
    """All findings at once, and the manifest unless one of them is an error."""
    try:
        manifest = read_manifest(config)
    except ManifestError as error:
        return None, error.findings
    return manifest, manifest.findings


def findings_of(config: ManifestConfig) -> list[Finding]:
    return list(lint(config)[1])


def set_cell(row: int, column: str, value: str) -> Edit:
    def edit(table: pd.DataFrame) -> None:
        table[column] = table[column].astype(object)
        table.loc[row, column] = value

    return edit


def set_column(column: str, values: Callable[[pd.DataFrame], Any]) -> Edit:
    def edit(table: pd.DataFrame) -> None:
        table[column] = values(table)

    return edit


def slices(table: pd.DataFrame) -> None:
    table["patient_id"] = [f"P{i // 4}_slice_{i % 4:03d}" for i in range(16)]
    table["label"] = [("well", "ill")[i // 4 % 2] for i in range(16)]
    table["site"] = "x"


FAULTS: dict[str, tuple[Edit, str, str, int, str]] = {
    # name: (fault, rule, severity, line, words of the message)
    "blank patient": (set_cell(3, "patient_id", " "), "blank", "error", 5, "patient id is blank"),
    "blank image": (set_cell(3, "image_path", ""), "blank", "error", 5, "image path is blank"),
    "blank label": (
        set_cell(3, "label", ""),
        "blank",
        "error",
        5,
        "or set manifest.blank_label=leave_out",
    ),
    "no image": (set_cell(3, "image_path", "x.png"), "image_file", "error", 5, "no such file"),
    "same image": (
        set_cell(3, "image_path", "P0-a.png"),
        "duplicate_image",
        "error",
        5,
        "already on line 2, there for patient 'P0'",
    ),
    "outside": (
        set_cell(3, "image_path", "../P1-b.png"),
        "outside_image_root",
        "error",
        5,
        "set manifest.image_root to a folder that holds all images",
    ),
    "spelling": (
        set_cell(3, "patient_id", "p1"),
        "spelling",
        "error",
        5,
        "'p1' is also written 'P1' (line 4); write one patient one way",
    ),
    "date": (set_cell(3, "day", "5.1.2024"), "date", "error", 5, "allowed is YYYY-MM-DD"),
    "two sites": (
        set_cell(3, "site", "site 1"),
        "two_sites",
        "warning",
        5,
        "patient 'P1' is at 2 sites: 'site 0' (line 4), 'site 1' (line 5)",
    ),
    "slices": (slices, "slice_ids", "error", 2, "'P0_slice_002' and 1 more of patient 'P0'"),
    "column": (
        set_column("grade", lambda t: t["label"].map({"well": "G0", "ill": "G2"})),
        "label_columns",
        "warning",
        0,
        "column 'grade' determines the label",
    ),
    "numbers": (
        set_column(
            "volume",
            lambda t: [str(3.5 * i + 100 * (label == "ill")) for i, label in enumerate(t["label"])],
        ),
        "label_columns",
        "warning",
        0,
        "'volume' determine the label by a threshold",
    ),
}


def test_a_clean_manifest_has_no_findings(tmp_path: Path) -> None:
    assert findings_of(config_of(tmp_path)) == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_alone(tmp_path: Path, name: str) -> None:
    edit, rule, severity, line, words = FAULTS[name]
    config = config_of(tmp_path, edit)
    if severity == "error":
        with pytest.raises(ManifestError) as caught:
            read_manifest(config)
        assert words in str(caught.value)
    found = findings_of(config)
    assert [(f.rule, f.severity, f.line) for f in found if f.rule == rule] == [
        (rule, severity, line)
    ]
    assert words in next(f.message for f in found if f.rule == rule)
    others = {f.rule for f in found} - {rule}
    besides = {"outside": {"image_file"}, "slices": {"label_paths"}}  # they follow from it
    assert others <= besides.get(name, set())


def test_all_faults_come_at_once_sorted_by_line(tmp_path: Path) -> None:
    def edit(table: pd.DataFrame) -> None:
        set_cell(9, "day", "soon")(table)
        set_cell(5, "image_path", "x.png")(table)
        set_cell(2, "label", "perhaps")(table)

    config = config_of(tmp_path, edit, classes=("well", "ill"))
    assert [(f.rule, f.line) for f in findings_of(config)] == [
        ("unknown_class", 4),
        ("image_file", 7),
        ("date", 11),
    ]


# --- labels that contradict each other, and labels in paths


def test_contradictory_labels_name_patient_labels_and_lines(tmp_path: Path) -> None:
    manifest = read_manifest(config_of(tmp_path, set_cell(3, "label", "well")))
    (found,) = contradictory_labels(manifest)
    assert (found.rule, found.severity, found.line) == ("contradictory_labels", "error", 5)
    assert found.message == (
        "patient 'P1' has contradictory labels 'ill' (line 4), 'well' (line 5); correct them, or "
        "set evaluation.patient_label to worst, majority or none"
    )
    assert contradictory_labels(read_manifest(config_of(tmp_path))) == []


def test_a_class_folder_and_a_class_word_are_noted(tmp_path: Path) -> None:
    def edit(table: pd.DataFrame) -> None:
        new = []
        for i, (path, label) in enumerate(zip(table["image_path"], table["label"], strict=True)):
            deeper = "more/" if i % 3 else ""  # not every row is nested alike
            target = f"{deeper}{label}/{path[:-4]}_{i}_{label.upper()}.png"
            (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).rename(tmp_path / target)
            new.append(target)
        table["image_path"] = new

    found = findings_of(config_of(tmp_path, edit))
    assert [(f.rule, f.severity) for f in found] == [("label_paths", "note")] * 2
    assert found[0].message == (
        "folder 1 from the end of the image path ('ill', 'well', ...) determines the label"
    )
    assert found[1].message == (
        "word 1 from the end of the file name ('ILL', 'WELL', ...) determines the label"
    )


def test_numbers_that_overlap_or_are_few_determine_nothing(tmp_path: Path) -> None:
    overlap = set_column("volume", lambda t: [str(i) for i in range(len(t))])
    assert findings_of(config_of(tmp_path, overlap)) == []
    few = set_column(
        "volume",
        lambda t: [
            str(i + 100 * (label == "ill")) if i < 9 else "" for i, label in enumerate(t["label"])
        ],
    )
    assert findings_of(config_of(tmp_path, few)) == []


# --- names that say another format


@pytest.mark.parametrize("number", [1, 7, 16])
def test_wrong_names_are_one_warning_with_their_number_and_examples(
    tmp_path: Path, number: int
) -> None:
    config = config_of(tmp_path)
    expected = read_manifest(config)
    for path in expected.image_files[:number]:
        with Image.open(path) as image:
            image.save(path, format="JPEG")
    manifest, found = lint(config)
    assert manifest is not None
    assert manifest.hash == expected.hash
    (one,) = found
    assert (one.rule, one.severity, one.line) == ("misnamed", "warning", 0)
    examples = ", ".join(f"line {i + 2}: 'P{i // 2}-{'ab'[i % 2]}.png' is JPEG" for i in range(5))
    assert (
        one.message
        == {
            1: "1 image with a name of another format, read by content: line 2: 'P0-a.png' is JPEG",
            7: f"7 images with a name of another format, read by content: {examples} and 2 more",
            16: f"16 images with a name of another format, read by content: {examples} and 11 more",
        }[number]
    )


def test_a_name_without_a_known_suffix_is_no_wrong_name(tmp_path: Path) -> None:
    config = config_of(tmp_path, set_cell(3, "image_path", "IM0001"))
    (tmp_path / "P1-b.png").rename(tmp_path / "IM0001")
    assert findings_of(config) == []


# --- policies


def test_an_accepted_rule_is_a_note(tmp_path: Path) -> None:
    config = config_of(tmp_path, slices, accept=("slice_ids",))
    manifest, found = lint(config)
    assert manifest is not None
    (one,) = [finding for finding in found if finding.rule == "slice_ids"]
    assert one.severity == "note"
    assert one.message.startswith("accepted: patient ids look like slices")


def test_blank_labels_are_left_out_and_counted_on_request(tmp_path: Path) -> None:
    config = config_of(tmp_path, set_cell(3, "label", ""), blank_label="leave_out")
    manifest, found = lint(config)
    assert manifest is not None
    assert (len(manifest), manifest.num_left_out, found) == (15, 1, ())


def test_group_columns_join_and_are_counted(tmp_path: Path) -> None:
    family = set_column("family", lambda t: t["patient_id"].map({"P0": "F1", "P5": "F1"}))
    manifest = read_manifest(config_of(tmp_path, family, group_columns=("family",)))
    assert manifest.grouping.num_groups == 7
    assert manifest.grouping.describe() == [
        "7 leakage groups of 8 patients (joined by family 1)",
        "the largest group 'P0' holds 2 patients: P0 = P5",
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "cp1252"])
def test_another_encoding_is_read_when_it_is_named_and_refused_when_not(
    tmp_path: Path, encoding: str
) -> None:
    config = config_of(tmp_path, set_column("remark", lambda t: ["Müller"] * len(t)))
    path = Path(config.path)
    path.write_bytes(path.read_text().encode(encoding))
    manifest = read_manifest(replace(config, encoding=encoding))
    assert set(manifest.table["remark"]) == {"Müller"}
    with pytest.raises(ManifestError, match=r"manifest\.encoding"):
        read_manifest(config)


def test_utf_8_is_not_read_as_latin_1(tmp_path: Path) -> None:
    """Which takes any bytes: two letters for one, and nobody would notice."""
    umlaut = set_column("remark", lambda t: ["Müller"] * len(t))
    with pytest.raises(
        ManifestError, match=r"is UTF-8, not iso8859-1; set manifest\.encoding=utf-8"
    ):
        read_manifest(config_of(tmp_path, umlaut, encoding="latin-1"))
    assert read_manifest(config_of(tmp_path, encoding="latin-1")).findings == ()


def test_plain_text_is_not_taken_for_utf_16(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(config_of(tmp_path, encoding="utf-16"))
    assert str(caught.value).splitlines()[1:] == [
        "  line 1: is not UTF-16, which has zero bytes; set manifest.encoding=utf-8"
    ]


def test_ids_that_are_nearly_alike_are_reported(tmp_path: Path) -> None:
    (one,) = findings_of(config_of(tmp_path, set_cell(15, "patient_id", "P-3")))
    assert (one.rule, one.severity, one.line) == ("spelling", "warning", 17)
    assert "'P3' (line 8), 'P-3' (line 17) differ by a separator only" in one.message
    dashed = config_of(tmp_path, set_column("patient_id", lambda _: ["1-11", "11-1"] * 8))
    assert "spelling" not in {f.rule for f in findings_of(dashed)}


def test_a_column_of_coarser_ids_is_reported(tmp_path: Path) -> None:
    """Slides taken for patients, beside the column that says whose they are."""
    config = config_of(
        tmp_path, set_column("case", lambda t: t["patient_id"].map(lambda p: int(p[1]) // 2))
    )
    (one,) = findings_of(config)
    assert (one.rule, one.severity) == ("coarser_ids", "warning")
    assert "column 'case' joins 8 patients of column 'patient_id' into 4" in one.message
    assert findings_of(replace(config, group_columns=("case",))) == []
    for values in (lambda t: range(len(t)), lambda t: ["x"] * len(t), lambda t: t["patient_id"]):
        assert findings_of(config_of(tmp_path, set_column("case", values))) == []


def test_classes_that_differ_by_case_or_space_are_one_class(tmp_path: Path) -> None:
    found = findings_of(config_of(tmp_path, set_cell(0, "label", "Well "), task="multiclass"))
    (one,) = [f for f in found if f.severity == "error"]
    assert one.message.startswith("classes 'Well ', 'well' differ by case, space or .0 only")


def test_a_path_that_goes_up_and_down_again_is_the_same_image(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    found = findings_of(config_of(tmp_path, set_cell(1, "image_path", "img/../P0-a.png")))
    assert [(f.rule, f.line) for f in found] == [("duplicate_image", 3)]


def test_backslashes_are_reported(tmp_path: Path) -> None:
    found = findings_of(config_of(tmp_path, set_cell(1, "image_path", "img\\P0-a.png")))
    assert found[-1].message.endswith("no such file; write the path with / instead of \\")


@pytest.mark.parametrize("day", ["2024-W01-1", "2024-02-30", "20240101", "2024-1-01", "01.02.2024"])
def test_a_date_is_a_day_of_the_calendar(tmp_path: Path, day: str) -> None:
    (one,) = findings_of(config_of(tmp_path, set_cell(3, "day", day)))
    assert (one.rule, one.line) == ("date", 5)
    assert f"{day!r} is not a day; allowed is YYYY-MM-DD" in one.message


def test_an_encoding_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="utf-99"):
        read_manifest(config_of(tmp_path, encoding="utf-99"))


def test_renamed_columns_reach_every_rule(tmp_path: Path) -> None:
    """date, fold and part under the names of the hospital."""
    config = config_of(tmp_path)
    path = Path(config.path)
    head, *rows = path.read_text().splitlines()
    rows = [f"{row},{i % 3},train" for i, row in enumerate(rows)]
    path.write_text("\n".join([head.replace("day", "exam") + ",block,set", *rows]) + "\n")
    columns = ColumnsConfig(site="site", date="exam", fold="block", part="set")
    table = read_manifest(replace(config, columns=columns)).table
    assert set(table["date"]) == {"2024-01-05"}
    assert set(table["fold"]) == {"0", "1", "2"}
    assert set(table["part"]) == {"train"}


# --- real sets


@pytest.mark.skipif(DATA is None, reason="needs PATIENTFOLD_DATA")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kermany", set()),
        ("idc", {"label_columns", "label_paths"}),  # filename_class, folder_class; 0/ and class0
        ("hippocampus3d", {"label_columns", "one_image_per_patient"}),  # volumes of the mask
    ],
)
def test_real_sets_are_read_and_what_is_unusual_is_reported(name: str, expected: set[str]) -> None:
    manifest, found = lint(load_config([f"experiment={name}"]).manifest)
    assert manifest is not None
    assert {finding.rule for finding in found} == expected


def families(folder: Path, *names: str) -> ManifestConfig:
    """With a family for each of the sixteen rows; the last ones have one each."""
    column = [*names, *"abcdefghijklmnop"[len(names) :]]
    config = config_of(folder, set_column("family", lambda _: column))
    return replace(config, group_columns=("family",))


@pytest.mark.parametrize("other", ["f1", "F01", "\uff261"])
def test_a_key_that_is_spelled_several_ways_is_reported(tmp_path: Path, other: str) -> None:
    config = families(tmp_path, "F1", "F1", other)
    (one,) = findings_of(config)
    assert (one.rule, one.severity, one.line) == ("key_spelling", "error", 4)
    assert f"'family' links patients, but 'F1' (line 2) and {other!r} (line 4) link" in one.message
    accepted = replace(config, accept=("key_spelling",))
    assert {f.severity for f in findings_of(accepted)} == {"note"}


def test_spaces_around_a_key_do_not_matter(tmp_path: Path) -> None:
    config = families(tmp_path, "F1", "F1", "F1 ")
    assert findings_of(config) == []
    assert read_manifest(config).grouping.num_groups == 7


def test_a_study_is_a_key_too_and_a_site_a_warning(tmp_path: Path) -> None:
    studies = set_column("exam", lambda _: ["S1", "s1", *"abcdefghijklmn"])
    config = config_of(tmp_path, studies)
    config = replace(config, columns=replace(config.columns, study="exam"))
    assert [(f.rule, f.severity) for f in findings_of(config)] == [("key_spelling", "error")]
    sites = config_of(tmp_path, set_column("site", lambda _: ["North"] * 8 + ["north "] * 8))
    (one,) = findings_of(sites)
    assert (one.rule, one.severity) == ("key_spelling", "warning")
    assert "one site is spelled several ways, 'North', 'north '" in one.message


@pytest.mark.parametrize("word", ["NaN", "unknown", "n/a", "-", " None"])
def test_a_word_for_nothing_is_no_patient(tmp_path: Path, word: str) -> None:
    (one,) = findings_of(
        config_of(
            tmp_path,
            set_column(
                "patient_id",
                lambda t: [word if i in (4, 5) else p for i, p in enumerate(t["patient_id"])],
            ),
        )
    )
    assert (one.rule, one.severity, one.line) == ("placeholder", "error", 6)
    assert f"patient id {word!r} of 2 rows seems to mean that the patient is unknown" in one.message


def test_a_word_for_nothing_that_links_patients_is_reported(tmp_path: Path) -> None:
    (one,) = findings_of(families(tmp_path, "F1", "F1", "none", "x", "none", "y"))
    assert (one.rule, one.severity, one.line) == ("placeholder", "warning", 4)
    assert "'family' links 2 patients by 'none'; leave the cell blank" in one.message
    assert findings_of(families(tmp_path, "F1", "F1", "none", "none")) == []  # of one patient


def test_a_row_that_is_left_out_is_spelled_like_the_others(tmp_path: Path) -> None:
    def unlabelled(table: pd.DataFrame) -> None:
        table.loc[3, ["patient_id", "label"]] = ["p1", ""]

    (one,) = findings_of(config_of(tmp_path, unlabelled, blank_label="leave_out"))
    assert (one.rule, one.severity, one.line) == ("spelling", "error", 5)
    assert "patient id 'p1' is also written 'P1' (line 4)" in one.message


@pytest.mark.parametrize("column", ["patient_id", "site"])
def test_a_column_with_another_meaning_may_be_a_group_column_too(
    tmp_path: Path, column: str
) -> None:
    manifest = read_manifest(replace(config_of(tmp_path), group_columns=(column,)))
    assert manifest.table["group"].nunique() == (8 if column == "patient_id" else 2)


def test_a_patient_id_that_is_a_group_column_too_is_reported_once(tmp_path: Path) -> None:
    config = config_of(tmp_path, set_cell(3, "patient_id", "p1"))
    (one,) = findings_of(replace(config, group_columns=("patient_id",)))
    assert one.rule == "spelling"


def test_coarser_ids_hold_whole_patients(tmp_path: Path) -> None:
    in_turn = set_column("case", lambda t: [f"x{i % 3}" for i in range(len(t))])
    assert findings_of(config_of(tmp_path, in_turn)) == []


def test_a_coarser_column_that_is_mostly_blank_or_names_no_people_is_no_id(tmp_path: Path) -> None:
    mostly_blank = set_column("case", lambda t: [*"aaaabbbbcccc", *[""] * (len(t) - 12)])
    beds = set_column("bed", lambda t: t["patient_id"].map(lambda p: int(p[1]) // 2))
    for column in (mostly_blank, beds):
        assert findings_of(config_of(tmp_path, column)) == []


def test_cells_of_white_space_are_no_two_spellings(tmp_path: Path) -> None:
    blanks = set_column("family", lambda t: ["", " ", *["\t"] * (len(t) - 2)])
    assert findings_of(config_of(tmp_path, blanks, group_columns=("family",))) == []
    sites = set_column("site", lambda t: ["", " ", *["x"] * (len(t) - 2)])
    assert findings_of(config_of(tmp_path, sites)) == []


@pytest.mark.parametrize("column", ["PatientSex", "patient_age", "PatientAge", "case_control"])
def test_a_property_of_patients_is_no_coarser_id(tmp_path: Path, column: str) -> None:
    values = set_column(column, lambda t: t["patient_id"].map(lambda p: int(p[1]) // 2))
    assert findings_of(config_of(tmp_path, values)) == []


@pytest.mark.parametrize("column", ["mrn", "pid", "agent_subject"])
def test_a_coarser_id_with_a_blank_is_reported_and_can_be_accepted(
    tmp_path: Path, column: str
) -> None:
    def numbers(table: pd.DataFrame) -> None:
        table[column] = table["patient_id"].map(lambda p: str(int(p[1]) // 2))
        table.loc[3, column] = ""

    config = config_of(tmp_path, numbers)
    assert [(f.rule, f.severity) for f in findings_of(config)] == [("coarser_ids", "warning")]
    accepted = replace(config, accept=("coarser_ids",))
    assert [f.severity for f in findings_of(accepted)] == ["note"]


def test_a_placeholder_counts_its_own_patients_beside_rows_that_are_left_out(
    tmp_path: Path,
) -> None:
    def edit(table: pd.DataFrame) -> None:
        table["family"] = ["unknown", "", "unknown", *[""] * 13]  # P0 and P1
        table.loc[15, "label"] = ""

    config = config_of(tmp_path, edit, group_columns=("family",), blank_label="leave_out")
    (one,) = findings_of(config)
    assert (one.rule, one.severity, one.line) == ("placeholder", "warning", 2)
    assert "column 'family' links 2 patients by 'unknown'" in one.message


def test_wrong_names_can_be_accepted(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    path = read_manifest(config).image_files[0]
    with Image.open(path) as image:
        image.save(path, format="JPEG")
    (one,) = lint(replace(config, accept=("misnamed",)))[1]
    assert (one.rule, one.severity) == ("misnamed", "note")
    assert one.message.startswith("accepted: 1 image with a name of another format")
