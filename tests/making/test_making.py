"""Manifests from trees, class folders, DICOM and tables; nobody's patient id is guessed."""

import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import called
from dicom_files import ramp, write_dicom, write_series
from hypothesis import given
from hypothesis import strategies as st
from making_command import made, write_image, write_table
from omegaconf import OmegaConf
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MediaStorageDirectoryStorage,
    MRSpectroscopyStorage,
    RTDoseStorage,
    RTStructureSetStorage,
)

from pipeline.commands.door import load_config, show_help
from pipeline.config import UserError
from pipeline.formats import read_image
from pipeline.making.image_tree import paths_below
from pipeline.making.patterns import Pattern
from pipeline.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[2]
IDC = "*/{patient}_idx5_x{x}_y{y}_class{label}.png"


@pytest.fixture
def tree(tmp_path):
    """Patches of 4 patients, both classes each."""
    root = tmp_path / "set"
    for patient in range(4):
        for label in (0, 1):
            for x in (1, 51):
                name = f"{patient}_idx5_x{x}_y{label}_class{label}.png"
                write_image(root / str(patient) / name, 40 * patient + 7 * x + label)
    return root


def refused(*arguments):
    with pytest.raises(UserError) as error:
        made(*arguments)
    return str(error.value)


def commands_of(printed):
    """The overrides of the `check` and of the `cv` command that end what is printed."""
    check, cv = printed.splitlines()[-2:]
    assert check.startswith("next: patientfold check ")
    assert cv.startswith("then: patientfold cv ")
    return shlex.split(check)[3:], shlex.split(cv)[3:]


def only_problem(*arguments):
    """Of the settings."""
    _, problem = refused(*arguments).split("\n")
    return problem.strip()


# --- patterns


@given(st.lists(st.text("abc01-. é", min_size=1), min_size=3, max_size=3))
def test_a_pattern_gives_back_what_a_path_was_made_of(parts):
    patient, x, label = parts
    found = Pattern("{label}/{patient}_x{x}.png").parts_of([f"{label}/{patient}_x{x}.png"])
    assert found == [{"patient": patient, "x": x, "label": label}]


@pytest.mark.parametrize(
    ("pattern", "path", "parts"),
    [
        ("{patient}/{patient}_{n}.png", "A/A_1.png", {"patient": "A", "n": "1"}),
        ("{patient}/{patient}_{n}.png", "A/B_1.png", None),
        ("**/{patient}.png", "a/b/C.png", {"patient": "C"}),
        ("**/{patient}.png", "C.png", {"patient": "C"}),
        ("*/{patient}.png", "a/b/C.png", None),
        ("{patient}.png", "Cxpng", None),
        (r"(?P<patient>\d+)_.*", "12_3", {"patient": "12"}),
    ],
)
def test_patterns(pattern, path, parts):
    assert Pattern(pattern).parts_of([path]) == [parts]


def test_a_pattern_that_fits_in_two_ways_is_refused_not_guessed():
    with pytest.raises(UserError, match=r"two ways: patient could be 'P' or 'P_1'"):
        Pattern("{patient}_{slice}.png").parts_of(["P_1_2.png"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("images/*.png", "has no named part"),
        ("(?P<patient>[", "is not a regular expression"),
        ("{patient}/{image_path}.png", "image_path is the path of the file itself"),
        ("(?P<patient>.)/(?P<image_path>.*)", "image_path is the path of the file itself"),
        ("{label}/{patient", "the brace of '{patient' is not closed"),
        ("{label/{patient}.png", "the brace of '{label' is not closed"),
        ("{label}/patient}.png", "} closes no {"),
        ("{label}/}{patient}{", "} closes no {"),
        ("{}/{patient}.png", "{} names nothing"),
    ],
)
def test_a_pattern_must_make_sense(text, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Pattern(text)


# --- trees


def test_a_tree_becomes_a_manifest_that_reads(tree):
    rows, printed = made("source=tree", f"root={tree}", f"pattern={IDC}")
    assert list(rows[0]) == ["patient_id", "image_path", "label", "x", "y"]
    assert rows[0] == {
        "patient_id": "0",
        "image_path": "0/0_idx5_x1_y0_class0.png",
        "label": "0",
        "x": "1",
        "y": "0",
    }
    assert len(rows) == 16
    assert "16 images of 4 patients" in printed
    assert "images per patient: 4 to 4, median 4" in printed
    manifest = read_manifest(load_config(commands_of(printed)[0]).manifest)
    assert manifest.patients == ("0", "1", "2", "3")
    assert manifest.classes == ("0", "1")


def test_files_that_do_not_fit_are_listed_and_left_out_only_on_request(tree):
    (tree / "IM0001").write_text("x")
    (tree / ".DS_Store").write_text("x")
    message = refused("source=tree", f"root={tree}", f"pattern={IDC}")
    assert "does not fit 1 of 17 files (1 no suffix): 'IM0001'" in message
    assert "skip_unmatched=true" in message
    rows, printed = made("source=tree", f"root={tree}", f"pattern={IDC}", "skip_unmatched=true")
    assert len(rows) == 16
    assert "1 file left out: 1 no suffix (e.g. IM0001)" in printed
    message = refused("source=tree", f"root={tree}", "pattern={patient}.png", "skip_unmatched=true")
    assert "does not fit 17 of 17 files" in message
    assert "begin it with **/" in message


def test_documents_beside_the_images_are_left_out_and_counted(tree):
    for name in ("a.csv", "b.CSV", "notes.txt", "sub/README.md", "manifest.csv"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text("x")
    arguments = ("source=tree", f"root={tree}", f"out={tree / 'other.csv'}")
    printed = made(*arguments, f"pattern={IDC}")[1]
    assert "4 files left out: 2 .csv (e.g. a.csv), 1 .txt (e.g. notes.txt), 1 .md (e.g. sub" in (
        printed
    )
    rows, _ = made(*arguments, "pattern=**/{patient}.{label}", "overwrite=true")  # fits a.csv too
    assert {row["label"] for row in rows} == {"png"}
    write_image(tree / "sub" / "stray.png")
    assert "does not fit 1 of 17 files (1 .png): 'sub/stray.png'" in refused(
        *arguments, f"pattern={IDC}"
    )


def test_a_folder_that_cannot_be_opened_is_told_not_left_out(tree, monkeypatch):
    scandir = os.scandir

    def refusing(path):
        if str(path) == str(tree / "2"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    command = ("make-manifest", "source=tree", f"root={tree}", f"pattern={IDC}")
    done = called(tree, *command, f"out={tree / 'm.csv'}")
    assert (done.returncode, done.stderr) == (1, f"error: {tree / '2'}: Permission denied\n")
    assert not (tree / "m.csv").exists()


def test_names_that_are_not_utf_8_are_told_in_one_message(tree):
    strange = [os.fsdecode(name) for name in (b"M\xfcller.png", b"0/\xe9.txt")]
    for name in strange:
        (tree / name).write_text("x")
    (tree / "0" / "Grün.txt").write_text("x")
    message = refused("source=tree", f"root={tree}", f"pattern={IDC}", "skip_unmatched=true")
    assert f"root: 2 files below {tree} with a name that is not UTF-8: " in message
    assert r"""'0/\udce9.txt', 'M\udcfcller.png'; rename them""" in message


@pytest.mark.parametrize("suffix", [".bmp", ".nrrd", ".mha", ".gif", ".dcm", ".nii.gz", ""])
def test_whatever_could_be_an_image_must_fit(tree, suffix):
    (tree / f"stray{suffix}").write_text("x")
    message = refused("source=tree", f"root={tree}", f"pattern={IDC}")
    assert f"does not fit 1 of 17 files (1 {suffix or 'no suffix'}): 'stray{suffix}'" in message


@pytest.mark.parametrize(
    "rule",
    [
        ("source=tree", f"pattern={IDC}"),
        ("source=classes", "patient=^([^_]+)_"),
    ],
)
def test_the_manifest_of_an_earlier_run_is_not_counted(tree, rule):
    rows, _ = made(f"root={tree}", *rule)
    again, printed = made(f"root={tree}", *rule, f"out={tree / 'again.csv'}")
    assert again == rows
    assert f"16 files below {tree}" in printed
    assert "left out" not in printed


def test_a_brace_that_is_not_closed_is_named(tree):
    for pattern, named in (("{label}/{patient", "{patient"), ("{label/{patient}.png", "{label")):
        message = only_problem("source=tree", f"root={tree}", f"pattern={pattern}")
        assert message == f"pattern: {pattern!r}: the brace of {named!r} is not closed"
    arguments = ("source=tree", f"root={tree}", f"pattern={IDC}")
    message = only_problem(*arguments, "patient={patient}-{label")
    assert message == "patient: '{patient}-{label': the brace of '{label' is not closed"
    message = only_problem(*arguments, "columns.a=x}")
    assert message == "columns.a: 'x}': } closes no {"
    message = only_problem("source=classes", f"root={tree}", "patient={patient_{x}.png")
    assert message == "patient: '{patient_{x}.png': the brace of '{patient_' is not closed"


@pytest.mark.parametrize(
    ("source", "patient", "advice"),
    [
        ("tree", "patient", "patient='{patient}'"),
        ("dicom", "PatientID", "patient='{PatientID}'"),
        ("tree", "^(.+)_", "patient='{column}'"),
        ("tree", "Patient ID", "patient='{Patient ID}'"),
    ],
)
def test_a_patient_without_braces_is_not_one_patient_for_all(tree, source, patient, advice):
    pattern = [f"pattern={IDC}"] if source == "tree" else []
    message = only_problem(f"source={source}", f"root={tree}", *pattern, f"patient={patient}")
    assert message == (
        f"patient: {patient!r} names no column, so that everybody would be one patient; a column "
        f"stands in braces, e.g. {advice}"
    )


def test_a_column_may_be_the_same_for_all(tree):
    rows, _ = made("source=tree", f"root={tree}", f"pattern={IDC}", "columns.site=Berlin")
    assert {row["site"] for row in rows} == {"Berlin"}


def test_a_part_cannot_replace_the_path_of_its_file(tree):
    pattern = "pattern=*/{patient}_idx5_x{image_path}_y{y}_class{label}.png"
    message = refused("source=tree", f"root={tree}", pattern)
    assert "image_path is the path of the file itself; give the part another name" in message


def test_a_patient_of_several_parts(tree):
    arguments = [
        "source=tree",
        f"root={tree}",
        "pattern={site}/{n}_idx{a}_x{b}_y{c}_class{label}.png",
    ]
    assert "has no {patient}" in refused(*arguments)
    rows, _ = made(*arguments, "patient={site}-{n}")
    assert rows[0]["patient_id"] == "0-0"
    assert rows[0]["site"] == "0"


def test_patients_of_a_tree_from_a_table(tree):
    pattern = "pattern=*/{n}_idx5_x{x}_y{y}_class{label}.png"
    write_table(tree / "ids.csv", ("number", "who"), *((i, f"P{i // 2}") for i in range(4)))
    arguments = [
        "source=tree",
        f"root={tree}",
        pattern,
        "patient={who}",
        "labels=ids.csv",
        "labels_key={n}",
    ]
    assert "has no column 'n' (labels_column); its columns are 'number', 'who'" in refused(
        *arguments
    )
    rows, _ = made(*arguments, "labels_column=number")
    assert {row["patient_id"] for row in rows} == {"P0", "P1"}
    write_table(tree / "ids.csv", ("n", "who"), (0, "P0"), (1, "P1"))
    message = refused(*arguments, "overwrite=true")
    assert "no row for 2 of 4 keys {n}: '2', '3'" in message
    write_table(tree / "ids.csv", ("n", "who"), (0, "P0"), (0, "P1"))
    assert "n '0' has two rows that differ in who" in refused(*arguments)
    write_table(tree / "ids.csv", ("n", "who"), (0, ""), (1, "P1"), (2, "P2"), (3, "P3"))
    message = refused(*arguments, "overwrite=true")
    assert "4 problems with 16 rows" in message
    assert "4 alike: the patient id is blank\n    0/0_idx5_x1_y0_class0.png" in message


def test_a_tree_without_labels_says_how_to_give_them(tree):
    message = refused("source=tree", f"root={tree}", "pattern=*/{patient}_idx5_{rest}.png")
    assert "there is no column 'label'; name it in the pattern, {label}, or give a table" in message


def test_a_different_file_is_never_overwritten_silently(tree):
    arguments = ["source=tree", f"root={tree}", f"pattern={IDC}"]
    made(*arguments)
    made(*arguments)  # the same file again is no harm
    path = tree / "manifest.csv"
    path.write_text("by hand\n")
    assert "exists and says something else; overwrite=true" in refused(*arguments)
    assert path.read_text() == "by hand\n"
    made(*arguments, "overwrite=true")
    assert path.read_text().startswith("patient_id,image_path,label,")
    assert not list(tree.glob(".manifest*"))


def test_out_beside_another_folder_names_the_image_root(tree, tmp_path):
    _, printed = made(
        "source=tree", f"root={tree}", f"pattern={IDC}", f"out={tmp_path / 'm' / 'a.csv'}"
    )
    assert len(read_manifest(load_config(commands_of(printed)[0]).manifest)) == 16


def test_a_part_may_have_a_name_that_means_something_to_us(tree):
    pattern = "pattern=*/{patient}_idx5_x{line}_y{group}_class{label}.png"
    rows, printed = made("source=tree", f"root={tree}", pattern)
    assert (rows[0]["line"], rows[0]["group"]) == ("1", "0")
    manifest = read_manifest(load_config(commands_of(printed)[0]).manifest)
    assert {"line", "group"} <= set(manifest.column_names)
    assert manifest.table["group"].tolist() == manifest.table["patient_id"].tolist()


def with_study(tree, *studies):
    """What is printed for patients each of whom has these studies in turn."""
    for number, image in enumerate(sorted(tree.rglob("*.png"))):
        folder = studies[number % len(studies)].format(patient=image.parent.name)
        image.parent.joinpath(folder).mkdir(exist_ok=True)
        image.rename(image.parent / folder / image.name)
    pattern = "pattern=*/{study}/{patient}_idx5_x{x}_y{y}_class{label}.png"
    return made("source=tree", f"root={tree}", pattern)[1]


def test_a_study_that_counts_within_each_patient_links_nobody(tree):
    printed = with_study(tree, "study1", "study2")
    assert "manifest.columns.study=" not in printed
    assert (
        "  study: 'study1' is in 4 patients, so it is no id of a study and manifest.columns.study "
        "is not set" in printed
    )
    manifest = read_manifest(load_config(commands_of(printed)[0]).manifest)
    assert manifest.grouping.num_groups == 4


def test_a_study_of_one_patient_each_is_suggested(tree):
    printed = with_study(tree, "s1-{patient}", "s2-{patient}")
    assert "is not set" not in printed
    for overrides in commands_of(printed):
        assert "manifest.columns.study=study" in overrides


def test_settings_are_written_when_asked_and_the_commands_use_them(tree, monkeypatch):
    tmp_path = tree.parent
    monkeypatch.chdir(tmp_path)
    arguments = ["source=tree", "root=set", f"pattern={IDC}", "name=my-set"]
    _, printed = made(*arguments)
    path = tmp_path / "conf" / "manifest" / "my-set.yaml"
    assert f"settings: {path.relative_to(tmp_path)}" in printed
    assert commands_of(printed) == (["manifest=my-set"], ["manifest=my-set"])
    held = OmegaConf.load(path)
    assert held == {
        "name": "my-set",
        "path": "set/manifest.csv",
        "task": "binary",
        "classes": ["0", "1"],
    }
    made(*arguments)  # the same again is no harm
    path.write_text("name: mine\n")
    (tmp_path / "set" / "manifest.csv").unlink()
    assert "conf/manifest/my-set.yaml exists and says something else" in refused(*arguments)
    assert not (tmp_path / "set" / "manifest.csv").exists()
    made(*arguments, "overwrite=true")
    assert OmegaConf.load(path) == held
    for name in ("../x", "a/b", ".x", ""):
        problem = only_problem(*arguments, f"name='{name}'")
        assert problem == f"name: must be a word of letters, digits, - and _, got {name!r}"


# --- class folders


@pytest.mark.parametrize(
    "rule", ["^([^_]+)_", "{patient}_{rest}", "(?P<patient>[^_]+)_.*", r"^(\w\d)_"]
)
def test_class_folders_and_a_rule_for_names(tmp_path, rule):
    for label in ("ill", "well"):
        for patient in "AB":
            write_image(tmp_path / label / "deep" / f"{patient}1_x.png")
    rows, _ = made("source=classes", f"root={tmp_path}", f"patient={rule}")
    assert [(row["patient_id"], row["label"]) for row in rows] == [
        ("A1", "ill"),
        ("A1", "well"),
        ("B1", "ill"),
        ("B1", "well"),
    ]
    assert rows[0]["image_path"] == "ill/deep/A1_x.png"


def test_class_folders_refuse_what_they_cannot_know(tmp_path):
    write_image(tmp_path / "ill" / "A1_x.png")
    arguments = ["source=classes", f"root={tmp_path}"]
    message = refused(*arguments)
    assert "a file name alone does not say who the patient is, and nothing is guessed" in message
    assert "must have one group for the patient" in refused(*arguments, r"patient=^\w+_")
    assert "must have one group for the patient" in refused(*arguments, r"patient=^(\w)(\d)_")
    assert "does not fit the name of 1 of 1 image" in refused(*arguments, "patient=^(B.)_")
    write_image(tmp_path / "stray_x.png")
    assert "1 image in no class folder: 'stray_x.png'" in refused(*arguments, "patient=^([^_]+)_")


def test_one_image_per_patient_is_pointed_at(tmp_path):
    for i in range(3):
        write_image(tmp_path / "ill" / f"A_{i}_x.png")
    _, printed = made("source=classes", f"root={tmp_path}", r"patient=^(\w+)_")
    assert "every patient has one image; does the rule name images" in printed
    assert "only one class" in printed


# --- DICOM


def write_other(path, uid, **tags):
    """A DICOM file of this class, without pixels and without a patient."""
    none = dict.fromkeys(("Rows", "Columns", "PixelData"))
    write_dicom(path, ramp((4, 5)), **(none | {"SOPClassUID": uid, "PatientID": ""} | tags))


@pytest.fixture
def archive(tmp_path):
    """A: a CT folder; B: two series in one folder; C: a single radiograph; a report."""
    root, volume = tmp_path / "dicom", ramp((3, 4, 5))
    write_series(root / "A" / "ct", volume, PatientID="A", SeriesInstanceUID="1.1")
    for number, uid in enumerate(("1.2", "1.3")):
        names = [f"{number}{i}" for i in range(3)]
        write_series(
            root / "B",
            volume + number,
            names=names,
            PatientID="B",
            SeriesInstanceUID=uid,
            StudyInstanceUID="1.2.9",
        )
    tags = {"PatientID": "C", "SeriesInstanceUID": "1.4", "Modality": "CR", "StudyDate": None}
    write_dicom(root / "xray.dcm", volume[0], **tags)
    write_other(root / "report.dcm", ComprehensiveSRStorage, Modality="SR")
    (root / "readme.txt").write_text("x")
    write_table(root / "labels.csv", ("PatientID", "label"), ("A", "x"), ("B", "y"), ("C", "x"))
    return root


JOIN = ("labels=labels.csv", "labels_key={PatientID}")


def test_a_dicom_tree_gives_one_row_per_series(archive):
    rows, printed = made("source=dicom", f"root={archive}", *JOIN)
    assert list(rows[0]) == [
        "patient_id",
        "image_path",
        "label",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "StudyDate",
        "Modality",
        "SeriesDescription",
        "num_files",
    ]
    assert [row["image_path"] for row in rows] == ["A/ct", "B#1.2", "B#1.3", "xray.dcm"]
    assert [row["patient_id"] for row in rows] == list("ABBC")
    assert [row["StudyDate"] for row in rows] == ["2020-01-31"] * 3 + [""]
    assert "2 files left out: 1 not DICOM (e.g. readme.txt), 1 Comprehensive SR (e.g. re" in printed
    assert "manifest.columns.study=StudyInstanceUID" in printed
    assert "manifest.columns.date" not in printed  # one is blank, which `check` would refuse
    check, cv = commands_of(printed)
    assert check[-1] == "images=mri48"  # volumes
    assert cv == [*check, "model=resnet10", "augment=volume"]
    first, second = (read_image(archive / row["image_path"], 3, 1)[0] for row in rows[1:3])
    np.testing.assert_array_equal(first + 1, second)


def test_radiographs_are_checked_with_more_than_8_bits(archive):
    shutil.rmtree(archive / "A")
    shutil.rmtree(archive / "B")
    _, printed = made("source=dicom", f"root={archive}", *JOIN)
    check, cv = commands_of(printed)
    assert check == cv
    assert check[-1] == "images.dtype=float16"


def test_files_that_are_no_images_are_left_out_by_kind(archive):
    write_other(archive / "state.dcm", GrayscaleSoftcopyPresentationStateStorage, Modality="PR")
    write_other(archive / "plan1.dcm", RTStructureSetStorage)
    write_other(archive / "plan2.dcm", RTStructureSetStorage)
    write_other(archive / "spectrum.dcm", MRSpectroscopyStorage, Rows=1, Columns=1)
    write_other(archive / "csa.dcm", "1.3.12.2.1107.5.9.1", Modality="MR")
    write_other(archive / "index", MediaStorageDirectoryStorage, SeriesInstanceUID=None)
    (archive / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    # A structure set of before there was a file format.
    (archive / "old.dcm").write_bytes((archive / "plan1.dcm").read_bytes().partition(b"DICM")[2])
    rows, printed = made("source=dicom", f"root={archive}", *JOIN)
    assert len(rows) == 4
    for kind in (
        "10 files left out: 3 RT Structure Set (e.g. old.dcm)",
        "1 not DICOM (e.g. readme.txt)",
        "1 Comprehensive SR (e.g. report.dcm)",
        "1 Grayscale Softcopy Presentation State (e.g. state.dcm)",
        "1 DICOMDIR (e.g. DICOMDIR)",
        "1 of private class 1.3.12.2.1107.5.9.1 (e.g. csa.dcm)",
        "1 MR Spectroscopy",
        "1 Media Storage Directory (e.g. index)",
    ):
        assert kind in printed


def test_a_report_among_the_slices_is_no_slice(archive):
    write_other(archive / "A" / "ct" / "sr.dcm", ComprehensiveSRStorage, SeriesInstanceUID="1.9")
    rows, _ = made("source=dicom", f"root={archive}", *JOIN)
    assert rows[0]["image_path"] == "A/ct#1.1"
    assert read_image(archive / rows[0]["image_path"], 3, 1)[0].shape == (1, 5, 4, 3)


@pytest.mark.parametrize(
    ("num_bytes", "problem"),
    [
        (0, "has no DICOM mark (DICM at byte 128); it is empty"),
        (100, r"has no DICOM mark (DICM at byte 128); it begins with b'\x00"),
        (150, "has no pixels, and does not say what else it is"),
        (200, "is a CT Image without pixels"),
        (-41, "cannot be read as DICOM"),
        (-40, "has 0 of 40 bytes of its pixels"),
        (-1, "has 39 of 40 bytes of its pixels"),
    ],
)
def test_a_slice_that_is_cut_short_is_an_error_never_left_out(archive, num_bytes, problem):
    path = archive / "A" / "ct" / "001.dcm"
    path.write_bytes(path.read_bytes()[: num_bytes or None if num_bytes else 0])
    message = refused("source=dicom", f"root={archive}", *JOIN)
    assert message.startswith(
        "source=dicom: 1 damaged file; restore from the archive, or remove from "
        f"{archive}\n  A/ct/001.dcm: {problem}"
    )
    assert message.count("\n") == 1


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # an id cut short
@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        JPEG2000Lossless,
    ],
)
def test_no_length_of_a_cut_file_is_taken_for_whole(tmp_path, syntax):
    pixels = {"PixelData": encapsulate([b"0123" * 9, b"ABCD"])} if syntax.is_compressed else {}
    code = Dataset()
    code.CodeValue = "1"
    tags = {"TransferSyntaxUID": syntax, "ProcedureCodeSequence": [code], **pixels}
    whole = write_dicom(tmp_path / "a.dcm", ramp((4, 5)), **tags)
    write_table(tmp_path / "l.csv", ("PatientID", "label"), ("P1", "x"))
    arguments = ("source=dicom", f"root={tmp_path}", "labels=l.csv", "labels_key={PatientID}")
    assert len(made(*arguments)[0]) == 1
    content = whole.read_bytes()
    num_padding = syntax == DeflatedExplicitVRLittleEndian  # its last byte may only make it even
    cuts = range(len(content) - num_padding)
    for length in cuts:
        (tmp_path / f"cut{length}.dcm").write_bytes(content[:length])
    message = refused(*arguments)
    assert f"{len(cuts)} damaged files" in message
    assert message.endswith(f"and {len(cuts) - 10} more")
    assert "a.dcm" not in message


@pytest.mark.parametrize(
    ("name", "tags", "problem"),
    [
        ("a.dcm", {"PixelData": None}, "is a CT Image without pixels"),
        ("a", {"SOPClassUID": RTDoseStorage, "PixelData": None}, "is a RT Dose without pixels"),
        (
            "a.dcm",
            {"SamplesPerPixel": None, "Rows": None},
            "its header lacks Rows, SamplesPerPixel",
        ),
        ("a.dcm", {"Rows": 5}, "has 40 of 50 bytes of its pixels"),
    ],
)
def test_an_image_that_nobody_can_read_is_an_error(archive, name, tags, problem):
    write_dicom(archive / name, ramp((4, 5)), SeriesInstanceUID="1.6", **tags)
    assert f"\n  {name}: {problem}" in refused("source=dicom", f"root={archive}", *JOIN)


def test_compressed_pixels_that_end_in_zeros_are_an_error(archive):
    tags = {"TransferSyntaxUID": JPEG2000Lossless, "PixelData": encapsulate([b"0123" * 9])}
    path = write_dicom(archive / "a.dcm", ramp((4, 5)), SeriesInstanceUID="1.6", **tags)
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))  # a copy that was interrupted
    message = refused("source=dicom", f"root={archive}", *JOIN)
    assert "\n  a.dcm: its compressed pixels are cut short" in message


def test_an_image_without_the_mark_of_dicom_is_an_image(archive):
    content = (archive / "xray.dcm").read_bytes().partition(b"DICM")[2]
    (archive / "xray.dcm").rename(archive / "IM0001")  # as old scanners write it, without a suffix
    (archive / "IM0001").write_bytes(content)
    rows, _ = made("source=dicom", f"root={archive}", *JOIN)
    assert rows[-1]["image_path"] == ".#1.4"
    assert rows[-1]["patient_id"] == "C"


def test_damaged_files_are_skipped_on_request_with_their_series(archive):
    """A volume without one of its slices is another volume."""
    cut, garbled = archive / "A" / "ct" / "001.dcm", archive / "B" / "01.dcm"
    cut.write_bytes(cut.read_bytes()[:-1])
    rows, printed = made("source=dicom", f"root={archive}", *JOIN, "skip_damaged=true")
    assert [row["image_path"] for row in rows] == ["B#1.2", "B#1.3", "xray.dcm"]
    assert "2 damaged files or series left out:" in printed
    assert "A/ct/001.dcm: has 39 of 40 bytes of its pixels" in printed
    assert "series 1.1 (A/ct), which such a file belongs to" in printed
    garbled.write_bytes(b"x" * 500)  # it could be of any series of its folder
    (archive / "noise.dcm").write_bytes(b"x" * 500)  # beside a series of one file
    again = (*JOIN, "skip_damaged=true", "overwrite=true")
    rows, printed = made("source=dicom", f"root={archive}", *again)
    assert [row["image_path"] for row in rows] == ["xray.dcm"]
    assert "B/01.dcm: has no DICOM mark" in printed
    (archive / "xray.dcm").write_bytes(b"x" * 500)
    message = refused("source=dicom", f"root={archive}", *JOIN, "skip_damaged=true")
    assert "every series is damaged" in message


def test_a_pipe_a_socket_and_a_link_that_leads_back_stop_nothing(archive):
    os.mkfifo(archive / "pipe.dcm")
    os.mkfifo(archive / "pipe")
    (archive / "A" / "up").symlink_to("..")
    (archive / "A" / "aside").symlink_to("../B")
    (archive / "B" / "aside").symlink_to("../A")
    (archive / "loop.dcm").symlink_to("loop.dcm")
    message = refused("source=dicom", f"root={archive}", *JOIN)
    assert "\n  pipe.dcm: is a pipe, not a file" in message
    assert "\n  pipe: is a pipe, not a file" in message
    assert "\n  loop.dcm: cannot be read: Too many levels of symbolic links" in message
    assert "3 damaged files" in message
    paths = paths_below(archive)
    assert len(paths) == len(set(paths)) < 50
    assert "A/ct/000.dcm" in paths


def test_blank_patients_are_listed(archive):
    write_dicom(archive / "anonymous.dcm", ramp((4, 5)), PatientID=" ", SeriesInstanceUID="1.5")
    message = refused("source=dicom", f"root={archive}", *JOIN)
    assert "PatientID is blank in 1 file: 'anonymous.dcm'" in message


def test_a_series_of_two_patients_or_folders_is_refused(archive):
    write_dicom(archive / "other.dcm", ramp((4, 5)), PatientID="D", SeriesInstanceUID="1.1")
    message = refused("source=dicom", f"root={archive}", *JOIN)
    assert "series 1.1 has 2 PatientIDs: 'A', 'D'" in message
    assert "series 1.1 lies in 2 folders: '.', 'A/ct'" in message


def test_dicom_without_labels_says_how_to_give_them(archive):
    message = refused("source=dicom", f"root={archive}")
    assert "there is no column 'label'; give a table of labels" in message
    assert "labels_key: say what a row of labels belongs to" in refused(
        "source=dicom", f"root={archive}", "labels=labels.csv"
    )


def test_a_whole_example_with_a_table_of_labels_is_in_the_help_and_in_the_docs(capsys):
    show_help("make-manifest", [])
    told, docs = capsys.readouterr().out, (ROOT / "docs" / "data.md").read_text()
    for text in (told, docs):
        assert "patientfold make-manifest source=dicom root=dicom name=lung" in text
        assert "labels=clinical.csv labels_key='{PatientID}' label.column=dx" in text
        for setting in ("labels_key", "labels_column=", "label.column"):
            assert setting in text.replace("labels_key='{PatientID}' label.column=dx", "")


def test_a_clinical_table_is_used_as_it_is(archive, monkeypatch):
    """It lies beside the images, and its columns are called as some of ours."""
    tmp_path = archive.parent
    monkeypatch.chdir(tmp_path)
    header = ("PatientID", "group", "line", "site", "study", "fold", "part", "image_path", "dx")
    rows = [(p, f"g{p}", 1, "here", "ADNI", 0, "test", "x.png", f"dx{p}") for p in "ABC"]
    write_table(tmp_path / "clinical.csv", header, *rows)
    labels = ("labels=clinical.csv", "labels_key={PatientID}", "label.column=dx")
    made_rows, printed = made("source=dicom", "root=dicom", *labels)
    assert [row["label"] for row in made_rows] == ["dxA", "dxB", "dxB", "dxC"]
    assert [row["group"] for row in made_rows] == ["gA", "gB", "gB", "gC"]
    assert made_rows[0]["image_path"] == "A/ct"
    check, _ = commands_of(printed)
    assert "manifest.columns.study=StudyInstanceUID" in check
    manifest = read_manifest(load_config(check).manifest)
    assert manifest.patients == ("A", "B", "C")
    assert manifest.grouping.num_groups == 2  # A and C have one StudyInstanceUID
    assert "study: 'ADNI' is in 3 patients, so it is no id of a study" in printed


def test_a_series_is_chosen_by_its_description(archive):
    rows, _ = made("source=dicom", f"root={archive}", *JOIN)
    assert {row["SeriesDescription"] for row in rows} == {""}
    shutil.rmtree(archive / "A")
    write_series(
        archive / "A" / "t1",
        ramp((3, 4, 5)),
        PatientID="A",
        SeriesInstanceUID="1.8",
        SeriesDescription="T1 MPRAGE",
    )
    where = "where.SeriesDescription=T1.*"
    (row,), printed = made("source=dicom", f"root={archive}", *JOIN, where, "overwrite=true")
    assert "manifest.columns.date=StudyDate" in commands_of(printed)[0]
    assert (row["image_path"], row["SeriesDescription"]) == ("A/t1", "T1 MPRAGE")


def test_labels_by_series(archive):
    write_table(archive / "s.csv", ("uid", "dx"), *((f"1.{i}", f"d{i}") for i in range(1, 5)))
    rows, _ = made(
        "source=dicom",
        f"root={archive}",
        "labels=s.csv",
        "label.column=dx",
        "labels_key={SeriesInstanceUID}",
        "labels_column=uid",
        "where.Modality=CT",
    )
    assert [row["label"] for row in rows] == ["d1", "d2", "d3"]


# --- tables


@pytest.fixture
def table(tmp_path):
    root = tmp_path / "set"
    for i in range(4):
        write_image(root / "images" / f"{i}.png", i)
    return root


def of_table(root, *more):
    return (
        "source=table",
        f"root={root}",
        "table=t.csv",
        "image=images/{file}.png",
        "patient={who}",
        *more,
    )


def test_one_hot_columns_name_the_label(table):
    rows = [(0, "A", 1, 0), (1, "A", "0.0", "1.0"), (2, "B", 0, 1), (3, "C", 1, "")]
    write_table(table / "t.csv", ("file", "who", "mel", "nv"), *rows)
    found, _ = made(*of_table(table, "label.one_hot=[mel,nv]"))
    assert [row["label"] for row in found] == ["mel", "nv", "nv", "mel"]
    write_table(table / "t.csv", ("file", "who", "mel", "nv"), (0, "A", 1, 1))
    assert "exactly one column must be 1, got ['mel', 'nv']" in refused(
        *of_table(table, "label.one_hot=[mel,nv]", "overwrite=true")
    )
    write_table(table / "t.csv", ("file", "who", "mel", "nv"), (0, "A", 0.4, 0.6))
    assert "cells must be 0 or 1" in refused(*of_table(table, "label.one_hot=[mel,nv]"))


def test_a_finding_among_several(table):
    rows = [(0, "A", "Edema|Mass"), (1, "A", "Massive"), (2, "B", "None"), (3, "C", "Mass")]
    write_table(table / "t.csv", ("file", "who", "found"), *rows)
    mass = ("label.column=found", "label.contains=Mass")
    found, printed = made(*of_table(table, *mass))
    assert [row["label"] for row in found] == ["Mass", "no_Mass", "no_Mass", "Mass"]
    assert "'manifest.classes=[no_Mass,Mass]'" in printed
    misspelt = ("label.column=found", "label.contains=mass")
    message = refused(*of_table(table, *misspelt))
    assert "no row has 'mass'; the rows have 'Edema', 'Mass', 'Massive', 'None'" in message


def test_values_rename_and_leave_out(table):
    rows = [(0, "A", "-1.0"), (1, "A", 1), (2, "B", 0), (3, "C", "")]
    write_table(table / "t.csv", ("file", "who", "label"), *rows)
    values = "label.values={1:yes,0:no,-1.0:null}"
    assert "label '' is not in label.values; it names '1', '0', '-1.0'" in refused(
        *of_table(table, values)
    )
    assert "1 problem with 4 rows" in refused(*of_table(table))  # a blank label without a rule
    write_table(table / "t.csv", ("file", "who", "label"), *rows[:3])
    found, printed = made(*of_table(table, values))
    assert [row["label"] for row in found] == ["yes", "no"]
    assert "1 row left out: label.values says null" in printed
    nobody = "label.values={1:null,0:null,-1.0:null}"
    assert "no row is left; see `where`" in refused(*of_table(table, nobody, "overwrite=true"))


def test_missing_and_contradicting_images_are_an_error(table):
    write_table(table / "t.csv", ("file", "who", "label"), (0, "A", 1), (9, "A", 1))
    assert "images/9.png: no such image below" in refused(*of_table(table))
    rows = [(i, "A", 1) for i in range(10)]
    write_table(table / "t.csv", ("file", "who", "label"), *rows)
    assert refused(*of_table(table)).splitlines() == [
        "6 problems with 10 rows:",
        f"  6 alike: no such image below {table}; skip_absent=true leaves such rows out",
        *(f"    images/{i}.png" for i in (4, 5, 6)),
        "    and 3 more",
    ]
    found, printed = made(*of_table(table, "skip_absent=true"))
    assert [row["image_path"] for row in found] == [f"images/{i}.png" for i in range(4)]
    assert "  6 rows left out: no such image: 'images/4.png', 'images/5.png', 'im" in printed
    (table / "manifest.csv").unlink()
    write_table(table / "t.csv", ("file", "who", "label"), (0, "A", 1), (0, "A", 0))
    assert "two rows that differ in label: '1' and '0'" in refused(*of_table(table))
    write_table(table / "t.csv", ("file", "who", "label"), (0, "A", 1), (0, "A", 1))
    assert "1 row left out: the same image with the same values again" in made(*of_table(table))[1]


def test_an_image_is_looked_up_in_all_folders_unless_two_have_it(table):
    write_table(table / "t.csv", ("file", "who", "label"), (0, "A", 1), (1, "A", 0))
    found, _ = made(*of_table(table, "image=**/{file}.png", "columns.copy={file}"))
    assert [row["image_path"] for row in found] == ["images/0.png", "images/1.png"]
    assert found[1]["copy"] == "1"
    write_image(table / "more" / "1.png")
    message = refused(*of_table(table, "image=**/{file}.png"))
    assert "'1.png' lies in several folders: 'images/1.png', 'more/1.png'" in message


def test_an_image_named_without_its_suffix_is_the_one_file_that_has_it(table):
    write_image(table / "images" / "4.tif")
    (table / "images" / "4.txt").write_text("a note")
    write_table(table / "t.csv", ("file", "who", "label"), (0, "A", 1), (4, "B", 0))
    for image in ("images/{file}", "**/{file}"):
        found, _ = made(*of_table(table, f"image={image}", "overwrite=true"))
        assert [row["image_path"] for row in found] == ["images/0.png", "images/4.tif"]
    write_image(table / "images" / "4.png")
    message = refused(*of_table(table, "image=images/{file}"))
    assert "image: 'images/4' is the name of several files: 'images/4.png', 'images/4" in message


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-8-sig"])
def test_a_table_in_another_encoding_is_read_when_it_is_named(table, encoding):
    text = "file;who;label\n0;M\u00fcller;ja\n1;Ma\u00df;nein\n"
    (table / "t.csv").write_bytes(text.encode(encoding))
    semicolon = "separator=semicolon"
    if encoding != "utf-8-sig":
        message = refused(*of_table(table, semicolon))
        assert re.search(r"table: \S+: line \d: is not UTF-8.* set encoding", message), message
    found, _ = made(*of_table(table, semicolon, f"encoding={encoding}"))
    assert [row["patient_id"] for row in found] == ["Ma\u00df", "M\u00fcller"]
    assert "encoding=klingon is not known" in refused(*of_table(table, "encoding=klingon"))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("patient={whom}", "there is no column 'whom'; the columns are 'file', 'who', 'label'"),
        ("image={path}", "there is no column 'path'"),
        ("table=none.csv", "none.csv: no such file"),
        ("columns.sex={Sex}", "columns.sex='{Sex}': there is no column 'Sex'"),
        ("where.label=7", "leaves no row; the column has '1'"),
        ("where.label=(", "'(' is not a regular expression"),
        ("parts.file=x{n}", "parts.file: 'x{n}' does not fit 1 of 1 cell: '0'"),
        ("label.column=dx", "there is no column 'dx'"),
        ("patient=null", "an id of an image, a lesion or a slide is no patient"),
        (
            "patient=who",
            "'who' names no column, so that everybody would be one patient; a column "
            "stands in braces, e.g. patient='{who}'",
        ),
        ("image=file", "'file' names no column, so that every row would be the same image"),
        (
            "image=images/0.png",
            "names no column, so that every row would be the same image; a column "
            "stands in braces, e.g. image='{column}'",
        ),
        ("labels_key=file", "'file' names no column, so that every image would have the same key"),
        (
            "columns.patient_id={file}",
            "columns.patient_id: every manifest has this column already "
            "(see patient=); call the further column otherwise",
        ),
        ("columns.label={file}", "every manifest has this column already (see label.column=)"),
        ("columns.image_path={file}", "every manifest has this column already (see image=)"),
    ],
)
def test_a_wrong_setting_is_named(table, argument, message):
    write_table(table / "t.csv", ("file", "who", "label"), (0, "A", 1))
    assert message in refused(*of_table(table, argument))


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        ({}, ["source=tree", "root=none", "pattern={label}/{patient}.png"], "none is not a folder"),
        ({}, ["source=tree", "pattern={label}/{patient}.png"], "holds no files that could be"),
        (
            {"a/P1.png": b"x"},
            ["source=tree", "pattern={label}/{patient}.jpg"],
            "the pattern must end as the files do",
        ),
        (
            {"a/b/P1.png": b"x"},
            ["source=tree", "pattern={label}/x/{patient}.png"],
            "a part {name} holds no slash",
        ),
        (
            {"notes.txt": b"x"},
            ["source=classes", "patient={patient}_.*"],
            "no image files; found 1",
        ),
        ({"a.txt": b"x"}, ["source=dicom", "label.column=x"], "holds no DICOM file with pixels"),
        ({"t.csv": b"file,who\n"}, ["source=table", "table=t.csv", "image={file}"], "has no rows"),
    ],
)
def test_a_source_without_images_says_what_is_there(tmp_path, files, arguments, message):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    root = [f"root={tmp_path}"] if "root=none" not in arguments else []
    extra = ["patient={who}"] if "source=table" in arguments else []
    arguments = [a.replace("=none", f"={tmp_path}/none") for a in arguments]
    assert message in refused(*arguments, *root, *extra)


# --- the command


def command(folder, *arguments):
    return called(folder, "make-manifest", *arguments)


def test_the_command_takes_patterns_as_a_person_types_them(tree):
    done = command(tree.parents[0], "source=tree", f"root={tree}", f"pattern={IDC}")
    assert done.returncode == 0, done.stderr
    assert "16 images of 4 patients" in done.stdout
    assert done.stderr == ""


def test_the_command_helps_with_a_misspelt_setting(tree):
    done = command(tree, "source=tree", f"root={tree}", "patern=x")
    assert done.returncode == 1
    assert done.stderr == "error: patern: unknown setting; did you mean 'pattern'?\n"
    done = command(tree, "recipe=nih")
    assert "no recipe 'nih'; did you mean 'nih_chestxray14'?" in done.stderr


def test_the_command_tells_all_that_is_missing_at_once(tree):
    done = command(tree)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "source: say what" in done.stderr
    assert "root: say which folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pipe_as_a_table_is_refused_and_not_waited_for(tmp_path):
    write_image(tmp_path / "p1.png")
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(UserError, match=r"labels: .*labels\.csv: is a pipe, not a file"):
        made(
            "source=tree",
            f"root={tmp_path}",
            "pattern={patient}.png",
            "labels=labels.csv",
            "labels_key='{patient}'",
            "label.column=dx",
        )


def test_cells_that_name_several_labels_make_a_multilabel_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blank cell means none of them. The commands that are printed are those that work."""
    monkeypatch.chdir(tmp_path)
    found = ["edema|effusion", "", "edema"]
    rows = [(f"P{i}", f"{i}.png", cell) for i, cell in enumerate(found)]
    write_table(Path("list.csv"), ("patient", "file", "findings"), *rows)
    for i in range(3):
        write_image(Path(f"{i}.png"), i)
    arguments = ("source=table", "root=.", "table=list.csv", "image={file}", "patient={patient}")
    table, told = made(*arguments, "label.column=findings", "name=chest")
    assert [row["label"] for row in table] == found
    check, cv = told.splitlines()[-2:]
    assert check == "next: patientfold check manifest=chest loss=binary_cross_entropy"
    assert cv == "then: patientfold cv manifest=chest loss=binary_cross_entropy"
    manifest = read_manifest(load_config(check.split()[3:]).manifest)
    assert manifest.classes == ("edema", "effusion")
    assert manifest.table["label"].tolist() == ["edema|effusion", "none", "edema"]
