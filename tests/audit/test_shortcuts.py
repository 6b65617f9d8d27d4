"""Shortcuts: found where the label can be predicted without the image, silent where it cannot."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.audit.shortcuts import (
    FEWEST_PATIENTS,
    Shortcut,
    find_shortcuts,
    patient_table,
    shortcut_findings,
)
from pipeline.config import ManifestConfig
from pipeline.manifest import read_manifest


def cohort(seed: int, num_patients: int = 200, num_classes: int = 2) -> pd.DataFrame:
    """A patient table in which nothing predicts the label."""
    generator = np.random.default_rng(seed)
    index = pd.Index([f"P{i:05d}" for i in range(num_patients)], name="patient_id")
    return pd.DataFrame(
        {
            "label": generator.integers(num_classes, size=num_patients),
            "group": index,
            "site": generator.choice(["north", "south", "west"], num_patients),
            "num_images": generator.geometric(0.2, num_patients),
            "file:file_size:mean": generator.lognormal(size=num_patients),
            "file:axis0:mean": generator.choice([256.0, 512.0], num_patients),
        },
        index=index,
    )


@pytest.mark.slow
def test_silent_where_nothing_tells_the_label() -> None:
    """Of 310 tables with 60 to 500 patients 5 were flagged (2 %); here a few of them."""
    flagged = [any(s.flagged for s in find_shortcuts(cohort(seed), seed)) for seed in range(8)]
    assert sum(flagged) <= 1


def test_zech_like_sites_are_flagged() -> None:
    """Three hospitals with 34, 11 and 1 % pneumonia, much like Zech 2018."""
    patients = cohort(0, 600)
    share = patients["site"].map({"north": 0.34, "south": 0.11, "west": 0.01})
    patients["label"] = (np.random.default_rng(1).random(600) < share).astype(int)
    shortcuts = {shortcut.name: shortcut for shortcut in find_shortcuts(patients)}
    assert [name for name in shortcuts if shortcuts[name].flagged] == ["site"]
    assert shortcuts["site"].auroc == pytest.approx(0.78, abs=0.05)
    (finding,) = shortcut_findings(list(shortcuts.values()))
    assert (finding.rule, finding.severity) == ("shortcut", "warning")
    assert "split.scheme=leave_one_out split.leave_out=site" in finding.message


def test_the_whole_interval_must_lie_above_the_alarm() -> None:
    assert not Shortcut("site", 60, auroc=0.70, ci_low=0.59, ci_high=0.81).flagged
    assert Shortcut("site", 60, auroc=0.70, ci_low=0.61, ci_high=0.79).flagged


@pytest.mark.parametrize(
    ("column", "flagged"),
    [
        ("file:file_size:mean", {"file metadata"}),
        ("num_images", {"file metadata", "image count"}),
    ],
)
def test_metadata_that_tells_the_label_is_flagged(column: str, flagged: set[str]) -> None:
    patients = cohort(2)
    patients[column] = patients[column] + 4 * patients["label"]
    assert {s.name for s in find_shortcuts(patients) if s.flagged} == flagged


def test_scores_are_out_of_fold() -> None:
    """A site per patient gives away every label in the train part and none in the test part."""
    patients = cohort(3)
    patients["site"] = patients.index
    site = find_shortcuts(patients)[0]
    assert site.auroc == pytest.approx(0.5)


def test_patients_of_a_group_are_never_on_two_sides() -> None:
    """Pairs of one family share site and label: known again only if a split parts them."""
    patients = cohort(4)
    patients["group"] = patients.index.to_numpy().repeat(2)[: len(patients)]
    patients["site"] = patients["group"]
    patients["label"] = patients.groupby("group")["label"].transform("first")
    site = find_shortcuts(patients)[0]
    assert site.auroc == pytest.approx(0.5)


def test_whole_groups_are_drawn_for_the_interval() -> None:
    """Forty families of five who are alike know no more than forty patients do."""
    families = cohort(8, 40)
    patients = families.loc[families.index.repeat(5)].set_axis(cohort(8).index)
    widths = [
        shortcut.ci_high - shortcut.ci_low
        for shortcut in find_shortcuts(patients)
        if shortcut.ci_low is not None and shortcut.ci_high is not None
    ]
    assert len(widths) == 3
    assert min(widths) > 0.25  # 0.14 to 0.17 where the patients of a family are drawn one by one


def test_three_classes() -> None:
    patients = cohort(5, 240, num_classes=3)
    patients["site"] = np.array(["a", "b", "c"])[patients["label"]]
    site, metadata, count = find_shortcuts(patients)
    assert site.auroc == 1.0
    assert site.flagged
    assert not metadata.flagged
    assert not count.flagged


def test_a_rare_class_is_missing_with_its_reason() -> None:
    patients = cohort(6, 100)
    patients["label"] = (np.arange(100) < FEWEST_PATIENTS - 1).astype(int)
    shortcuts = find_shortcuts(patients)
    assert [shortcut.auroc for shortcut in shortcuts] == [None, None, None]
    for finding in shortcut_findings(shortcuts):
        assert finding.severity == "note"
        assert "fewer than two classes have 10 patients" in finding.message


def test_a_constant_is_missing_with_its_reason() -> None:
    patients = cohort(7).assign(num_images=1)
    count = find_shortcuts(patients)[-1]
    assert (count.auroc, count.missing) == (None, "it is the same for all patients")


def test_few_groups_are_missing_with_their_reason() -> None:
    patients = cohort(8)
    patients["group"] = np.arange(200) % 3
    assert "fewer than 5 independent groups" in find_shortcuts(patients)[0].missing
    patients["group"] = np.where(patients["label"] == 1, "one", patients.index)
    assert "a fold has none of it" in find_shortcuts(patients)[0].missing


def test_the_answer_does_not_depend_on_the_order_of_rows() -> None:
    patients = cohort(9, 80)
    assert find_shortcuts(patients.iloc[::-1]) == find_shortcuts(patients)


def test_table_of_a_manifest(make_cohort: Callable[..., ManifestConfig]) -> None:
    config = make_cohort(
        {"P1": ["healthy", "lesion"], "P2": ["healthy"], "P3": ["lesion"]},
        sites={"P1": "north", "P2": "south", "P3": "south"},
    )
    manifest = read_manifest(config)
    metadata = pd.DataFrame(
        {
            "file_size": [10, 30, 5, 7],
            "shape": ["512x512", "256x512", "64x64x3", (64, 64)],
            "bit_depth": [8, 8, 16, 8],
        }
    )
    table = patient_table(manifest, metadata)
    first = table.iloc[0].to_dict()
    assert (first["label"], first["site"], first["num_images"]) == (1, "north", 2)  # worst label
    assert (first["file:file_size:mean"], first["file:file_size:max"]) == (20, 30)
    assert (first["file:axis0:min"], first["file:axis1:min"]) == (256, 512)
    assert table["file:axis2:mean"].isna().tolist() == [True, False, True]
    assert table["file:bit_depth:mean"].tolist() == [8, 16, 8]


def test_without_metadata_the_file_sizes_are_asked(
    make_cohort: Callable[..., ManifestConfig],
) -> None:
    manifest = read_manifest(make_cohort({"P1": ["a"], "P2": ["b"], "P3": ["b"]}))
    sizes = [Path(file).stat().st_size for file in manifest.image_files]
    assert patient_table(manifest)["file:file_size:mean"].tolist() == sizes


def test_metadata_must_match_the_manifest(make_cohort: Callable[..., ManifestConfig]) -> None:
    manifest = read_manifest(make_cohort({"P1": ["a"], "P2": ["b"], "P3": ["b"]}))
    with pytest.raises(RuntimeError, match="Expected 3 rows of metadata, got 2"):
        patient_table(manifest, pd.DataFrame({"file_size": [1, 2]}))
