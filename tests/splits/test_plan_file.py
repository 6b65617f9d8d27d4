"""A saved plan is the same plan, or it is refused."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import ColumnsConfig, ManifestConfig, SplitConfig, fingerprint
from pipeline.manifest import Manifest, read_manifest
from pipeline.splits import LeakageError, Plan, load_plan, plan_folds, save_plan

Cohort = Callable[..., ManifestConfig]
EDITED = "was changed after it was made"
PATIENTS = {f"P{i}": ["no", "yes"] if i % 2 else ["no", "no", "yes"] for i in range(9)}


@pytest.fixture
def config(make_cohort: Cohort) -> ManifestConfig:
    """Nine patients, of whom P3 and P4 share an image."""
    config = make_cohort(PATIENTS | {'P, "x" ü': ["no"]})
    images = Path(config.path).parent / "images"
    shutil.copyfile(images / "P3_00.png", images / "P4_00.png")
    return config


@pytest.fixture
def manifest(config: ManifestConfig) -> Manifest:
    return read_manifest(config)


@pytest.fixture
def plan(manifest: Manifest) -> Plan:
    return plan_folds(manifest, SplitConfig(num_folds=3, seed=5))


@pytest.fixture
def path(plan: Plan, tmp_path: Path) -> Path:
    save_plan(plan, tmp_path / "plan.csv")
    return tmp_path / "plan.csv"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def edit_json(path: Path, **changed: object) -> None:
    header = path.with_suffix(".json")
    values = json.loads(header.read_text())
    assert changed.keys() <= values.keys()
    header.write_text(json.dumps(values | changed))


def seal(path: Path) -> None:
    """Make the hash of the contents fit, as one would who forges a plan: the proofs must hold."""
    with path.open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    header = json.loads(path.with_suffix(".json").read_text())
    rest = {name: value for name, value in header.items() if name != "content_hash"}
    edit_json(path, content_hash=fingerprint([rest, rows]))


def refused(path: Path, manifest: Manifest | None = None) -> str:
    with pytest.raises(LeakageError) as caught:
        load_plan(path, manifest)
    assert str(path.parent) in str(caught.value)
    return str(caught.value)


def test_an_id_of_two_lines_comes_back(manifest: Manifest, tmp_path: Path) -> None:
    """No manifest has such ids any more; a plan of former days may."""
    names = {'P, "x" ü': 'P, "x"\nü'}
    table = manifest.table.replace({"patient_id": names, "group": names})
    manifest = replace(manifest, table=table)
    plan = plan_folds(manifest, SplitConfig(num_folds=3, seed=5))
    assert 'P, "x"\nü' in {patient for fold in plan.folds for patient in fold.test}
    save_plan(plan, tmp_path / "old.csv")
    assert load_plan(tmp_path / "old.csv") == plan


def test_a_plan_comes_back_as_it_was(path: Path, plan: Plan, manifest: Manifest) -> None:
    loaded = load_plan(path, manifest)
    assert loaded == plan
    assert loaded.hash == plan.hash
    assert [fold.test for fold in loaded.folds] == [fold.test for fold in plan.folds]
    assert load_plan(path) == plan


def test_the_same_plan_is_the_same_bytes(path: Path, tmp_path: Path) -> None:
    save_plan(load_plan(path), tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()
    assert (tmp_path / "again.json").read_bytes() == path.with_suffix(".json").read_bytes()
    assert b"\r" not in path.read_bytes()


def test_the_fold_column_says_who_tests_the_patient(path: Path, plan: Plan) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        first, *rows = csv.reader(file)
    assert first == ["patient_id", "group", "fold", "val_fold"]
    for fold in plan.folds:
        for patient in fold.test:
            numbers = [str(fold.index), str((fold.index - 1) % 3)]
            assert [patient, plan.groups[patient], *numbers] in rows
    assert "P4,P3," in path.read_text()


# --- edited


@pytest.mark.parametrize("patient", ["P1", "P4"])
def test_a_moved_patient_is_refused(path: Path, plan: Plan, patient: str) -> None:
    row = f"{patient},{plan.groups[patient]},"
    block = next(fold.index for fold in plan.folds if patient in fold.test)
    moved = (block + 1) % 3
    edit(path, f"{row}{block},{(block - 1) % 3}", f"{row}{moved},{(moved - 1) % 3}")
    assert EDITED in refused(path)
    seal(path)
    proof = "patients 'P3' and 'P4' belong together" if patient == "P4" else EDITED
    assert proof in refused(path)


def test_a_removed_a_doubled_and_a_swapped_row_are_refused(path: Path) -> None:
    *before, one, two = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for lines in ([*before, one], [*before, one, two, two], [*before, two, one]):
        path.write_text("".join(lines), encoding="utf-8")
        assert EDITED in refused(path)


def test_a_group_cut_in_the_file_is_refused(path: Path) -> None:
    edit(path, "P4,P3,", "P4,P4,")
    assert EDITED in refused(path)


def test_a_patient_doubled_under_a_recomputed_hash_is_refused(path: Path, plan: Plan) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(",".join(plan.rows[-1]) + "\n")
    seal(path)
    assert EDITED in refused(path)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("num_folds", 4, "fold 3: the val part has no patient"),
        ("num_folds", 2, "fold 2 is outside 0 to 1"),
        ("num_folds", 10**8, "100,000,000 folds, but its patients are tested 10 times in all"),
        ("repeats", 3, "a plan needs at least 3 folds per repeat"),
        ("plan_hash", "0" * 64, EDITED),
        ("num_folds", "3", "is damaged"),
        ("num_folds", None, "is damaged"),
        ("repeats", 0, "is damaged"),
        ("scheme", 3, "is damaged"),
    ],
)
def test_an_edited_header_is_refused(path: Path, key: str, value: object, why: str) -> None:
    edit_json(path, **{key: value})
    assert EDITED in refused(path)
    seal(path)
    assert why in refused(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 6),
        ("version", 2),
        ("scheme", "holdout"),
        ("parent_plan_hash", "1"),
        ("manifest_hash", "0" * 64),
        ("purged_images", ["P1_00.png"]),
        ("cuts", ["2020-01-01"]),
        ("content_hash", "0" * 64),
    ],
)
def test_every_word_of_the_header_is_under_the_hash(path: Path, key: str, value: object) -> None:
    edit_json(path, **{key: value})
    assert EDITED in refused(path)


def test_a_plan_of_another_schema_is_refused_as_such(path: Path) -> None:
    edit_json(path, schema=1)
    assert "schema 4 expected, got 1; make the plan again" in refused(path)


# --- of another manifest


def test_an_edited_manifest_hash_is_refused(path: Path, manifest: Manifest) -> None:
    edit_json(path, manifest_hash="0" * 64)
    seal(path)
    assert "the plan was made for another manifest (hash 000000000000" in refused(path, manifest)


def test_a_changed_label_is_refused(path: Path, config: ManifestConfig) -> None:
    edit(Path(config.path), "P1_00.png,no", "P1_00.png,yes")
    found = refused(path, read_manifest(config))
    assert "images, labels or groups differ" in found


def test_an_added_image_is_refused(path: Path, config: ManifestConfig) -> None:
    images = Path(config.path).parent / "images"
    (images / "new.png").write_bytes((images / "P1_00.png").read_bytes() + b"!")
    with Path(config.path).open("a") as file:
        file.write("P1,images/new.png,no\n")
    assert "images, labels or groups differ" in refused(path, read_manifest(config))


def test_a_new_link_between_folds_names_both_patients_and_the_repair(
    path: Path, plan: Plan, config: ManifestConfig
) -> None:
    images = Path(config.path).parent / "images"
    tested = {row[0]: row[2] for row in plan.rows}
    other = next(p for p in ("P6", "P7", "P8") if tested[p] != tested["P5"])
    shutil.copyfile(images / "P5_00.png", images / f"{other}_00.png")
    found = refused(path, read_manifest(config))
    assert "patients 'P5' (fold " in found
    assert f"and {other!r} (fold " in found
    assert "plan.action=repair" in found


def test_a_lost_and_an_added_patient_are_named(path: Path, config: ManifestConfig) -> None:
    csv_file = Path(config.path)
    lines = csv_file.read_text(encoding="utf-8").splitlines(keepends=True)
    csv_file.write_text("".join(line for line in lines if not line.startswith("P7")), "utf-8")
    assert "the manifest lacks 1 patient of the plan, e.g. 'P7'" in refused(
        path, read_manifest(config)
    )
    csv_file.write_text("".join(lines).replace("P8,", "Q8,"), "utf-8")
    assert "1 patient in no fold, e.g. 'Q8'" in refused(path, read_manifest(config))


# --- damaged


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_missing_file_is_named(path: Path, suffix: str) -> None:
    missing = path.with_suffix(suffix)
    missing.unlink()
    assert refused(path) == f"plan {missing}: cannot be read: No such file or directory."


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe", b"[" * 99_999])
def test_a_damaged_header_is_refused(path: Path, content: bytes) -> None:
    path.with_suffix(".json").write_bytes(content)
    assert "is damaged" in refused(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is damaged"),
        (b"\xff\xfe\n", "is damaged"),
        (b"patient_id,group,fold,val_fold\nP1,P1,one,\n", EDITED),
        (
            b"patient_id,group,fold\nP1,P1\n",
            "the columns must be patient_id, group, fold, val_fold",
        ),
        (b"patient,group,fold\nP1,P1,0\n", "the columns must be patient_id, group, fold, val_fold"),
        (b"patient_id,group,fold,val_fold\n", EDITED),
    ],
)
def test_a_damaged_table_is_refused(path: Path, content: bytes, why: str) -> None:
    path.write_bytes(content)
    assert why in refused(path)


def test_a_damaged_table_under_a_recomputed_hash_is_refused(path: Path) -> None:
    for rows, why in (("P1,P1,one two x,\n", "is damaged"), ("", "are tested 0 times in all")):
        path.write_text(f"patient_id,group,fold,val_fold\n{rows}")
        seal(path)
        assert why in refused(path)


def test_a_plan_of_strangers_is_named_as_such(path: Path, make_cohort: Cohort) -> None:
    other = read_manifest(make_cohort({f"Q{i}": ["no", "yes"] for i in range(9)}, name="other"))
    assert "none of its 10 patients, e.g. " in refused(path, other)


def test_the_json_of_a_plan_is_not_taken_for_its_csv(path: Path) -> None:
    assert f"name the plan's .csv file, {path}." in refused(path.with_suffix(".json"))


@pytest.mark.parametrize(
    ("val_from", "was", "now", "words"),
    [
        (
            None,
            "2020-02-01",
            "2020-05-01",  # P1, line 4
            "line 4 (patient 'P1', 2020-05-01) belongs to test by its date, "
            "not to train and val (2 images",
        ),
        (
            "2020-04-01",
            "2020-02-01",
            "2020-05-01",
            "line 4 (patient 'P1', 2020-05-01) belongs to test by its date, not to train (2 images",
        ),
        (
            "2020-04-01",
            "2020-02-01",
            "2020-04-30",
            "line 4 (patient 'P1', 2020-04-30) belongs to val by its date, not to train (2 images",
        ),
        (
            "2020-04-01",
            "2020-04-01",
            "2020-03-31",
            "line 8 (patient 'P3', 2020-03-31) belongs to the purged images by its date, "
            "not to val (1 image",
        ),
        (
            None,
            "P1_00.png,no,2020-02-01",
            "P1_00.png,no,2020-06-01",
            "line 4 (patient 'P1', 2020-06-01) belongs to test by its date, "
            "not to train and val (2 images",
        ),
        (
            None,
            "P5_00.png,no,2020-06-01",
            "P5_00.png,no,2020-01-01",
            "line 12 (patient 'P5', 2020-01-01) belongs to the purged images by its date, "
            "not to test (1 image",
        ),
    ],
)
def test_dates_that_changed_their_period_are_reported(
    make_cohort: Cohort, tmp_path: Path, val_from: str | None, was: str, now: str, words: str
) -> None:
    config = make_cohort({f"P{i}": ["no", "yes"] for i in range(6)})
    csv_file = Path(config.path)
    header, *rows = csv_file.read_text().splitlines()
    lines = [f"{header},day", *(f"{row},2020-0{int(row[1]) + 1}-01" for row in rows)]
    csv_file.write_text("\n".join(lines) + "\n")
    config = replace(config, columns=ColumnsConfig(date="day"))
    split = SplitConfig(scheme="temporal", val_from=val_from, test_from="2020-05-01")
    manifest = read_manifest(config)
    save_plan(plan_folds(manifest, split), tmp_path / "t.csv")
    assert load_plan(tmp_path / "t.csv", manifest).folds[0].test == {"P4", "P5"}
    edit(csv_file, was, now)
    assert words in refused(tmp_path / "t.csv", read_manifest(config))
    undated = replace(config, columns=ColumnsConfig())
    assert "name the dates with manifest.columns.date" in refused(
        tmp_path / "t.csv", read_manifest(undated)
    )
