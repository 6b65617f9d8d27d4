"""Rules that look at many rows at once: ids, sites, columns that determine the label, paths."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.config import ColumnsConfig, ManifestConfig
from pipeline.manifest import Finding, Manifest, ManifestError, join_groups, read_manifest
from pipeline.manifest.ids import image_ids_findings
from pipeline.manifest.paths import outside_findings
from pipeline.manifest.rules import (
    date_findings,
    label_column_findings,
    middle_findings,
    site_findings,
    weight_findings,
)


def table(ids: list[str], labels: list[str] | None = None) -> pd.DataFrame:
    labels = labels or ["no", "yes"] * len(ids)
    rows = [(p, f"{i}.png", labels[i], i + 2) for i, p in enumerate(ids)]
    return pd.DataFrame(rows, columns=["patient_id", "image_path", "label", "line"])


def rules(findings: object) -> list[tuple[str, str]]:
    return [(f.rule, f.severity) for f in findings if isinstance(f, Finding)]  # type: ignore[attr-defined]


def test_slices_named_so_are_refused_with_a_proposal() -> None:
    (found,) = image_ids_findings(
        table([f"P{p}_slice_{s:03d}" for p in range(4) for s in range(5)])
    )
    assert (found.rule, found.severity, found.line) == ("slice_ids", "error", 2)
    assert "'P0_slice_002' and 2 more of patient 'P0'; 20 ids would be 4 patients" in found.message


def test_bare_counters_need_labels_that_agree() -> None:
    ids = [f"pat{p}_{s:03d}" for p in range(8) for s in range(5)]
    agree = ["no" if i // 5 % 2 else "yes" for i in range(40)]
    assert rules(image_ids_findings(table(ids, agree))) == [("slice_ids", "error")]
    mixed = ["no" if i % 2 else "yes" for i in range(40)]  # as numbered sites have
    assert rules(image_ids_findings(table(ids, mixed))) == [("one_image_per_patient", "warning")]


def test_counters_of_a_rare_class_may_agree_by_chance() -> None:
    """Numbered sites with one ill patient among 95: the labels of 18 of 19 sites agree."""
    ids = [f"site{p}_{s:03d}" for p in range(19) for s in range(5)]
    rare = ["yes" if i == 17 else "no" for i in range(95)]
    assert rules(image_ids_findings(table(ids, rare))) == [("one_image_per_patient", "warning")]


@pytest.mark.parametrize("form", ["P{:03d}", "patient_{}", "NORMAL2-IM-{:04d}", "image_{}"])
def test_numbered_patients_are_no_slices(form: str) -> None:
    ids = [form.format(i // 2) for i in range(200)]
    assert rules(image_ids_findings(table(ids))) == []
    assert rules(image_ids_findings(table(sorted(set(ids))))) == [
        ("one_image_per_patient", "error")
    ]
    assert rules(image_ids_findings(table(sorted(set(ids))[:19]))) == []


def test_a_patient_at_two_sites_and_a_column_that_determines_the_label_are_reported() -> None:
    rows = table([f"P{i}" for i in range(8)] + ["P0"], [*"aaaabbbb", "a"])
    rows["site"] = [*"xxxxxxxx", "y"]
    assert [f.message for f in site_findings(rows)] == [
        "patient 'P0' is at 2 sites: 'x' (line 2), 'y' (line 10); is it one person?"
    ]
    rows["copy"] = rows["label"].str.upper()
    assert [f.message for f in label_column_findings(rows, str)] == [
        "column 'copy' determines the label; do not stratify by it, and do not feed it "
        "to the network"
    ]


def test_paths_that_leave_the_root_and_dates_that_are_none() -> None:
    rows = table(["a", "b", "c", "d", "e", "f"])
    rows["image_path"] = [
        *("../x.png", "a..b/x.png", "/else/x.png", "/elsewhere/in/x.png"),
        *("C:\\scans\\x.png", "a/..\\../x.png"),
    ]
    assert [f.line for f in outside_findings(rows, Path("/elsewhere/in"))] == [2, 4, 6, 7]
    rows = table(["a", "b", "c", "d"])
    rows["date"] = ["2024-02-29", "2023-02-29", "", "20240101"]
    config = ManifestConfig(name="x", path="x", columns=ColumnsConfig(date="day"))
    assert [f.line for f in date_findings(rows, config)] == [3, 4, 5]


def test_a_weight_is_a_finite_number_from_0() -> None:
    rows = table(["a", "b", "c", "d", "e", "f", "g"])
    rows["weight"] = ["1", " 0.5 ", "", "-1", "nan", "inf", "heavy"]
    found = list(weight_findings(rows, lambda _: "w"))
    assert [finding.line for finding in found] == [4, 5, 6, 7, 8]
    assert found[0].message == "the weight is blank; allowed in column 'w' is a number from 0"
    assert found[4].message == (
        "weight 'heavy' is not one; allowed in column 'w' is a number from 0"
    )


def test_links_join_groups_and_a_giant_group_stops(make_cohort) -> None:
    manifest = read_manifest(make_cohort({f"P{i:02d}": ["no", "yes"] for i in range(30)}))
    joined = join_groups(manifest, [(0, 2)])
    assert joined.table["group"][2] == "P00"
    again = join_groups(joined, [(4, 6)])
    assert again.grouping.joins["identical images"] == 2
    assert (joined.grouping.num_groups, joined.grouping.joins["identical images"]) == (29, 1)
    with pytest.raises(ManifestError, match="one leakage group holds 11 of 30 patients"):
        join_groups(manifest, [(0, 2 * i) for i in range(1, 11)])


def test_a_group_that_was_too_large_before_is_not_reported_once_more(make_cohort) -> None:
    manifest = read_manifest(make_cohort({f"P{i:02d}": ["no", "yes"] for i in range(30)}))
    grouping = replace(manifest.grouping, largest_num_patients=11, commonest_file="4 rows")
    joined = join_groups(
        replace(manifest, grouping=grouping), [(0, 2 * i) for i in range(1, 11)], "copied images"
    )
    assert joined.grouping.largest_num_patients == 11
    assert joined.grouping.commonest_file == "4 rows"


def with_slides(ids: str, slides: str) -> Manifest:
    of = table([*ids]).assign(slide=slides.replace("_", " ").split("."))
    return Manifest(Path("x.csv"), Path(), ("no", "yes"), of)


@pytest.mark.parametrize(
    ("slides", "expected"),
    [
        ("1.1.2.3.3.4", []),
        ("1.1.2.3.3.3", []),
        ("1.2.3.4.5.6", ["as many slides as images, so the slide level repeats the image level"]),
        ("1.1.1.2.2.2", ["as many slides as patients, so the slide level repeats the patient"]),
    ],
)
def test_a_middle_level_that_says_nothing_new_is_a_warning(
    slides: str, expected: list[str]
) -> None:
    found = middle_findings(with_slides("aaabbb", slides), "slide")
    assert rules(found) == [("middle", "warning")] * len(expected)
    assert all(text in f.message for text, f in zip(expected, found, strict=True))


def test_a_slide_is_of_one_patient_and_of_every_image() -> None:
    found = middle_findings(with_slides("aaabbb", "1._.2.2..3"), "slide")
    assert [(f.severity, f.line) for f in found] == [("error", 3), ("error", 5), ("error", 6)]
    blank = "the slide is blank; evaluation.middle=slide needs it"
    assert [found[0].message, found[2].message] == [blank, blank]
    assert "slide '2' is of 2 patients: 'a' (line 4), 'b' (line 5); with" in found[1].message


def test_of_slides_that_are_wrong_nothing_else_is_said() -> None:
    assert rules(middle_findings(with_slides("aaabbb", "1.1.1.1.2.2"), "slide")) == [
        ("two_patients", "error")
    ]


def test_a_row_that_is_purged_needs_no_slide() -> None:
    manifest = replace(with_slides("aaabbb", "1.1.2.3.3."), purged=frozenset({5}))
    assert middle_findings(manifest, "slide") == []
