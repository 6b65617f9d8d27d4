"""Files of splits: each form is read, names are matched, and a wrong file is refused."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from pipeline.audit.foreign import audit_parts
from pipeline.audit.report import split_of
from pipeline.commands.door import load_config
from pipeline.config import AuditConfig, UserError
from pipeline.manifest import Finding, Manifest
from pipeline.splits import load_plan, plan_folds, save_plan
from pipeline.splits.quality import Split

SIX = [f"P{i}" for i in range(6)]
PartName = Literal["train", "val", "test"]
CLEAN = {"P0": "train", "P1": "train", "P2": "train", "P3": "train", "P4": "test", "P5": "test"}


def manifest_of(
    patients: Sequence[str] = SIX, image: str = "img/{patient}_{i:04d}.nii.gz"
) -> Manifest:
    """Two images of each patient, every other one ill."""
    rows = [
        (
            patient,
            image.format(patient=patient, i=i),
            ("well", "ill")[number % 2],
            patient,
            2 + 2 * number + i,
        )
        for number, patient in enumerate(patients)
        for i in range(2)
    ]
    table = pd.DataFrame(rows, columns=["patient_id", "image_path", "label", "group", "line"])
    return Manifest(Path("m.csv"), Path(), ("well", "ill"), table)


def audited(
    path: Path, text: str, manifest: Manifest | None = None
) -> tuple[dict[str, Finding], Split]:
    """The first finding of each rule, and the split."""
    path.write_text(text, encoding="utf-8")
    findings, split = audit_parts(manifest or manifest_of(), AuditConfig(part_file=str(path)))
    return {finding.rule: finding for finding in reversed(findings)}, split


def sizes(split: Split) -> list[tuple[str, str, int, int]]:
    return [(p.fold, p.part, p.num_patients, p.num_images) for p in split.parts]


def csv_of(parts: Mapping[str, str], header: str = "patient_id,part") -> str:
    return "\n".join([header, *(f"{name},{part}" for name, part in parts.items())])


# --- words and columns


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (["training", "Training", "train", "tr", "Holdout", "test"], ["train", "test"]),
        (["dev", "val", "train", "fit", "ts", "te"], ["train", "val", "test"]),
        (["0", "fold 0", "1.0", "fold_1", "2", "f2"], ["train", "test"] * 3),
    ],
)
def test_synonyms_are_one_part(tmp_path: Path, values: Sequence[str], parts: list[str]) -> None:
    _, split = audited(tmp_path / "a.csv", csv_of(dict(zip(SIX, values, strict=True))))
    assert [part.part for part in split.parts] == parts
    assert sum(part.num_patients for part in split.parts if part.part != "train" or len(parts) < 4)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["Discovery", "Validation"], {"Discovery": "train", "Validation": "test"}),
        ([" set-A ", "SET_B cohort"], {"Set A": "train", "set b": "test"}),
        (["1", "2.0"], {"1": "train", "2": "test"}),
        (["-", "+"], {"-": "train", "+": "test"}),
        (["Ableitung", "Prüfung"], {"ableitung": "train", "PRÜFUNG": "test"}),
        (["none", "excluded"], {"none": "train", "Excluded": "test"}),
        (["training", "Replication"], {"Replication": "test"}),
    ],
)
@pytest.mark.parametrize("source", ["column", "csv", "csv of folds"])
def test_words_of_others_can_be_mapped(
    tmp_path: Path, source: str, values: list[str], words: dict[str, PartName]
) -> None:
    """Without the mapping they are unknown, or mean something else."""
    parts = {patient: values[i > 3] for i, patient in enumerate(SIX)}
    manifest, path = manifest_of(), tmp_path / "split.csv"
    manifest = replace(
        manifest,
        table=manifest.table.assign(where=manifest.table["patient_id"].map(parts).to_numpy()),
    )
    path.write_text(csv_of(parts), encoding="utf-8")
    if source == "csv of folds":
        lines = [f"{fold},{p},{parts[p]}" for fold in (0, 1) for p in SIX]
        path.write_text("\n".join(["fold,patient_id,part", *lines]), encoding="utf-8")
    config = AuditConfig(part_file=str(path), words=words)
    if source == "column":
        config = AuditConfig(part_column="where", words=words)
    _, split = audit_parts(manifest, config)
    folds = ["0", "1"] if source == "csv of folds" else [""]
    assert sizes(split) == [
        of_part for fold in folds for of_part in ((fold, "train", 4, 8), (fold, "test", 2, 4))
    ]
    try:
        assert sizes(audit_parts(manifest, replace(config, words=None))[1]) != sizes(split)
    except UserError as error:
        assert "unknown part" in str(error) or "blank" in str(error)  # noqa: PT017


ALLOWED = "; allowed are words for train, val and test (also training, validation, dev, holdout, "


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"Validation": "test"}, "split.csv: unknown part 'Discovery'" + ALLOWED),
        ({"Validation": "test"}, "; other words can be mapped: 'audit.words={Discovery: train, "),
        (
            {"Discvery": "train", "Validation": "test"},
            "split.csv, which has 'Discovery', 'Validation'; unknown there: 'Discovery'" + ALLOWED,
        ),
        ({"Discvery": "train", "Validation": "test"}, "audit.words: 'Discvery' is not in audit."),
        (
            {"Discovery": "train", "discovery_": "val", "Validation": "test"},
            "audit.words: 'Discovery' is mapped to train and 'discovery_' to val, but they are one",
        ),
    ],
)
def test_a_word_that_does_not_fit_is_told_with_what_is_there(
    tmp_path: Path, words: dict[str, PartName], message: str
) -> None:
    path = tmp_path / "split.csv"
    path.write_text(csv_of({p: "Validation" if p > "P3" else "Discovery" for p in SIX}))
    with pytest.raises(UserError) as caught:
        audit_parts(manifest_of(), AuditConfig(part_file=str(path), words=words))
    assert message in str(caught.value)


def test_a_file_without_words_takes_no_mapping(tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": SIX[:4], "val": SIX[4:]}]))
    with pytest.raises(UserError, match=r"audit.words: splits_final.json has no column of words"):
        audit_parts(manifest_of(), AuditConfig(part_file=str(path), words={"a": "train"}))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", ["PatientID,Split", "Subject ID,Fold", "case,subset"])
def test_headers_and_separators_of_others(tmp_path: Path, separator: str, header: str) -> None:
    text = csv_of(CLEAN, header).replace(",", separator)
    found, split = audited(tmp_path / "a.csv", f"\ufeff{text}\n\n")
    assert found == {}
    assert split.source == "a.csv (matched by patient id)"
    assert sizes(split) == [("", "train", 4, 8), ("", "test", 2, 4)]


# --- names


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("img/{patient}_{i:04d}.nii.gz", "image path"),
        ("./img/{patient}_{i:04d}.nii.gz", "image path"),
        ("img\\{patient}_{i:04d}.nii.gz", "image path"),
        ("/data/of/somebody/img/{patient}_{i:04d}.nii.gz", "the last 2 parts of the path"),
        ("{patient}_{i:04d}.nii.gz", "image file name"),
        ("other/{patient}_{i:04d}.nii.gz", "image file name"),
        ("{patient}_{i:04d}", "image name"),
        ("{patient}_{i:04d}.npz", "image name"),
    ],
)
def test_images_are_known_by_any_of_their_names(tmp_path: Path, name: str, kind: str) -> None:
    parts = {name.format(patient=p, i=i): part for p, part in CLEAN.items() for i in range(2)}
    found, split = audited(tmp_path / "a.csv", csv_of(parts, "image,subset"))
    assert found == {}
    assert split.source == f"a.csv (matched by {kind})"
    assert sizes(split) == [("", "train", 4, 8), ("", "test", 2, 4)]


def test_a_case_of_several_channels(tmp_path: Path) -> None:
    """nnU-Net's case_0000.nii.gz and case_0001.nii.gz are the case `case`."""
    manifest = manifest_of(image="img/case{patient}_{i:04d}.nii.gz")
    parts = {f"case{p}": part for p, part in CLEAN.items()}
    found, split = audited(tmp_path / "a.csv", csv_of(parts, "case,part"), manifest)
    assert found == {}
    assert split.source == "a.csv (matched by case name)"
    assert sizes(split) == [("", "train", 4, 8), ("", "test", 2, 4)]


def test_names_with_points_have_no_suffix(tmp_path: Path) -> None:
    manifest = manifest_of(["1.2.84", "1.2.9", "1.3.1", "1.3.2"], "{patient}.{i}.dcm")
    uids = [f"{p}.{i}" for p in manifest.patients for i in range(2)]
    parts = dict(zip(uids, ["train"] * 4 + ["test"] * 4, strict=True))
    found, split = audited(tmp_path / "a.csv", csv_of(parts, "image,part"), manifest)
    assert found == {}
    assert split.source == "a.csv (matched by image name)"


def test_ids_that_lost_their_zeros(tmp_path: Path) -> None:
    """A program took them for numbers: 007 became 7."""
    manifest = manifest_of(["007", "010", "011", "123", "124", "125"])
    parts = dict(zip(["7", "10", "00011", "123", "124", "125"], CLEAN.values(), strict=True))
    found, split = audited(tmp_path / "a.csv", csv_of(parts), manifest)
    assert found == {}
    assert split.source == "a.csv (matched by patient id, differently written)"


def test_a_file_name_of_two_patients_means_neither(tmp_path: Path) -> None:
    manifest = manifest_of(image="{patient}/{i}.png")
    table = manifest.table.assign(
        image_path=[*manifest.table["image_path"][:-2], "P5/left/a.png", "P5/right/a.png"]
    )
    manifest = replace(manifest, table=table)
    found, _ = audited(tmp_path / "a.csv", "file,part\n0.png,train\na.png,test", manifest)
    finding = found["unknown_names"]
    assert finding.message == (
        "1 name of a.csv (matched by image file name) not in the manifest, or of several of its "
        "patients: '0.png'"
    )
    assert found["lost_patients"].message.startswith("5 of 6 patients in no part")


def test_two_names_that_would_be_one_mean_nothing(tmp_path: Path) -> None:
    """train/a.png and test/a.png are two images elsewhere; here is one a.png."""
    manifest = manifest_of(image="{patient}_{i}.png")
    text = "file,part\nx/P0_0.png,train\ny/P0_0.png,test\nx/P1_0.png,train\nx/P2_0.png,test"
    found, split = audited(tmp_path / "a.csv", text, manifest)
    assert "2 names of a.csv" in found["unknown_names"].message
    assert "shared_patients" not in found
    assert sizes(split) == [("", "train", 1, 1), ("", "test", 1, 1)]


def test_the_better_of_two_columns_is_used(tmp_path: Path) -> None:
    rows = [f"other{i},{p},{part}" for i, (p, part) in enumerate(CLEAN.items())]
    found, split = audited(tmp_path / "a.csv", "\n".join(["image,patient,part", *rows]))
    assert found == {}
    assert split.source == "a.csv (matched by patient id)"


def test_the_column_of_which_a_larger_share_is_known_is_used(tmp_path: Path) -> None:
    rows = [f"{p}_{i:04d},{p},{part}" for p, part in CLEAN.items() for i in range(9)]
    found, split = audited(tmp_path / "a.csv", "\n".join(["image,patient,part", *rows]))
    assert found == {}
    assert split.source == "a.csv (matched by patient id)"


def test_unknown_names_are_errors(tmp_path: Path) -> None:
    text = csv_of(CLEAN | {f"Q{i}": "train" for i in range(7)})
    finding = audited(tmp_path / "a.csv", text)[0]["unknown_names"]
    assert finding.severity == "error"
    assert finding.message == (
        "7 names of a.csv (matched by patient id) not in the manifest, or of several of its "
        "patients: 'Q0', 'Q1', 'Q2', 'Q3', 'Q4' and 2 more"
    )


def test_rows_that_are_left_out_are_known_and_excuse_nobody_else(tmp_path: Path) -> None:
    gone = pd.DataFrame({"patient_id": ["Q0", "Q1"], "image_path": ["Q0.png", "Q1.png"]})
    manifest = replace(manifest_of(), left_out=gone)
    text = csv_of(CLEAN | {"Q0": "train", "Q1": "test"})
    found, split = audited(tmp_path / "a.csv", text, manifest)
    assert found == {}
    assert sum(num for _, _, num, _ in sizes(split)) == len(CLEAN)
    finding = audited(tmp_path / "a.csv", text + "\nQ2,train", manifest)[0]["unknown_names"]
    assert finding.severity == "error"
    assert finding.message.startswith("1 name of a.csv")


def test_numbers_in_an_image_column_are_images(tmp_path: Path) -> None:
    """Patients 0 to 5 with the images 0 to 11: each number but the last six may be either."""
    table = manifest_of().table
    ids = table["patient_id"].str[1:]
    table = table.assign(patient_id=ids, group=ids, image_path=[f"{i}.png" for i in range(12)])
    manifest = replace(manifest_of(), table=table)
    text = "\n".join(["image_id,part", *(f"{i},{('train', 'test')[i % 2]}" for i in range(6))])
    found, split = audited(tmp_path / "a.csv", text, manifest)
    assert split.source == "a.csv (matched by image name)"
    assert found["shared_patients"].message.startswith("3 of 3 patients in both train and test")
    _, split = audited(tmp_path / "a.csv", text.replace("image_id", "patient_id"), manifest)
    assert split.source == "a.csv (matched by patient id)"


# --- forms


def test_one_patient_on_two_lines_of_a_csv(tmp_path: Path) -> None:
    found, split = audited(tmp_path / "a.csv", csv_of(CLEAN) + "\nP0,test\nP1,train")
    assert sizes(split) == [("", "train", 4, 8), ("", "test", 3, 6)]
    (finding,) = found.values()
    assert finding.severity == "error"
    assert finding.message == (
        "1 of 6 patients in both train and test: 'P0' (line 2 in train, line 2 in test)"
    )


def test_images_of_a_patient_on_both_sides(tmp_path: Path) -> None:
    images = {f"{p}_{i:04d}": ("train", "test")[i] for p in SIX for i in range(2)}
    (finding,) = audited(tmp_path / "a.csv", csv_of(images, "image,fold"))[0].values()
    assert finding.message.startswith("6 of 6 patients in both train and test: 'P0' (line 2 in tr")


def test_a_long_csv_has_a_line_for_each_fold_and_patient(tmp_path: Path) -> None:
    lines = [
        f"fold_{fold},{p},{'test' if int(p[1:]) // 2 == fold else 'train'}"
        for fold in range(3)
        for p in SIX
    ]
    text = "\n".join(["fold,patient,part", *lines])
    found, split = audited(tmp_path / "a.csv", text)
    assert found == {}
    assert sizes(split)[:2] == [("0", "train", 4, 8), ("0", "test", 2, 4)]
    found, _ = audited(tmp_path / "a.csv", text + "\nfold_1,P0,test")
    assert set(found) == {"shared_patients", "tested_several_times"}
    assert found["shared_patients"].message.startswith(
        "1 of 6 patients in both train and test of fold 1: 'P0'"
    )


def test_a_fold_of_blanks_is_reported(tmp_path: Path) -> None:
    lines = [f"{fold},{p},{part if fold else ''}" for fold in range(2) for p, part in CLEAN.items()]
    found, _ = audited(tmp_path / "a.csv", "\n".join(["fold,patient,part", *lines]))
    assert found["empty_parts"].message == "fold 0 has nobody in test, train"
    assert found["lost_patients"].message.startswith("6 of 6 patients in no part of fold 0: ")


def test_our_own_plans_are_clean(tmp_path: Path) -> None:
    """Repeats and a locked part included."""
    manifest = manifest_of([f"P{i:02d}" for i in range(40)])
    for overrides in ([], ["split.repeats=2"], ["split.locked_fraction=0.2"]):
        plan = plan_folds(
            manifest, load_config(["manifest=demo", "split.num_folds=4", *overrides]).split
        )
        save_plan(plan, tmp_path / "plan.csv")
        found, split = audited(tmp_path / "plan.csv", (tmp_path / "plan.csv").read_text(), manifest)
        assert found == {}
        assert {p.fold for p in split.parts} == {str(i) for i in range(plan.num_folds)}
        for fold, ours in enumerate(plan.folds):
            counted = {p.part: p.num_patients for p in split.parts if p.fold == str(fold)}
            assert counted.pop("locked", 0) == len(plan.locked)
            assert counted == {
                "train": len(ours.train),
                "val": len(ours.val),
                "test": len(ours.test),
            }


def test_a_plan_that_was_changed_is_not_clean(tmp_path: Path) -> None:
    """A line cut out, one of a family locked away, one purged."""
    rows = [[p, p, str(i // 2), str((i // 2 + 1) % 3)] for i, p in enumerate(SIX)]

    def text(changed: list[list[str]]) -> str:
        return "\n".join(
            ",".join(r) for r in [["patient_id", "group", "fold", "val_fold"], *changed]
        )

    for fine in (rows, [[*row[:3], ""] for row in rows]):
        assert set(audited(tmp_path / "p.csv", text(fine))[0]) == {"plan_json"}
    found, _ = audited(tmp_path / "p.csv", text(rows[1:]))
    assert found["lost_patients"].message == (
        "1 of 6 patients in no part of any fold of p.csv (matched by patient id): 'P0' (line 2)"
    )
    manifest = manifest_of()
    family = manifest.table.assign(group=manifest.table["group"].replace("P1", "P0"))
    moved = [[*row[:2], "locked", ""] if row[0] == "P1" else row for row in rows]
    path = tmp_path / "p.csv"
    path.write_text(text(moved))
    related = replace(manifest, table=family)
    findings, _ = audit_parts(related, AuditConfig(part_file=str(path)))
    apart = [f.message for f in findings if f.rule == "shared_groups"]
    assert [message.split(" in both ")[1] for message in apart] == [
        "test and locked of fold 0: 'P0' (line 2 in test) and 'P1' (line 4 in locked)",
        "val and locked of fold 1: 'P0' (line 2 in val) and 'P1' (line 4 in locked)",
        "train and locked of fold 2: 'P0' (line 2 in train) and 'P1' (line 4 in locked)",
    ]
    purged = [[*row[:2], "purged", ""] if row[0] == "P1" else row for row in rows]
    found, split = audited(tmp_path / "p.csv", text(purged))
    assert "lost_patients" not in found
    assert sizes(split)[:3] == [("0", "train", 2, 4), ("0", "val", 2, 4), ("0", "test", 1, 2)]


DAYS = [f"2020-0{month}-15" for month in range(1, 7)]
TEMPORAL = [
    "manifest=demo",
    "split=temporal",
    "manifest.columns.date=date",
    f"split.test_from={DAYS[4]}",
    "split.val_fraction=0.4",
]


def saved_temporal_plan(path: Path) -> Manifest:
    """The early images of late patients are purged; P00 is early, and P04 of its family late."""
    manifest = manifest_of([f"P{i:02d}" for i in range(20)])
    days = [DAYS[(i // 2 + i % 2 * (i // 2 % 3)) % 6] for i in range(40)]
    family = manifest.table["group"].replace("P04", "P00")
    manifest = replace(manifest, table=manifest.table.assign(date=days, group=family))
    plan = plan_folds(manifest, load_config(TEMPORAL).split)
    assert plan.purged_patients == {"P00"}
    assert len(plan.purged_images) >= 4
    save_plan(plan, path)
    return manifest


def test_images_that_our_plan_purged_are_in_no_part(tmp_path: Path) -> None:
    """They are counted nowhere and not lost, as in the report of the plan itself."""
    manifest = saved_temporal_plan(tmp_path / "plan.csv")
    plan = load_plan(tmp_path / "plan.csv", manifest)
    found, split = audited(tmp_path / "plan.csv", (tmp_path / "plan.csv").read_text(), manifest)
    assert found == {}
    rows = manifest.table["image_path"].isin(plan.purged_images)
    in_use = replace(manifest, purged=frozenset(rows.index[rows]))
    ours = split_of(plan, in_use, load_config(TEMPORAL).split).parts
    assert set(split.parts) == set(ours)
    assert sum(p.num_images for p in split.parts) == len(manifest) - len(plan.purged_images)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("json_text", "why"),
    [
        (None, "plan.json: cannot be read: No such file or directory."),
        ("", "plan.csv: is damaged (JSONDecodeError("),
        ("[" * 100_000, "plan.csv: is damaged (RecursionError("),
        ("null", "plan.csv: is damaged (TypeError("),
        ("[]", "plan.csv: is damaged (TypeError("),
        ("{}", "plan.csv: is damaged (KeyError('schema'))."),
        (b"\xff", "plan.csv: is damaged ("),
        (
            {"purged_images": []},
            "plan.csv: was changed after it was made (its hash does not match).",
        ),
        ({"purged_images": ["img/P00_0000.nii.gz"]}, "plan.csv: was changed after it was made"),
        ({"scheme": 3}, "plan.csv: was changed after it was made"),
        ({"schema": 1}, "plan.csv: schema 4 expected, got 1; make the plan again."),
        ({"content_hash": ""}, "plan.csv: was changed after it was made"),
    ],
)
def test_a_plan_json_that_does_not_fit_is_reported_and_not_believed(
    tmp_path: Path, json_text: object, why: str
) -> None:
    """Else an edited list could hide images from the audit."""
    path = tmp_path / "plan.csv"
    manifest = saved_temporal_plan(path)
    header = path.with_suffix(".json")
    if isinstance(json_text, dict):
        header.write_text(json.dumps(json.loads(header.read_text()) | json_text))
    elif json_text is None:
        header.unlink()
    else:
        header.write_bytes(json_text if isinstance(json_text, bytes) else str(json_text).encode())
    found, split = audited(path, path.read_text(), manifest)
    finding = found.pop("plan_json")
    assert found == {}
    assert finding.severity == "warning"
    assert why in finding.message
    assert finding.message.startswith(f"plan {tmp_path}/plan.")
    assert finding.message.endswith(
        " So images that it purged, if any, are counted in their patient's part."
    )
    assert sum(p.num_images for p in split.parts) == len(manifest) - 2  # P00's: plan.csv says that


def test_an_edited_plan_csv_is_audited_without_its_json(tmp_path: Path) -> None:
    path = tmp_path / "plan.csv"
    manifest = saved_temporal_plan(path)
    kept = [line for line in path.read_text().splitlines() if not line.startswith("P09")]
    found, _ = audited(path, "\n".join(kept), manifest)
    assert set(found) == {"plan_json", "lost_patients"}
    assert "plan.csv: was changed after it was made" in found["plan_json"].message
    assert "1 of 20 patients in no part" in found["lost_patients"].message


def test_nnunets_folds(tmp_path: Path) -> None:
    """nnU-Net names cases, that is files without channel number and suffix."""
    names = {p: [f"{p}_{i:04d}" for i in range(2)] for p in SIX}
    folds = [
        {
            "train": [n for p in SIX if int(p[1:]) // 2 != f for n in names[p]],
            "val": [n for p in SIX if int(p[1:]) // 2 == f for n in names[p]],
        }
        for f in range(3)
    ]
    found, split = audited(tmp_path / "splits_final.json", json.dumps(folds))
    assert set(found) == {"no_test_part"}
    assert sizes(split)[:2] == [("0", "train", 4, 8), ("0", "val", 2, 4)]
    folds[1]["train"].append("P2_0001")
    found, _ = audited(tmp_path / "splits_final.json", json.dumps(folds))
    assert found["shared_patients"].message == (
        "1 of 6 patients in both train and val of fold 1: 'P2' (line 7 in train, line 6 in val)"
    )


def test_numbers_in_a_json_are_names_and_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    manifest = manifest_of([str(i) for i in range(6)])
    fold = {"train": [0, 1, 2, 3], "val": [4, 5]}
    found, _ = audited(tmp_path / "a.json", "\ufeff" + json.dumps([fold]), manifest)
    assert set(found) == {"no_test_part"}


# --- wrong input


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "is not JSON (Expecting property name"),
        ("a.json", "[" * 100_000, "is not JSON ("),
        ("a.json", "[]", "needs nnU-Net's form, a list of"),
        ("a.json", "3", "needs nnU-Net's form, a list of"),
        ("a.json", '{"train": []}', "needs nnU-Net's form"),
        ("a.json", '[{"train": ["P0"]}]', "needs nnU-Net's form"),
        ("a.json", '[{"train": ["P0"], "val": ["P1"], "dev": ["P2"]}]', "needs nnU-Net's form"),
        ("a.json", '[{"train": "P0", "val": "P1"}]', "needs nnU-Net's form"),
        (
            "a.json",
            '[{"train": ["P0", {"train": ["P2"], "val": []}], "val": ["P1"]}]',
            "needs nnU-Net's form",
        ),
        ("plan.json", '{"schema": 4, "plan_hash": "1"}', "name the .csv file beside it"),
        ("a.json", '[{"train": [], "val": []}]', "it has none, the manifest e.g. patient 'P0'"),
        ("a.json", '[{"train": ["x"], "val": ["y"]}]', "none of its names is a patient id or an"),
        (
            "a.csv",
            "patient_id,fold\nQ1,0\n",
            "it has 'Q1', the manifest e.g. patient 'P0' and image 'img/P0_0000.nii.gz'.",
        ),
        (
            "a.csv",
            "patient_id,colour\nP0,red\n",
            "needs a column patient_id or image_path, and a "
            "column fold or part (or split); its columns are 'patient_id', 'colour'.",
        ),
        (
            "a.csv",
            "patient_id,part\nP0,red\nP1,blue\n",
            "unknown part 'blue', 'red'; allowed are words for train",
        ),
        (
            "a.csv",
            "patient_id,part\nP0,train\nP1\nP2,test,3\n",
            "line 3 has 1 cell, the header has 2; 1 more line of a wrong length.",
        ),
        ("a.csv", 'patient_id,part\n"P\n0",train\nP1\n', "line 4 has 1 cell, the header has 2."),
        ("a.csv", 'patient_id,part\nP0,"train\n', "line 2: badly quoted"),
        ("a.csv", "patient_id,part\n", "has no rows below its header"),
        ("a.csv", "patient_id,part\nP0,\n", "every row is blank; allowed are"),
        (
            "a.csv",
            "patient_id,part\nP0,train\nP1,3\n",
            "holds both fold numbers ('3') and words ('train'); use one kind.",
        ),
        (
            "a.csv",
            "patient_id,fold,part\nP0,1,3\n",
            "unknown part '3'; beside a fold column allowed",
        ),
        ("a.csv", "patient_id,fold,part\nP0,1,train\nP1,,test\n", "fold is blank for 1 of 2 rows."),
        (
            "a.csv",
            "patient_id,part\nP0,34.5\nP1,61.25\n",
            "'34.5', '61.25' cannot be a fold number;",
        ),
        ("a.csv", "patient_id,fold\nP0,34\nP1,61\n", "2 different numbers from 34 to 61 cannot be"),
        ("a.csv", "patient_id,fold,part\nP0,1,train\nP1,2,test\n", "names nobody in two folds"),
        ("a.csv", "patient_id,fold,val_fold\nP0,one,1\n", "a fold must be 0, 1, ..., got 'one'."),
        (
            "a.csv",
            f"patient_id,fold,val_fold\nP0,{10**30},1\n",
            "a fold must be 0, 1, ..., got '1000",
        ),
        ("a.csv", "patient_id,fold,val_fold\nP0,,\n", "every row is blank"),
        ("a.csv", "", "its columns are none."),
    ],
)
def test_a_wrong_file_is_reported_in_one_message(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        audited(tmp_path / name, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"audit.part_file {tmp_path / name}: ")


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    config = AuditConfig(part_file=str(tmp_path / "none.csv"))
    with pytest.raises(UserError, match=r"none.csv: No such file or directory\.$"):
        audit_parts(manifest_of(), config)
    (tmp_path / "latin.csv").write_bytes(b"patient_id,part\nJ\xf6rg,train\n")
    with pytest.raises(UserError, match=r"latin.csv: line 2: is not UTF-8; save the file"):
        audit_parts(manifest_of(), AuditConfig(part_file=str(tmp_path / "latin.csv")))


@pytest.mark.parametrize("column", ["splt", "line", "group", ""])
def test_an_unknown_column_is_reported(column: str) -> None:
    """The reader's own columns are none of the user's."""
    with pytest.raises(UserError) as caught:
        audit_parts(manifest_of(), AuditConfig(part_column=column))
    assert str(caught.value) == (
        f"audit.part_column={column}: m.csv has no such column; its columns are 'patient_id', "
        "'image_path', 'label'."
    )


def test_unknown_words_in_a_column_are_reported() -> None:
    manifest = manifest_of()
    values = np.array(["train", "a", "b", "c", "d", "e", "f", "g", "test", "1", "", "h"])
    unknown = replace(manifest, table=manifest.table.assign(where=values))
    with pytest.raises(UserError) as caught:
        audit_parts(unknown, AuditConfig(part_column="where"))
    assert str(caught.value).startswith(
        "audit.part_column=where: unknown part 'a', 'b', 'c', 'd', 'e' and 3 more; allowed are "
    )


def test_a_column_and_a_file_at_once_are_reported() -> None:
    with pytest.raises(UserError, match=r"part_column and audit.part_file: give one of them"):
        audit_parts(manifest_of(), AuditConfig(part_column="part", part_file="x.csv"))
