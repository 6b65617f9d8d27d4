"""Leakage groups: patients that share an image or a study stay together."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dicom_files import ramp, write_dicom

from pipeline.config import ColumnsConfig, ManifestConfig, PrivacyConfig
from pipeline.manifest import ManifestError, read_manifest
from pipeline.manifest.groups import identical_files
from pipeline.manifest.rules import middle_findings
from pipeline.manifest.unseen import read_unseen

Cohort = Callable[..., ManifestConfig]
PATIENTS = {f"P{i}": ["no", "yes"] if i % 2 else ["no"] for i in range(6)}


def groups_of(config: ManifestConfig) -> dict[str, str]:
    table = read_manifest(config).table
    groups = table.groupby("patient_id")["group"].unique()
    assert len(groups) > 0
    assert all(len(names) == 1 for names in groups)
    return {str(patient): str(names[0]) for patient, names in groups.items()}


def with_studies(config: ManifestConfig, studies: dict[str, str]) -> ManifestConfig:
    """Add a study column; `studies` maps a patient id to the study of its rows, others blank."""
    path = Path(config.path)
    header, *rows = path.read_text().splitlines()
    lines = [f"{header},study", *(f"{row},{studies.get(row.split(',')[0], '')}" for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return replace(config, columns=ColumnsConfig(study="study"))


def copy_image(config: ManifestConfig, source: str, *targets: str) -> None:
    folder = Path(config.path).parent / "images"
    for target in targets:
        shutil.copyfile(folder / f"{source}.png", folder / f"{target}.png")


def test_without_links_every_patient_is_a_group_of_its_own(make_cohort: Cohort) -> None:
    assert groups_of(make_cohort(PATIENTS)) == {patient: patient for patient in PATIENTS}


def test_byte_identical_images_join_their_patients(make_cohort: Cohort) -> None:
    config = make_cohort(PATIENTS)
    copy_image(config, "P3_00", "P1_01")
    groups = groups_of(config)
    assert groups["P1"] == groups["P3"] == "P1"
    assert len(set(groups.values())) == 5


def test_an_unlabelled_image_that_nobody_can_read_joins_nobody(make_cohort: Cohort) -> None:
    config = make_cohort(PATIENTS)
    path = Path(config.path)
    (path.parent / "half.mhd").write_text("ObjectType = Image\nNDims = 3\n")  # no end
    (path.parent / "series").mkdir()
    (path.parent / "series" / "x.dcm").write_bytes(bytes(128) + b"DICM" + b"\x02\x00\x10")
    os.mkfifo(path.parent / "pipe")
    path.write_text(path.read_text() + "P7,pipe,\nP8,half.mhd,\nP9,series#1.2.3,\n")
    assert groups_of(replace(config, blank_label="leave_out")) == {p: p for p in PATIENTS}


@pytest.mark.parametrize("columns", [("image_path",), ("image_path", "second")])
def test_a_blank_path_of_an_unlabelled_row_is_no_series_of_the_folder(
    make_cohort: Cohort, columns: tuple[str, ...]
) -> None:
    """Else two patients without an image would share all DICOM files that lie there."""
    config = make_cohort(PATIENTS)
    path = Path(config.path)
    write_dicom(path.parent / "x.dcm", ramp((4, 4)))
    header, *rows = path.read_text().splitlines()
    for row in rows:
        name = row.split(",")[1]
        shutil.copyfile(path.parent / name, path.parent / f"{name}.png")
        with (path.parent / f"{name}.png").open("ab") as file:
            file.write(name.encode())
    rows = [f"{row},{row.split(',')[1]}.png" for row in rows]
    blanks = ["P1,,,", "P2,,,"]
    path.write_text("\n".join([f"{header},second", *rows, *blanks]) + "\n")
    config = replace(
        config,
        columns=ColumnsConfig(image=columns if len(columns) > 1 else columns[0]),
        blank_label="leave_out",
    )
    assert groups_of(config) == {p: p for p in PATIENTS}


def test_images_of_different_sizes_are_read(make_cohort: Cohort) -> None:
    """No file has a twin even in size, so that none is hashed."""
    config = make_cohort(PATIENTS)
    for number, image in enumerate(sorted((Path(config.path).parent / "images").iterdir())):
        with image.open("ab") as file:
            file.write(bytes(1000 * number))
    manifest = read_manifest(config)
    assert set(manifest.twin_digests) == {None}
    assert manifest.grouping.commonest_file == ""


def test_images_of_equal_size_that_differ_join_nobody(make_cohort: Cohort) -> None:
    config = make_cohort(PATIENTS)
    image = Path(config.path).parent / "images" / "P1_01.png"
    copy_image(config, "P3_00", "P1_01")
    image.write_bytes(image.read_bytes()[:-1] + b"!")
    assert len(set(groups_of(config).values())) == 6


def test_a_shared_study_joins_and_a_blank_one_does_not(make_cohort: Cohort) -> None:
    groups = groups_of(with_studies(make_cohort(PATIENTS), {"P2": "s1", "P5": "s1", "P4": "s2"}))
    assert groups == {patient: patient for patient in PATIENTS} | {"P5": "P2"}


def test_a_shared_slide_joins_as_a_study_does(make_cohort: Cohort) -> None:
    config = with_studies(make_cohort(PATIENTS), {"P2": "s1", "P5": "s1", "P4": "s2"})
    slides = replace(config, columns=ColumnsConfig(slide="study"))
    assert groups_of(slides) == groups_of(config)
    assert read_manifest(slides).grouping.made_by() == "slide 1"


def test_a_study_of_white_space_is_blank(make_cohort: Cohort) -> None:
    groups = groups_of(with_studies(make_cohort(PATIENTS), {"P2": " ", "P5": " "}))
    assert len(set(groups.values())) == 6


def test_a_study_with_a_stray_space_is_the_same_study(make_cohort: Cohort) -> None:
    config = with_studies(make_cohort(PATIENTS), {"P2": "S7", "P5": "S7 ", "P4": " S8"})
    groups = groups_of(config)
    assert groups["P5"] == groups["P2"] == "P2"
    found = middle_findings(read_manifest(config), "study")
    assert any("study 'S7' is of 2 patients: 'P2'" in finding.message for finding in found)
    with pytest.raises(ManifestError, match="study 'S7' is of 2 patients"):
        read_unseen(config, ("no", "yes"), "study", PrivacyConfig())


def test_links_of_different_kinds_chain(make_cohort: Cohort) -> None:
    # P5 - image - P1 - study - P4 - image - P2: one group, named by its smallest patient.
    config = with_studies(make_cohort(PATIENTS), {"P1": "s1", "P4": "s1"})
    copy_image(config, "P5_00", "P1_00")
    copy_image(config, "P4_00", "P2_00")
    groups = groups_of(config)
    assert {patient for patient, group in groups.items() if group == "P1"} == {
        "P1",
        "P2",
        "P4",
        "P5",
    }
    assert len(set(groups.values())) == 3


@pytest.mark.parametrize("reverse", [False, True])
def test_a_group_is_named_by_its_smallest_patient_in_any_row_order(
    make_cohort: Cohort, reverse: bool
) -> None:
    patients: dict[str, Any] = dict(sorted(PATIENTS.items(), reverse=reverse))
    config = make_cohort(patients)
    copy_image(config, "P4_00", "P3_00", "P0_00")
    groups = groups_of(config)
    assert {groups[patient] for patient in ("P0", "P3", "P4")} == {"P0"}


def test_a_group_enters_the_hash_of_the_manifest(make_cohort: Cohort) -> None:
    config = make_cohort(PATIENTS)
    before = read_manifest(config)
    copy_image(config, "P4_00", "P2_00")
    after = read_manifest(config)
    assert after.table.drop(columns="group").equals(before.table.drop(columns="group"))
    assert after.hash != before.hash


def test_files_without_a_byte_and_paths_that_cannot_be_join_nobody(make_cohort: Cohort) -> None:
    """Rows without a label, whose files nobody looked at."""
    config = make_cohort(PATIENTS)
    path = Path(config.path)
    for name in ("x", "y"):
        (path.parent / f"{name}.png").touch()
        (path.parent / name).mkdir()
    unlabelled = ["P1,x.png,", "P2,y.png,", "P3,x,", "P4,y,", f"P5,{'long' * 80}.png,"]
    path.write_text("\n".join([path.read_text().rstrip(), *unlabelled]) + "\n")
    assert len(set(groups_of(replace(config, blank_label="leave_out")).values())) == 6


def test_the_file_that_makes_a_giant_is_named(make_cohort: Cohort) -> None:
    config = make_cohort({f"P{i:02}": ["no", "yes"] for i in range(30)})
    copy_image(config, "P00_00", *(f"P{i:02}_00" for i in range(1, 12)))
    with pytest.raises(
        ManifestError, match=r"12 rows show the same file, e\.g\. 'images/P00_00.png'"
    ):
        read_manifest(config)


def test_without_some_rows_the_groups_of_the_others_stay_and_are_counted_anew(
    make_cohort: Cohort,
) -> None:
    config = with_studies(make_cohort(PATIENTS), {"P1": "s", "P2": "s", "P4": "s"})
    manifest = read_manifest(replace(config, largest_group=1.0))
    rows = {int(row) for row in manifest.of(["P1", "P5"])}
    left = manifest.without(rows)
    assert left.patients == ("P0", "P2", "P3", "P4")
    assert list(left.table.index) == list(range(len(left)))
    assert len(left.twin_digests) == len(left)
    assert set(left.table["group"][left.table["patient_id"].isin(["P2", "P4"])]) == {"P1"}
    assert left.grouping.describe() == [
        "3 leakage groups of 4 patients (joined by study 2)",
        "the largest group 'P1' holds 2 patients: P2 = P4",
    ]
    assert manifest.without(set()).grouping == manifest.grouping


def test_sparse_twins_are_found_at_once(tmp_path: Path) -> None:
    """Two files of a terabyte of zeros are one picture; a byte in a third makes it another."""
    paths: list[Path | None] = []
    for name in ("a", "b", "c"):
        paths.append(tmp_path / name)
        with (tmp_path / name).open("wb") as file:
            file.truncate(10**12)
            file.write(b"1" if name == "c" else b"")
    one, other, different = identical_files(paths)
    assert one == other != different


def test_a_copy_under_a_name_without_suffix_joins_too(
    make_cohort: Cohort,
) -> None:
    """Its name does not say what it is, so that the first look passes it by."""
    config = make_cohort({"P1": ["a"], "P2": ["b"], "P3": ["a"]})
    csv_path = Path(config.path)
    images = csv_path.parent / "images"
    (images / "P2_00").write_bytes((images / "P1_00.png").read_bytes())
    csv_path.write_text(csv_path.read_text().replace("P2_00.png", "P2_00"))
    assert read_manifest(replace(config, largest_group=1.0)).table["group"].nunique() == 2
