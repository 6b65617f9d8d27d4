"""Splits made elsewhere: every fault is reported, and a clean split is silent."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.audit.foreign import audit_parts
from pipeline.commands.door import load_config
from pipeline.config import AuditConfig, ColumnsConfig, ManifestConfig
from pipeline.manifest import Finding, Manifest, read_manifest
from pipeline.manifest.groups import identical_files
from pipeline.splits.quality import PartCounts, Split

DATA = os.environ.get("PATIENTFOLD_DATA")
SIX = [f"P{i}" for i in range(6)]
CLEAN = {"P0": "train", "P1": "train", "P2": "train", "P3": "train", "P4": "test", "P5": "test"}
BLOCKS = {patient: str(i // 2) for i, patient in enumerate(SIX)}
COLUMN = AuditConfig(part_column="part")


def manifest_of(
    parts: Mapping[str, str], groups: Mapping[str, str] | None = None, root: Path | None = None
) -> Manifest:
    """Six patients, two images each, every other one ill; two words are parts of two images."""
    values = {p: (v.split() * 2)[:2] if v.strip() else ["", ""] for p, v in parts.items()}
    rows = [
        (
            patient,
            f"{patient}_{i:04d}.png",
            ("well", "ill")[int(patient[1:]) % 2],
            (groups or {}).get(patient, patient),
            2 + 2 * number + i,
            values[patient][i],
        )
        for number, patient in enumerate(SIX)
        for i in range(2)
    ]
    columns = ["patient_id", "image_path", "label", "group", "line", "part"]
    table = pd.DataFrame(rows, columns=columns)
    return Manifest(Path("m.csv"), root or Path(), ("well", "ill"), table)


def by_rule(answer: tuple[list[Finding], Split]) -> dict[str, Finding]:
    """Findings by their rule, of which none may have two."""
    rules = [finding.rule for finding in answer[0]]
    assert len(rules) == len(set(rules))
    return dict(zip(rules, answer[0], strict=True))


def by_column(
    parts: Mapping[str, str], links: Sequence[tuple[int, int]] = (), **of: str
) -> dict[str, Finding]:
    """Findings on a column; `of` changes the part of patients."""
    return by_rule(audit_parts(manifest_of({**parts, **of}), COLUMN, links))


def by_folds(tmp_path: Path, folds: Sequence[Mapping[str, Sequence[str]]]) -> list[Finding]:
    """Findings on patients listed fold by fold."""
    path = tmp_path / "folds.json"
    path.write_text(json.dumps(folds))
    return audit_parts(manifest_of(CLEAN), AuditConfig(part_file=str(path)))[0]


def files_of(manifest: Manifest, root: Path, **same: str) -> Manifest:
    """The manifest with files; `same` gives an image, here by its stem, the bytes of another."""
    for path in manifest.table["image_path"]:
        (root / path).write_text(same.get(Path(path).stem, path).ljust(20))
    manifest = replace(manifest, image_root=root)
    return replace(manifest, twin_digests=tuple(identical_files(manifest.image_files)))


# --- patients, pictures and groups on two sides


@pytest.mark.parametrize("parts", [CLEAN, BLOCKS, {**CLEAN, "P2": "val", "P3": "val"}])
def test_a_clean_split_is_silent(parts: Mapping[str, str]) -> None:
    findings, split = audit_parts(manifest_of(parts), COLUMN)
    assert findings == []
    assert split.source == "column 'part'"
    assert split.lines == ("split of column 'part': nobody is in two parts, and nobody is lost",)


def test_a_patient_on_both_sides_is_an_error_with_both_lines() -> None:
    (finding,) = by_column(CLEAN, P1="test train").values()
    assert (finding.rule, finding.severity) == ("shared_patients", "error")
    assert finding.message == (
        "1 of 6 patients in both train and test: 'P1' (line 5 in train, line 4 in test)"
    )


def test_five_patients_are_named_and_the_rest_counted() -> None:
    """Dealt by image, everybody is on both sides."""
    finding = by_column(dict.fromkeys(SIX, "train test"))["shared_patients"]
    assert finding.message.startswith("6 of 6 patients in both train and test: 'P0' (line 2 in")
    assert "'P4' (line 10 in train, line 11 in test) and 1 more" in finding.message
    assert "'P5'" not in finding.message


@pytest.mark.parametrize(
    ("words", "title"),
    [
        ("train val", "both train and val"),
        ("train test", "both train and test"),
        ("val test", "both val and test"),
    ],
)
def test_every_two_parts_are_compared(words: str, title: str) -> None:
    finding = by_column(CLEAN, P2="val", P3="val", P0=words)["shared_patients"]
    assert finding.message.startswith("1 of ")
    assert f"patients in {title}: 'P0' (line 2 in {words.split()[0]}, line 3 in" in finding.message


def test_blocks_that_share_patients_are_reported_in_one_finding() -> None:
    """Three blocks make three pairs, a hundred make 4,950; who was shared is no second fault."""
    (finding,) = by_column(BLOCKS, P1="0 2", P4="0 2").values()
    assert (finding.rule, finding.severity) == ("shared_patients", "error")
    assert finding.message == (
        "2 of 6 patients in more than one fold: 'P1' (line 4 in fold 0, line 5 in fold 2), "
        "'P4' (line 10 in fold 0, line 11 in fold 2)"
    )


def test_patients_that_belong_together_may_not_be_apart(tmp_path: Path) -> None:
    manifest = files_of(manifest_of(CLEAN, {"P4": "P0", "P1": "P1", "P3": "P1"}), tmp_path)
    (finding,) = audit_parts(manifest, COLUMN)[0]  # P1 and P3 are on one side
    assert (finding.rule, finding.severity) == ("shared_groups", "error")
    assert finding.message == (
        "1 group of patients that belong together (one study, family or image) in both train and "
        "test: 'P0' (line 2 in train) and 'P4' (line 10 in test)"
    )


def test_a_group_is_reported_beside_a_shared_patient_only_for_its_other_patients(
    tmp_path: Path,
) -> None:
    """To move P0 to one side does not mend a family with one more on the other."""
    alone = files_of(manifest_of({**CLEAN, "P0": "train test"}), tmp_path)
    assert set(by_rule(audit_parts(alone, COLUMN))) == {"shared_patients"}
    family = files_of(manifest_of({**CLEAN, "P0": "train test"}, {"P2": "P0"}), tmp_path)
    found = by_rule(audit_parts(family, COLUMN))
    assert set(found) == {"shared_patients", "shared_groups"}
    assert "'P2' (line 6 in train) and 'P0' (line 3 in test)" in found["shared_groups"].message


def test_a_linked_picture_on_the_other_side_is_an_error_reported_once() -> None:
    links = [(9, 0), (0, 9), (2, 3), (0, 2)]  # P4's second, P0's first; others on one side
    (finding,) = by_column(CLEAN, links).values()
    assert (finding.rule, finding.severity) == ("shared_images", "error")
    assert finding.message == (
        "1 picture of several patients in both train and test: 'P0_0000.png' (line 2 in train) = "
        "'P4_0001.png' (line 11 in test)"
    )


def test_a_picture_of_one_patient_on_both_sides_is_a_shared_patient() -> None:
    assert set(by_column(CLEAN, [(2, 3)], P1="train test")) == {"shared_patients"}


def test_a_copied_file_explains_its_group(tmp_path: Path) -> None:
    """The fixture's reader puts patients with one file into one group; that is reported once."""
    manifest = files_of(manifest_of(CLEAN, {"P4": "P0"}), tmp_path, P4_0001="P0_0000.png")
    (finding,) = audit_parts(manifest, COLUMN)[0]
    assert finding.rule == "shared_images"
    assert "'P0_0000.png' (line 2 in train) = 'P4_0001.png' (line 11 in test)" in finding.message
    blocks = replace(manifest, table=manifest.table.assign(part=manifest_of(BLOCKS).table["part"]))
    (finding,) = audit_parts(blocks, COLUMN)[0]
    assert "in more than one fold: 'P0_0000.png' (line 2 in fold 0) = " in finding.message


def test_no_file_is_read() -> None:
    """There are no images at all, and it is not noticed: a million files would take long."""
    assert set(by_column({**CLEAN, "P1": "train test"})) == {"shared_patients"}
    (finding,) = audit_parts(manifest_of(CLEAN, {"P4": "P0"}), COLUMN)[0]
    assert finding.rule == "shared_groups"


@pytest.mark.parametrize("seed", range(20))
def test_as_many_are_shared_as_a_look_at_every_two_images_finds(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.choice(["train", "val", "test", ""], 12)
    groups = dict(zip(SIX, generator.choice(SIX[:4], 6), strict=True))
    whole = files_of(manifest_of(CLEAN, groups), tmp_path)
    table = whole.table.assign(part=values)
    findings, _ = audit_parts(replace(whole, table=table), COLUMN)
    rows = list(zip(table["patient_id"], table["group"], values, strict=True))
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        pairs = [(a, b) for a in rows for b in rows if (a[2], b[2]) == (one, other)]
        expected = {
            "shared_patients": {a[0] for a, b in pairs if a[0] == b[0]},
            "shared_groups": {a[1] for a, b in pairs if a[1] == b[1] and a[0] != b[0]},
        }
        found = {
            f.rule: int(f.message.split()[0])
            for f in findings
            if f"in both {one} and {other}:" in f.message
        }
        assert found == {rule: len(shared) for rule, shared in expected.items() if shared}


# --- lost, missing, empty


def test_lost_patients_are_errors_and_lost_images_warnings() -> None:
    lost = by_column(CLEAN, P0="", P1="train -")
    assert set(lost) == {"lost_patients", "lost_images"}
    assert lost["lost_patients"].severity == "error"
    assert lost["lost_patients"].message == (
        "1 of 6 patients in no part of column 'part': 'P0' (line 2)"
    )
    assert lost["lost_images"].severity == "warning"
    assert lost["lost_images"].message == (
        "1 of 12 images in no part of column 'part': 'P1_0001.png' (line 5)"
    )


def test_who_is_lost_in_every_fold_is_reported_once(tmp_path: Path) -> None:
    folds = [
        {"train": SIX[2:5], "val": ["P0"]},
        {"train": ["P0", *SIX[3:5]], "val": ["P2"]},
        {"train": ["P0", "P2"], "val": ["P3"]},
    ]
    lost = [f.message for f in by_folds(tmp_path, folds) if f.rule == "lost_patients"]
    source = "folds.json (matched by patient id)"
    assert lost == [
        f"2 of 6 patients in no part of any fold of {source}: 'P1' (line 4), 'P5' (line 12)",
        "1 of 6 patients in no part of fold 2: 'P4' (line 10)",
    ]


def test_purged_rows_need_no_part() -> None:
    manifest = manifest_of({**CLEAN, "P0": "train -"})
    assert by_rule(audit_parts(manifest, COLUMN)).keys() == {"lost_images"}
    assert audit_parts(replace(manifest, purged=frozenset({1})), COLUMN)[0] == []


def test_a_missing_class_is_an_error_in_train_and_a_warning_elsewhere() -> None:
    (finding,) = by_column(CLEAN, P5="train").values()
    assert (finding.rule, finding.severity) == ("missing_classes", "warning")
    assert finding.message == "test has no image of 'ill'"
    (finding,) = by_column(CLEAN, P1="test", P3="test").values()
    assert (finding.severity, finding.message) == ("error", "train has no image of 'ill'")


def test_folds_that_miss_a_class_are_reported_in_one_finding() -> None:
    """Three blocks of one class each: test misses the other class in each, train never."""
    found, _ = audit_parts(manifest_of({p: str(int(p[1:]) % 2 + 2) for p in SIX}), COLUMN)
    assert [(f.severity, f.message) for f in found] == [
        ("error", "train has no image of 'well' in 1 of 2 folds: 2"),
        ("warning", "test has no image of 'ill' in 1 of 2 folds: 2"),
        ("error", "train has no image of 'ill' in 1 of 2 folds: 3"),
        ("warning", "test has no image of 'well' in 1 of 2 folds: 3"),
    ]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (dict.fromkeys(SIX, "train"), "the split has nobody in test"),
        (dict.fromkeys(SIX, "test"), "the split has nobody in train"),
        (dict.fromkeys(SIX, "val"), "the split has nobody in train"),
        (dict.fromkeys(SIX, "0"), "fold 0 has nobody in train"),
    ],
)
def test_an_empty_part_is_an_error(parts: dict[str, str], message: str) -> None:
    finding = by_column(parts)["empty_parts"]
    assert (finding.severity, finding.message) == ("error", message)


def test_a_fold_without_anybody_is_reported(tmp_path: Path) -> None:
    folds = [{"train": SIX, "val": []}, {"train": SIX[:4], "val": SIX[4:]}]
    empty = [f.message for f in by_folds(tmp_path, folds) if f.rule == "empty_parts"]
    assert empty == ["fold 0 has nobody in val"]


def test_a_missing_fold_number_is_a_warning() -> None:
    (finding,) = by_column(BLOCKS, P4="5", P5="5").values()
    assert (finding.rule, finding.severity) == ("fold_numbers", "warning")
    assert finding.message == "fold numbers are missing: 1 is followed by 5"


# --- validation and test


def test_a_validation_part_that_is_the_test_part_is_an_error() -> None:
    finding = by_column(CLEAN, P4="val test", P5="test val")["validation_is_test"]
    assert finding.severity == "error"
    assert finding.message == (
        "the validation part is the test part (2 patients): what is chosen there (epoch, "
        "threshold, settings) makes the test result too good"
    )
    assert "validation_is_test" not in by_column(CLEAN, P4="val test", P5="test")


def test_a_fold_that_validates_on_its_test_part_is_named(tmp_path: Path) -> None:
    fine = {"train": SIX[:2], "val": SIX[2:4], "test": SIX[4:]}
    wrong = {"train": SIX[2:], "val": SIX[:2], "test": SIX[:2]}
    found = [f for f in by_folds(tmp_path, [fine, wrong]) if f.rule == "validation_is_test"]
    assert [f.message[:40] for f in found] == ["fold 1: the validation part is the test "]


def test_train_and_val_alone_are_warned_of() -> None:
    (finding,) = by_column(CLEAN, P4="val", P5="val").values()
    assert (finding.rule, finding.severity) == ("no_test_part", "warning")
    assert finding.message.startswith("train and val only: a result on val is too good if")


def test_never_and_several_times_tested(tmp_path: Path) -> None:
    """P0 is tested twice and P4 never; lost patients are reported elsewhere."""
    folds = [
        {"train": [p for p in SIX[:5] if p not in test], "test": test}
        for test in (["P0", "P1"], ["P0", "P2"], ["P3"])
    ]
    found = {f.rule: f for f in by_folds(tmp_path, folds_with_val(folds))}
    assert found["tested_several_times"].severity == "warning"
    assert found["tested_several_times"].message == (
        "1 of 6 patients tested in several folds: 'P0' (2 times)"
    )
    assert found["never_tested"].severity == "warning"
    assert found["never_tested"].message == "1 of 6 patients tested in no fold: 'P4'"


def folds_with_val(folds: Sequence[Mapping[str, list[str]]]) -> list[dict[str, list[str]]]:
    """The form of the file asks for a val part."""
    return [{**fold, "val": []} for fold in folds]


@pytest.mark.parametrize(
    "tests",
    [
        ("P0 P1", "P2 P3", "P4 P5"),
        ("P0 P1", "P2 P3", "P4 P5", "P0 P2", "P1 P4", "P3 P5"),
        ("P4 P5", "P4 P5"),
    ],
)
def test_equally_often_is_fine_and_so_is_one_test_part_for_all_folds(
    tmp_path: Path, tests: Sequence[str]
) -> None:
    folds = [{"train": [p for p in SIX if p not in test], "test": test.split()} for test in tests]
    rules = {finding.rule for finding in by_folds(tmp_path, folds_with_val(folds))}
    assert not rules & {"never_tested", "tested_several_times"}


def test_minus_one_is_trained_on_and_never_tested() -> None:
    """As scikit-learn's PredefinedSplit has it; -1 is not fold 1."""
    manifest = manifest_of({**BLOCKS, "P0": "-1", "P1": "-1"})
    (finding,), split = audit_parts(manifest, COLUMN)
    assert (finding.rule, finding.severity) == ("never_tested", "warning")
    assert finding.message == "2 of 6 patients tested in no fold: 'P0', 'P1'"
    assert [(p.fold, p.part, p.num_patients) for p in split.parts] == [
        ("1", "train", 4),
        ("1", "test", 2),
        ("2", "train", 4),
        ("2", "test", 2),
    ]
    found = by_column(BLOCKS, P0="-1 0")
    assert "'P0' (line 2 in fold -1, line 3 in fold 0)" in found["shared_patients"].message


# --- the table


def test_each_line_has_its_place(tmp_path: Path) -> None:
    """For the pictures of copies: a part, a block, or the fold that tests it."""
    lines = {f"P{i}": 2 + 2 * i for i in range(6)}
    manifest = manifest_of(CLEAN)
    places = audit_parts(manifest, COLUMN)[1].places
    assert {p: places[line] for p, line in lines.items()} == CLEAN
    blocks = audit_parts(manifest_of(BLOCKS), COLUMN)[1].places
    assert {p: blocks[line] for p, line in lines.items()} == {
        p: f"fold {number}" for p, number in BLOCKS.items()
    }
    path = tmp_path / "folds.json"
    folds = [{"train": SIX[2:], "val": SIX[:2]}, {"train": [*SIX[:2], *SIX[4:]], "val": SIX[2:4]}]
    path.write_text(json.dumps(folds))
    listed = audit_parts(manifest, AuditConfig(part_file=str(path)))[1].places
    assert [listed[line] for line in lines.values()] == [
        *["val of fold 0"] * 2,
        *["val of fold 1"] * 2,
        *["train"] * 2,
    ]


def test_the_parts_are_counted() -> None:
    _, split = audit_parts(manifest_of({**CLEAN, "P1": "train test"}), COLUMN)
    assert split.parts == (
        PartCounts("", "train", 4, 7, (2, 2), (4, 3)),
        PartCounts("", "test", 3, 5, (1, 2), (2, 3)),
    )


@pytest.mark.parametrize("seed", range(10))
def test_the_blocks_of_a_k_fold_are_counted_as_its_lists_are(tmp_path: Path, seed: int) -> None:
    """Train is computed from the blocks and not listed; leaks, blanks and -1 included."""
    generator = np.random.default_rng(seed)
    values = generator.choice(["0", "1", "2", "-1", ""], 12)
    manifest = manifest_of(dict.fromkeys(SIX, "0"))
    images = manifest.table["image_path"].to_numpy()
    blocks = replace(manifest, table=manifest.table.assign(part=values))
    _, split = audit_parts(blocks, COLUMN)
    lists = [
        {
            "train": images[(values != k) & (values != "")].tolist(),
            "test": images[values == k].tolist(),
            "val": [],
        }
        for k in sorted(set(values) & {"0", "1", "2"})
    ]
    (tmp_path / "folds.json").write_text(json.dumps(lists))
    _, listed = audit_parts(manifest, AuditConfig(part_file=str(tmp_path / "folds.json")))
    counts = [(p.part, *list(vars_of(p).values())[2:]) for p in split.parts]
    assert counts == [
        (p.part, *list(vars_of(p).values())[2:]) for p in listed.parts if p.part != "val"
    ]


def vars_of(part: PartCounts) -> dict[str, object]:
    return {name: getattr(part, name) for name in PartCounts.__slots__}


# --- real manifests


def test_the_users_own_column_names(make_cohort: Callable[..., ManifestConfig]) -> None:
    """A header that the settings map to our word, one of our words, and one they do not know."""
    config = make_cohort({p: ["well", "ill"] for p in SIX})
    path = Path(config.path)
    header, *rows = path.read_text().splitlines()
    lines = [f"{header},my_fold,who", *(f"{row},{row[1]},{row[1]}" for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    mapped = replace(config, columns=ColumnsConfig(fold="my_fold"))
    manifest = read_manifest(mapped)
    for asked in ("my_fold", "fold", "who"):
        found, split = audit_parts(manifest, AuditConfig(part_column=asked))
        assert found == []
        assert split.source == f"column '{asked}'"


def test_near_copies_on_two_sides_are_reported_but_no_error() -> None:
    manifest = manifest_of(CLEAN)
    row = manifest.table.reset_index().groupby("patient_id")["index"].first()
    apart, together = (row["P0"], row["P5"]), (row["P0"], row["P1"])
    assert (CLEAN["P0"], CLEAN["P5"], CLEAN["P1"]) == ("train", "test", "train")
    (finding,), split = audit_parts(manifest, COLUMN, near=[apart, together])
    assert finding.message in split.lines[0]
    assert "nobody is in two parts" not in split.lines[0]
    assert (finding.rule, finding.severity) == ("near_images", "warning")
    assert finding.message.startswith(
        "nearly the same: 1 picture of several patients in both train and test: "
    )
    assert "audit.near=error" in finding.message
    assert audit_parts(manifest, COLUMN, near=[together])[0] == []


def test_copies_that_the_reader_found(make_cohort: Callable[..., ManifestConfig]) -> None:
    config = make_cohort({p: ["well", "ill"] for p in SIX})
    path = Path(config.path)
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},part", *(f"{r},{CLEAN[r[:2]]}" for r in rows)]) + "\n")
    images = path.parent / "images"
    (images / "P5_01.png").write_bytes((images / "P3_00.png").read_bytes())
    mapped = replace(config, columns=ColumnsConfig(part="part"), largest_group=1.0)
    (finding,), _ = audit_parts(read_manifest(mapped), COLUMN)
    assert finding.message == (
        "1 picture of several patients in both train and test: "
        "'images/P3_00.png' (line 8 in train) = 'images/P5_01.png' (line 13 in test)"
    )


@pytest.mark.skipif(DATA is None, reason="needs PATIENTFOLD_DATA")
def test_the_split_that_came_with_the_paediatric_radiographs_shares_170_ids() -> None:
    manifest = read_manifest(load_config(["experiment=kermany"]).manifest)
    found = by_rule(audit_parts(manifest, AuditConfig(part_column="original_split")))
    assert set(found) == {"shared_patients"}
    assert found["shared_patients"].message.startswith(
        "170 of 3,103 patients in both train and test: "
    )


@pytest.mark.slow
def test_a_set_with_a_fold_for_each_of_many_patients() -> None:
    """Where every fold listed its train part, 5,000 folds of 50,000 images would take 2 GB."""
    num = 50_000
    patients = [f"P{i // 10:05d}" for i in range(num)]
    table = pd.DataFrame(
        {
            "patient_id": patients,
            "group": patients,
            "line": np.arange(2, num + 2),
            "image_path": [f"{i}.png" for i in range(num)],
            "label": ["well", "ill"] * (num // 2),
            "part": [str(i // 10) for i in range(num)],
        }
    )
    manifest = Manifest(Path("m.csv"), Path(), ("well", "ill"), table)
    findings, split = audit_parts(manifest, COLUMN)
    assert findings == []
    assert len(split.parts) == 10_000
    assert split.parts[0] == PartCounts("0", "train", 4999, 49_990, (4999, 4999), (24_995, 24_995))
    leaky = replace(manifest, table=table.assign(part=[str(i % 5000) for i in range(num)]))
    finding = audit_parts(leaky, COLUMN)[0][0]
    assert finding.message.startswith(
        "5,000 of 5,000 patients in more than one fold: 'P00000' (line 2 in fold 0, line 3 in "
        "fold 1, line 4 in fold 2 and 7 more), "
    )
