"""`patientfold init`: what a CSV shows is filled in with its reason, the rest is asked."""

from pathlib import Path

import pytest
from PIL import Image

from pipeline.commands.door import load_config
from pipeline.commands.init import MANIFEST, main
from pipeline.commands.settings import InitSettings, OwnManifest
from pipeline.config import UserError
from pipeline.configure.columns import look
from pipeline.manifest import read_manifest

ROWS = """\
Patient ID;File;Diagnosis;Hospital;StudyDate;age
007;a.png;benign;north;2020-01-02;40
007;b.png;benign;north;2020-01-02;40
008;c.png;malignant;south;2021-03-04;50
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(text: str | None) -> list[str]:
    """The lines of mine.yaml for a CSV with this text, without their indentation."""
    if text is not None:
        Path("x.csv").write_text(text, encoding="utf-8")
    main(InitSettings(manifest=OwnManifest(path=None if text is None else "x.csv")))
    return [line.strip() for line in MANIFEST.read_text(encoding="utf-8").splitlines()]


def test_an_empty_study_has_every_column_as_a_comment(capsys: pytest.CaptureFixture[str]) -> None:
    lines = made(None)
    for column in ("patient", "image", "label", "site", "study", "date", "fold", "part"):
        assert any(line.startswith(f"# {column}: ") for line in lines)
    assert len(Path("README.md").read_text().splitlines()) == 6
    assert "runs/" in Path(".gitignore").read_text()
    assert load_config(["manifest=mine"]).manifest.path == "my.csv"
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == [f"made {MANIFEST}", "made README.md", "made .gitignore"]
    assert said[-1] == "next: patientfold check manifest=mine audit.content=false"


def test_what_a_csv_shows_is_filled_in_with_the_reason() -> None:
    lines = made(ROWS)
    assert 'path: "x.csv"' in lines
    assert "separator: semicolon  # what stands between the columns" in lines
    reason = "# the only column called like a patient id: 2 values in 3 rows"
    assert f'patient: "Patient ID"  {reason}' in lines
    assert 'image: "File"  # the only column of image files' in lines
    assert 'site: "Hospital"  # the only column called like a site: 2 values' in lines
    assert 'classes: ["benign", "malignant"]  # the labels that occur' in lines
    config = load_config(["manifest=mine"]).manifest
    columns = config.columns
    assert (columns.label, columns.date, columns.study) == ("Diagnosis", "StudyDate", None)
    assert (config.task, config.separator) == ("binary", ";")
    assert any("3 of 3 images do not lie in the CSV's folder" in line for line in lines)


def test_the_result_can_be_read() -> None:
    for name in "abc":
        Image.new("L", (4, 4), ord(name)).save(f"{name}.png")
    made(ROWS)
    manifest = read_manifest(load_config(["manifest=mine"]).manifest)
    assert (len(manifest), manifest.classes) == (3, ("benign", "malignant"))


@pytest.mark.parametrize(
    ("header", "question"),
    [
        (
            "patient_id,subject_id,file,label",
            "These may be meant: 'patient_id', 'subject_id'. Which",
        ),
        ("lesion,side,file,label", "# Which column says whose image a row is?"),
    ],
)
def test_what_is_not_clear_is_asked(header: str, question: str) -> None:
    """Two columns that may name the patient, or none: nothing is filled in."""
    lines = made(f"{header}\n1,2,a.png,left\n3,4,b.png,right\n")
    assert "columns:" in lines
    assert any(question in line for line in lines)
    assert "# patient: patient_id" in lines
    assert not any(line.startswith("patient:") for line in lines)


def test_the_order_of_two_unknown_classes_is_asked() -> None:
    lines = made("patient_id,file,label\n1,a.png,left\n2,b.png,right\n")
    assert "# Negative first, then positive: is the second one, 'right', positive?" in lines
    assert '# classes: ["left", "right"]' in lines
    assert load_config(["manifest=mine"]).manifest.classes is None


def test_more_than_two_classes() -> None:
    lines = made("patient_id,file,label\n1,a.png,x\n2,b.png,y\n3,c.png,z\n")
    assert "task: multiclass  # 3 labels occur" in lines
    assert load_config(["manifest=mine"]).manifest.classes == ("x", "y", "z")


def test_cells_that_name_several_labels(capsys: pytest.CaptureFixture[str]) -> None:
    lines = made("patient_id,file,findings\n1,a.png,edema|effusion\n2,b.png,\n3,c.png,edema\n")
    said = capsys.readouterr().out.splitlines()
    sigmoid = "manifest=mine loss=binary_cross_entropy"
    assert said[-2] == f"next: patientfold check {sigmoid} audit.content=false"
    assert said[-1] == f"then: patientfold cv {sigmoid}"
    assert "cv manifest=mine loss=binary_cross_entropy`" in Path("README.md").read_text()
    assert any(line.startswith("task: multilabel  # a row may have several of 2") for line in lines)
    for number, name in enumerate("abc"):
        Image.new("L", (4, 4), number).save(f"{name}.png")
    manifest = read_manifest(load_config(["manifest=mine", "loss=binary_cross_entropy"]).manifest)
    assert manifest.classes == ("edema", "effusion")
    assert manifest.table["label"].tolist() == ["edema|effusion", "none", "edema"]


def test_columns_of_0_and_1_are_asked_about() -> None:
    """They may be labels, or anything else: nothing is filled in until a person says so."""
    text = "patient_id,file,edema,nodule,age\n1,a.png,1,0,0\n2,b.png,0,1,1\n3,c.png,0,0,2\n"
    lines = made(text)
    question = "'edema', 'nodule' hold 0 and 1. Are they labels of which a row may have several?"
    assert any(question in line for line in lines)
    switched_on = MANIFEST.read_text().replace("# label: [", "label: [")
    MANIFEST.write_text(switched_on.replace("# task: multilabel", "task: multilabel"))
    for number, name in enumerate("abc"):
        Image.new("L", (4, 4), number).save(f"{name}.png")
    manifest = read_manifest(load_config(["manifest=mine", "loss=binary_cross_entropy"]).manifest)
    assert manifest.table["label"].tolist() == ["edema", "nodule", "none"]


def test_several_columns_of_images_are_asked_about() -> None:
    lines = made("patient_id,t1,flair,label\n1,a.png,b.png,no\n2,c.png,d.png,yes\n")
    asked = "These may be meant: 't1', 'flair'. Which one, or are all of them channels?"
    assert any(asked in line for line in lines)
    MANIFEST.write_text(MANIFEST.read_text().replace("# image: [", "image: ["))
    assert load_config(["manifest=mine"]).manifest.columns.images == ("t1", "flair")


def test_nothing_is_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    Path("README.md").write_text("mine")
    made(None)
    assert "left README.md as it is" in capsys.readouterr().out
    assert Path("README.md").read_text() == "mine"
    MANIFEST.write_text("mine")
    with pytest.raises(UserError, match="exists, and init overwrites nothing"):
        made(ROWS)
    assert MANIFEST.read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("", "expected a header"),
        ("one\n1\n", "several columns"),
    ],
)
def test_a_file_that_is_no_table(text: str | None, message: str) -> None:
    if text is not None:
        Path("y.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        look(Path("y.csv"))
    assert not MANIFEST.exists()
