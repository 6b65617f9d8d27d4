"""Splits made elsewhere: every fault is told, a clean one is silent, a wrong file is refused."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.audit.foreign import audit_parts
from pipeline.audit.foreign_split import Split, part_of
from pipeline.command import load_config
from pipeline.config import AuditConfig, UserError
from pipeline.manifest import Finding, Manifest, read_manifest
from pipeline.splits import plan_folds, save_plan

DATA = os.environ.get("PATIENTFOLD_DATA")
SIX = [f"P{i}" for i in range(6)]
CLEAN = {"P0": "train", "P1": "train", "P2": "train", "P3": "train", "P4": "test", "P5": "test"}


def manifest_of(
    parts: Mapping[str, Sequence[str]] | None = None, groups: dict[str, str] | None = None
) -> Manifest:
    """Six patients with two images each, odd ones ill; `parts` of each patient's images."""
    parts = parts or {}
    rows = [
        (patient, f"img/{patient}_{i:04d}.nii.gz", ("well", "ill")[int(patient[1:]) % 2],
         (groups or {}).get(patient, patient), 2 + 2 * number + i, parts.get(patient, "  ")[i])
        for number, patient in enumerate(SIX) for i in range(2)
    ]  # fmt: skip
    columns = ["patient_id", "image_path", "label", "group", "line", "part"]
    return Manifest(Path("m.csv"), Path(), ("well", "ill"), pd.DataFrame(rows, columns=columns))


def by_column(
    parts: dict[str, str] | None = None, links: Sequence[tuple[int, int]] = (), **of: str
) -> dict[str, Finding]:
    """Findings on a column; `of` changes the part of patients, two words for two images."""
    words = (parts or CLEAN) | of
    values = {p: (v.split() * 2)[:2] if v.strip() else ["", ""] for p, v in words.items()}
    return found(audit_parts(manifest_of(values), AuditConfig(part_column="part"), links))


def by_file(path: Path, text: str, manifest: Manifest | None = None) -> dict[str, Finding]:
    path.write_text(text)
    config = AuditConfig(part_file=str(path))
    return found(audit_parts(manifest or manifest_of(), config))


def found(answer: tuple[list[Finding], Split]) -> dict[str, Finding]:
    rules = [finding.rule for finding in answer[0]]
    assert len(rules) == len(set(rules))
    return dict(zip(rules, answer[0], strict=True))


# --- rules, on a column of the manifest


def test_a_clean_split_is_silent() -> None:
    assert by_column() == {}
    config = AuditConfig(part_column="part")
    _, split = audit_parts(manifest_of({p: [v, v] for p, v in CLEAN.items()}), config)
    assert [(p.part, p.num_patients, p.num_images, p.images_per_class) for p in split.parts] == [
        ("train", 4, 8, (4, 4)), ("test", 2, 4, (2, 2))]  # fmt: skip
    assert split.lines == (
        "split of column 'part': nobody is in two parts, and nobody is lost",)  # fmt: skip


def test_a_patient_on_both_sides_is_an_error_with_both_lines() -> None:
    (finding,) = by_column(P1="train test").values()
    assert (finding.rule, finding.severity) == ("shared_patients", "error")
    assert finding.message == (
        "1 patient in both train and test: 'P1' (line 4 in train, line 5 in test)"
    )


def test_five_patients_are_named_and_the_rest_counted() -> None:
    finding = by_column(dict.fromkeys(SIX, "train test"))["shared_patients"]
    assert finding.message.startswith("6 patients in both train and test: 'P0' (line 2 in train")
    assert finding.message.endswith("and 1 more")


def test_patients_that_belong_together_may_not_be_apart() -> None:
    parts = {p: [v, v] for p, v in CLEAN.items()}
    manifest = manifest_of(parts, groups={"P0": "P0", "P4": "P0"})
    (finding,) = audit_parts(manifest, AuditConfig(part_column="part"))[0]
    assert finding.rule == "shared_groups"
    assert finding.severity == "error"
    assert finding.message == (
        "1 group of patients that belong together (one study, family or image) in both train and "
        "test: 'P0' (line 2) in train and 'P4' (line 10) in test"
    )


def test_a_copy_on_the_other_side_is_an_error_told_once() -> None:
    links = [(9, 0), (0, 9), (2, 3), (0, 2)]  # rows: P4's second, P0's first; others on one side
    (finding,) = by_column(links=links).values()
    assert (finding.rule, finding.severity) == ("shared_images", "error")
    assert finding.message == (
        "1 pair of images that show the same in train and test: 'img/P0_0000.nii.gz' "
        "(line 2, train) = 'img/P4_0001.nii.gz' (line 11, test)"
    )
    manifest = manifest_of({p: [v, v] for p, v in CLEAN.items()}, {"P0": "P0", "P4": "P0"})
    told = found(audit_parts(manifest, AuditConfig(part_column="part"), links))
    assert set(told) == {"shared_images"}  # it is why they are one group


def test_lost_patients_are_errors_and_lost_images_warnings() -> None:
    lost = by_column(P0="", P1="train -")
    assert lost["lost_patients"].severity == "error"
    assert lost["lost_patients"].message == (
        "1 patient of the manifest in no part of column 'part': 'P0' (line 2)"
    )
    assert lost["lost_images"].severity == "warning"
    assert "1 image of the manifest in no part" in lost["lost_images"].message
    assert "'img/P1_0001.nii.gz' (line 5)" in lost["lost_images"].message


def test_a_missing_class_is_an_error_in_train_and_a_warning_elsewhere() -> None:
    (finding,) = by_column(P5="train").values()
    assert (finding.severity, finding.message) == ("warning", "test has no image of 'ill'")
    (finding,) = by_column(P1="test", P3="test").values()
    assert (finding.severity, finding.message) == ("error", "train has no image of 'ill'")


def test_an_empty_test_part_is_an_error() -> None:
    told = by_column(P4="train", P5="train")
    assert told["empty_parts"].message == "the split has nobody in test"


def test_a_validation_part_that_is_the_test_part_is_an_error() -> None:
    told = by_column(P4="val test", P5="val test")
    assert told["validation_is_test"].severity == "error"
    assert "the validation part is the test part" in told["validation_is_test"].message
    assert "shared_patients" in told


def test_train_and_val_alone_are_warned_of() -> None:
    (finding,) = by_column(P4="val", P5="val").values()
    assert (finding.rule, finding.severity) == ("no_test_part", "warning")


def test_numbers_are_blocks_of_a_cross_validation() -> None:
    folds = {p: str(int(p[1:]) // 2) for p in SIX}
    assert by_column(folds) == {}
    told = by_column(folds, P1="0 2")
    assert "1 patient in both fold 0 and fold 2" in told["shared_patients"].message
    assert (
        told["tested_several_times"].message == "1 patient tested in several folds: 'P1' (2 times)"
    )
    told = by_column(folds, P4="5", P5="5")
    assert told["empty_parts"].message == ("fold 1 is followed by fold 5: what is between is empty")


@pytest.mark.parametrize(("word", "part"), [
    ("Train", "train"), ("TRAINING SET", "train"), ("tr", "train"), ("dev", "val"),
    ("validation_set", "val"), ("Hold-out", "test"), ("test_split", "test"), ("fold_3", 3),
    ("2.0", 2), ("7", 7), ("", None), (" - ", None),
])  # fmt: skip
def test_words_of_others_are_understood(word: str, part: str | int | None) -> None:
    assert part_of(word) == part


# --- files


def test_a_csv_of_parts_names_patients_or_images(tmp_path: Path) -> None:
    lines = [f"{p};{part}" for p, part in CLEAN.items()]
    assert by_file(tmp_path / "a.csv", "\n".join(["PatientID;Split", *lines])) == {}
    images = [f"{p}_{i:04d},{part}" for p, part in CLEAN.items() for i in range(2)]
    assert by_file(tmp_path / "b.csv", "\n".join(["image,subset", *images])) == {}
    told = by_file(tmp_path / "c.csv", "\n".join(["image,subset", *images[:-1], "x_1,test"]))
    assert told["unknown_names"].severity == "error"
    assert "1 name of c.csv (matched by image name) not in the manifest: 'x_1'" in (
        told["unknown_names"].message
    )
    assert set(told) == {"unknown_names", "lost_images"}


def test_a_long_csv_has_a_line_for_each_fold_and_patient(tmp_path: Path) -> None:
    lines = [
        f"{fold},{p},{'test' if int(p[1:]) // 2 == fold else 'train'}"
        for fold in range(3) for p in SIX
    ]  # fmt: skip
    text = "\n".join(["fold,patient,part", *lines])
    assert by_file(tmp_path / "a.csv", text) == {}
    told = by_file(tmp_path / "b.csv", text + "\n1,P0,test")
    assert "in both train of fold 1 and test of fold 1: 'P0'" in told["shared_patients"].message
    assert "tested_several_times" in told


def test_a_plan_of_ours_is_clean_and_one_that_was_changed_is_not(tmp_path: Path) -> None:
    manifest = manifest_of()
    plan = plan_folds(manifest, load_config(["split.num_folds=3"]).split)
    save_plan(plan, tmp_path / "plan.csv")
    text = (tmp_path / "plan.csv").read_text()
    assert by_file(tmp_path / "plan.csv", text) == {}
    rows = [line for line in text.splitlines() if not line.startswith(("P0,", "#"))]
    (tmp_path / "less.csv").write_text("\n".join(rows))
    findings, _ = audit_parts(manifest, AuditConfig(part_file=str(tmp_path / "less.csv")))
    lost = [finding.message for finding in findings if finding.rule == "lost_patients"]
    assert len(lost) == 3
    assert lost[0] == "1 patient of the manifest in no part of fold 0: 'P0' (line 2)"


def test_nnunets_folds(tmp_path: Path) -> None:
    """nnU-Net names cases, that is files without channel number and suffix."""
    names = {p: [f"{p}_{i:04d}" for i in range(2)] for p in SIX}
    folds = [
        {"train": [n for p in SIX if int(p[1:]) // 2 != f for n in names[p]],
         "val": [n for p in SIX if int(p[1:]) // 2 == f for n in names[p]]}
        for f in range(3)
    ]  # fmt: skip
    told = by_file(tmp_path / "splits_final.json", json.dumps(folds))
    assert set(told) == {"no_test_part"}
    folds[1]["train"].append("P2_0001")
    told = by_file(tmp_path / "splits_final.json", json.dumps(folds))
    assert told["shared_patients"].message == (
        "1 patient in both train of fold 1 and val of fold 1: 'P2' (line 7 in train of fold 1, "
        "line 6 in val of fold 1)"
    )


@pytest.mark.parametrize(("name", "text", "message"), [
    ("a.json", "{", "is not JSON"),
    ("a.json", '{"train": []}', "needs nnU-Net's form"),
    ("a.json", '[{"train": ["x"], "val": ["y"]}]', "none of its names is a patient id or an"),
    ("a.csv", "patient_id,fold\nQ1,0\n", "it has 'Q1', the manifest e.g. patient 'P0'"),
    ("a.csv", "patient_id,colour\nP0,red\n", "needs a column patient_id or image_path, and"),
    ("a.csv", "patient_id,part\nP0,red\n", "unknown part 'red'; allowed are words for train"),
    ("a.csv", "patient_id,part\nP0,train\nP1\n", "record 3 has 1 cells, the header 2"),
    ("a.csv", "patient_id,part\n", "has no rows below its header"),
    ("a.csv", "patient_id,part\nP0,\n", "every row is blank"),
    ("a.csv", "patient_id,part\nP0,train\nP1,3\n", "both fold numbers ('3') and words ('train')"),
    ("a.csv", "patient_id,fold,part\nP0,1,3\n", "unknown part '3'; beside a fold column"),
    ("a.csv", "", "its columns are none"),
])  # fmt: skip
def test_a_wrong_file_is_told_in_one_message(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        by_file(tmp_path / name, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"audit.part_file {tmp_path / name}: ")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    config = AuditConfig(part_file=str(tmp_path / "none.csv"))
    with pytest.raises(UserError, match=r"none.csv: No such file or directory\.$"):
        audit_parts(manifest_of(), config)
    (tmp_path / "latin.csv").write_bytes(b"patient_id,part\nJ\xf6rg,train\n")
    with pytest.raises(UserError, match="is not UTF-8"):
        audit_parts(manifest_of(), AuditConfig(part_file=str(tmp_path / "latin.csv")))


def test_an_unknown_column_or_two_sources_are_told() -> None:
    with pytest.raises(UserError) as caught:
        audit_parts(manifest_of(), AuditConfig(part_column="splt"))
    assert str(caught.value) == (
        "audit.part_column=splt: m.csv has no such column; its columns are 'patient_id', "
        "'image_path', 'label', 'part'."
    )
    with pytest.raises(UserError, match="give one of them, not both"):
        audit_parts(manifest_of(), AuditConfig(part_column="part", part_file="x.csv"))


@pytest.mark.skipif(DATA is None, reason="needs PATIENTFOLD_DATA")
def test_the_split_that_came_with_the_paediatric_radiographs_shares_170_ids() -> None:
    manifest = read_manifest(load_config(["experiment=kermany"]).manifest)
    told = found(audit_parts(manifest, AuditConfig(part_column="original_split")))
    assert told["shared_patients"].message.startswith("170 patients in both train and test: ")


def test_an_image_level_split_of_many_is_found_at_once() -> None:
    """Ten thousand patients: as sets of rows this took minutes."""
    num = 50_000
    generator = np.random.default_rng(0)
    patients = [f"P{i // 5:05d}" for i in range(num)]
    table = pd.DataFrame({
        "patient_id": patients, "group": patients, "line": np.arange(2, num + 2),
        "image_path": [f"{i}.png" for i in range(num)],
        "label": np.where(generator.random(num) < 0.3, "ill", "well"),
        "fold": generator.integers(0, 5, num).astype(str),
    })  # fmt: skip
    manifest = Manifest(Path("m.csv"), Path(), ("well", "ill"), table)
    findings, split = audit_parts(manifest, AuditConfig(part_column="fold"))
    shared = [finding for finding in findings if finding.rule == "shared_patients"]
    assert len(shared) == 10
    assert len(split.parts) == 10
