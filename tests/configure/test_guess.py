"""What a CSV shows of itself is set, each with its reason; what it does not show is asked."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import ColumnsConfig, ManifestConfig, UserError
from pipeline.configure.guess import Guess, guess


def guessed(folder: Path, text: str, **given: Any) -> Guess:
    (folder / "x.csv").write_text(text, encoding="utf-8")
    return guess(ManifestConfig(name="x", path=f"{folder}/x.csv", **given))


HEADER = "patient_id,image_path,label\n"


def test_names_that_are_the_defaults_need_no_setting(tmp_path: Path) -> None:
    found = guessed(tmp_path, HEADER + "1,a.png,no\n2,b.png,yes\n")
    assert found.settings == {"classes": ["no", "yes"]}
    assert found.doubts == []


def test_other_names_are_found_as_init_finds_them(tmp_path: Path) -> None:
    text = (
        "Patient ID;File;Diagnosis;Hospital;StudyUID\n7;a.png;x;n;1\n8;b.png;y;s;2\n9;c.png;z;n;3\n"
    )
    found = guessed(tmp_path, text)
    assert found.settings == {
        "separator": "semicolon",
        "columns.patient": "Patient ID",
        "columns.image": "File",
        "columns.label": "Diagnosis",
        "columns.site": "Hospital",
        "columns.study": "StudyUID",
        "task": "multiclass",
    }
    assert found.reasons.keys() == found.settings.keys()
    assert all(found.reasons.values())
    config = found.applied(ManifestConfig(name="x", path="x.csv"))
    assert (config.separator, config.columns.image, config.task) == (";", "File", "multiclass")


def test_a_mask_beside_the_image_is_no_question(tmp_path: Path) -> None:
    """`image_path` is there, whatever else names files."""
    text = "patient_id,image_path,mask,label\n1,a.png,m.png,0\n2,b.png,n.png,1\n"
    assert "columns.image" not in guessed(tmp_path, text).settings


def test_all_questions_come_at_once_with_the_settings_that_answer_them(tmp_path: Path) -> None:
    text = "who,t1,flair,edema,nodule\n1,a.png,b.png,0,1\n2,c.png,d.png,1,0\n"
    with pytest.raises(UserError) as caught:
        guessed(tmp_path, text)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "manifest.columns.patient=... (the columns are 'who', 't1'" in lines[1]
    assert "manifest.columns.image=... (these may be meant: 't1', 'flair')" in lines[2]
    assert "'manifest.columns.label=[edema,nodule]' manifest.task=multilabel" in lines[3]


def test_what_was_given_is_not_asked(tmp_path: Path) -> None:
    text = "who,t1,flair,edema,nodule\n1,a.png,b.png,0,1\n2,c.png,d.png,1,0\n"
    columns = ColumnsConfig(patient="who", image=("t1", "flair"), label=("edema", "nodule"))
    assert guessed(tmp_path, text, columns=columns, task="multilabel").settings == {}


@pytest.mark.parametrize(
    ("labels", "classes", "doubts"),
    [
        ("malignant benign", ["benign", "malignant"], 0),
        ("Healthy lesion", ["Healthy", "lesion"], 0),
        ("normal control", ["control", "normal"], 1),
        ("IDC non_IDC", ["non_IDC", "IDC"], 0),
        ("Tumor Non-Tumor", ["Non-Tumor", "Tumor"], 0),
        ("no_edema edema", ["no_edema", "edema"], 0),
        ("1 0", ["0", "1"], 0),
        ("small large", ["large", "small"], 1),
    ],
)
def test_which_of_two_classes_is_negative(
    tmp_path: Path, labels: str, classes: list[str], doubts: int
) -> None:
    one, other = labels.split()
    found = guessed(tmp_path, f"{HEADER}1,a.png,{one}\n2,b.png,{other}\n")
    assert found.settings["classes"] == classes
    assert len(found.doubts) == doubts


def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    found = guessed(tmp_path, HEADER + "1,a.png,no\n2,b.png,yes\n3,c.png,\n")
    assert found.settings["blank_label"] == "leave_out"
    assert found.reasons["blank_label"] == "1 row without a label"


def test_cells_of_several_labels(tmp_path: Path) -> None:
    found = guessed(tmp_path, HEADER + "1,a.png,edema|nodule\n2,b.png,edema\n3,c.png,\n")
    assert found.settings == {"task": "multilabel"}


def test_a_column_of_numbers_is_no_label(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i}.png,{i / 7}\n" for i in range(30))
    with pytest.raises(UserError, match=r"column 'label' has 30 different values.*manifest\.task"):
        guessed(tmp_path, HEADER + rows)
    assert guessed(tmp_path, HEADER + rows, task="multiclass").settings == {}


def test_the_folder_of_the_images_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").touch()
    text = HEADER + "1,a.png,no\n2,b.png,yes\n"
    assert guessed(tmp_path, text).settings["image_root"] == f"{tmp_path}/pictures"
    assert "image_root" not in guessed(tmp_path, text, image_root="elsewhere").settings
    (tmp_path / "a.png").touch()
    assert "image_root" not in guessed(tmp_path, text).settings


@pytest.mark.parametrize("text", ["", "a,b,c\n", "a,b,c\n\n", "a,b,c\n\n\n", "a\n1\n"])
def test_a_csv_without_rows_or_columns_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"x\.csv: expected a header and a row with several"):
        guessed(tmp_path, text)


def test_a_column_of_one_site_says_nothing(tmp_path: Path) -> None:
    text = "patient_id,image_path,label,site\n1,a.png,no,n\n2,b.png,yes,n\n"
    assert "columns.site" not in guessed(tmp_path, text).settings
