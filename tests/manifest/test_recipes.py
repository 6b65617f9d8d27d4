"""Every recipe makes a manifest of a small set of that shape, or says why it cannot."""

import json

import numpy as np
import pytest
from dicom_files import ramp, write_dicom, write_series
from making_command import made, write_image, write_table

from pipeline.config import UserError
from pipeline.make_manifest import RECIPES


def test_every_recipe_has_a_test_and_says_where_ids_come_from():
    names = {path.stem for path in RECIPES.glob("*.yaml")}
    tested = {name.removeprefix("test_recipe_") for name in globals() if "test_recipe_" in name}
    assert names == tested
    assert len(names) >= 9
    for path in RECIPES.glob("*.yaml"):
        assert "# Ids:" in path.read_text()
        assert "# Pitfalls:" in path.read_text()


def patients_and_labels(rows):
    return [(row["patient_id"], row["label"]) for row in rows]


def refused(*arguments):
    with pytest.raises(UserError) as error:
        made(*arguments)
    return str(error.value)


def test_recipe_camelyon17(tmp_path):
    header = ("", "patient", "node", "x_coord", "y_coord", "tumor", "slide", "center", "split")
    rows = [(0, "004", 4, 3328, 21792, 1, 0, 0, 0), (1, "051", 2, 64, 32, 0, 7, 2, 1)]
    write_table(tmp_path / "metadata.csv", header, *rows)
    folder = tmp_path / "patches"
    write_image(folder / "patient_004_node_4" / "patch_patient_004_node_4_x_3328_y_21792.png")
    write_image(folder / "patient_051_node_2" / "patch_patient_051_node_2_x_64_y_32.png")
    found, _ = made("recipe=camelyon17", f"root={tmp_path}")
    assert patients_and_labels(found) == [("004", "tumor"), ("051", "normal")]
    assert [row["site"] for row in found] == ["0", "2"]


def test_recipe_nih_chestxray14(tmp_path):
    header = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age",
              "Patient Gender", "View Position")  # fmt: skip
    rows = [("00000001_000.png", "Cardiomegaly|Pneumonia", 0, 1, 58, "M", "PA"),
            ("00000001_001.png", "No Finding", 1, 1, 58, "M", "PA"),
            ("00000002_000.png", "Effusion", 0, 2, 81, "F", "AP")]  # fmt: skip
    write_table(tmp_path / "Data_Entry_2017.csv", header, *rows)
    for number, row in enumerate(rows):
        write_image(tmp_path / f"images_00{1 + number % 2}" / "images" / str(row[0]))
    found, told = made("recipe=nih_chestxray14", f"root={tmp_path}")
    assert patients_and_labels(found) == [
        ("1", "Pneumonia"), ("1", "no_Pneumonia"), ("2", "no_Pneumonia"),
    ]  # fmt: skip
    assert found[1]["image_path"] == "images_002/images/00000001_001.png"
    assert found[2]["sex"] == "F"
    assert "note: The label is one finding" in told
    over = ("label.contains=Effusion", "overwrite=true")
    assert made("recipe=nih_chestxray14", f"root={tmp_path}", *over)[0][2]["label"] == "Effusion"


def test_recipe_chexpert(tmp_path):
    header = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "Edema", "Pleural Effusion")
    path = "CheXpert-v1.0-small/train/patient{:05d}/study{}/view1_frontal.jpg"
    values = [(1, 1, "1.0"), (1, 2, "-1.0"), (2, 1, "0.0"), (3, 1, "")]
    rows = [(path.format(p, s), "Male", 60, "Frontal", "AP", "", v) for p, s, v in values]
    write_table(tmp_path / "CheXpert-v1.0-small" / "train.csv", header, *rows)
    for row in rows:
        write_image(tmp_path / str(row[0]))
    found, told = made("recipe=chexpert", f"root={tmp_path}")
    assert patients_and_labels(found) == [
        ("patient00001", "positive"),
        ("patient00002", "negative"),
    ]
    assert found[0]["study"] == "patient00001-study1"
    assert "2 row(s) left out: label.values says null" in told
    assert "'manifest.classes=[negative,positive]'" in told
    zeros = ("label.values={-1.0:negative}", "overwrite=true")
    assert len(made("recipe=chexpert", f"root={tmp_path}", *zeros)[0]) == 3


def test_recipe_ham10000(tmp_path):
    header = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
    rows = [("HAM_0000118", "ISIC_0027419", "bkl", "histo", 80.0, "male", "scalp"),
            ("HAM_0000118", "ISIC_0025030", "bkl", "histo", 80.0, "male", "scalp"),
            ("HAM_0002730", "ISIC_0026769", "mel", "histo", "", "female", "back")]  # fmt: skip
    write_table(tmp_path / "HAM10000_metadata.csv", header, *rows)
    for number, row in enumerate(rows):
        write_image(tmp_path / f"HAM10000_images_part_{1 + number % 2}" / f"{row[1]}.jpg")
    found, told = made("recipe=ham10000", f"root={tmp_path}")
    assert patients_and_labels(found) == [
        ("HAM_0000118", "bkl"), ("HAM_0000118", "bkl"), ("HAM_0002730", "mel"),
    ]  # fmt: skip
    assert "dx_type" not in found[0]
    assert "note: HAM10000 has no patient ids: patient_id holds lesion_id" in told


def test_recipe_isic2020(tmp_path):
    header = ("image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge",
              "diagnosis", "benign_malignant", "target")  # fmt: skip
    rows = [("ISIC_2637011", "IP_7279968", "male", 45.0, "head/neck", "unknown", "benign", 0),
            ("ISIC_0015719", "IP_3075186", "female", "", "", "melanoma", "malignant", 1),
            ]  # fmt: skip
    write_table(tmp_path / "train.csv", header, *rows)
    for row in rows:
        write_image(tmp_path / "train" / f"{row[0]}.jpg")
    found, _ = made("recipe=isic2020", f"root={tmp_path}")
    assert patients_and_labels(found) == [("IP_3075186", "malignant"), ("IP_7279968", "benign")]


def test_recipe_breakhis(tmp_path):
    for name in ("B_A-14-22549AB-40-001", "B_A-14-22549CD-100-002", "M_DC-14-2523-40-010"):
        write_image(tmp_path / "histology_slides" / name[0] / f"SOB_{name}.png")
    (tmp_path / "README.txt").write_text("x")
    found, _ = made("recipe=breakhis", f"root={tmp_path}")
    assert patients_and_labels(found) == [
        ("14-22549", "benign"), ("14-22549", "benign"), ("14-2523", "malignant"),
    ]  # fmt: skip
    assert found[0]["slide"] == "22549AB"
    forty = made("recipe=breakhis", f"root={tmp_path}", "where.magnification=40", "overwrite=true")
    assert len(forty[0]) == 2


def test_recipe_patch_camelyon(tmp_path):
    write_table(tmp_path / "train_labels.csv", ("id", "label"), ("f38a", 0), ("c18f", 1))
    for name in ("f38a", "c18f"):
        write_image(tmp_path / "train" / f"{name}.tif")
    message = refused("recipe=patch_camelyon", f"root={tmp_path}")
    assert "come without patient ids, and none is guessed" in message
    slides = [("f38a", "camelyon16_train_normal_033"), ("c18f", "camelyon16_train_tumor_001")]
    write_table(tmp_path / "patch_id_wsi.csv", ("id", "wsi"), *slides)
    found, _ = made("recipe=patch_camelyon", f"root={tmp_path}", "labels=patch_id_wsi.csv")
    assert patients_and_labels(found) == [
        ("camelyon16_train_normal_033", "normal"), ("camelyon16_train_tumor_001", "tumor"),
    ]  # fmt: skip


def test_recipe_lidc(tmp_path):
    for number in (1, 2, 3):
        folder = tmp_path / f"LIDC-IDRI-000{number}" / f"1.3.{number}"
        tags = {"PatientID": f"LIDC-IDRI-000{number}", "StudyInstanceUID": f"1.3.{number}"}
        write_series(
            folder / "ct", ramp((3, 4, 5)), 2.5, None, SeriesInstanceUID=f"1.4.{number}", **tags
        )
        xray = {"SeriesInstanceUID": f"1.5.{number}", "Modality": "DX"} | tags
        write_dicom(folder / "dx.dcm", ramp((4, 5)), **xray)
    assert "hold no diagnosis; save TCIA's" in refused("recipe=lidc", f"root={tmp_path}")
    rows = [(f"LIDC-IDRI-000{number}", value) for number, value in ((1, 1), (2, 3), (3, 0))]
    write_table(tmp_path / "diagnosis.csv", ("PatientID", "diagnosis"), *rows)
    found, told = made("recipe=lidc", f"root={tmp_path}", "labels=diagnosis.csv")
    assert patients_and_labels(found) == [
        ("LIDC-IDRI-0001", "benign"), ("LIDC-IDRI-0002", "malignant"),
    ]  # fmt: skip
    assert found[0]["image_path"] == "LIDC-IDRI-0001/1.3.1/ct"
    assert "3 row(s) left out: where.Modality=CT" in told


def test_recipe_rsna_pneumonia(tmp_path):
    header = ("patientId", "x", "y", "width", "height", "Target")
    rows = [("a1", 264, 152, 213, 379, 1), ("a1", 562, 152, 256, 453, 1), ("b2", "", "", "", "", 0),
            ("c3", "", "", "", "", 0)]  # fmt: skip
    write_table(tmp_path / "stage_2_train_labels.csv", header, *rows)
    folder = tmp_path / "stage_2_train_images"
    folder.mkdir()
    for name in ("a1", "b2", "c3"):
        write_dicom(folder / f"{name}.dcm", ramp((4, 5), np.uint8), PatientID=name)
    message = refused("recipe=rsna_pneumonia", f"root={tmp_path}")
    assert "patientId names an image, not a patient" in message
    nih = {"a1": "00000001_000.png", "b2": "00000001_001.png", "c3": "00000007_000.png"}
    mapping = [{"subset_img_id": ours, "img_id": theirs} for ours, theirs in nih.items()]
    name = "pneumonia-challenge-dataset-mappings_2018.json"
    (tmp_path / name).write_text(json.dumps(mapping))
    found, told = made("recipe=rsna_pneumonia", f"root={tmp_path}", f"labels={name}")
    assert patients_and_labels(found) == [
        ("00000001", "pneumonia"), ("00000001", "no_pneumonia"), ("00000007", "no_pneumonia"),
    ]  # fmt: skip
    assert "1 row(s) repeat an image with the same values" in told


def test_recipe_medmnist(tmp_path):
    for name in ("train0_0", "train1_1", "val0_1"):
        write_image(tmp_path / "pneumoniamnist" / f"{name}.png")
    write_table(tmp_path / "pneumoniamnist.csv", ("TRAIN", "train0_0.png", 0))
    message = refused("recipe=medmnist", f"root={tmp_path}")
    assert "MedMNIST publishes no patient ids" in message
    rows = [("train0_0.png", "A"), ("train1_1.png", "A"), ("val0_1.png", "B")]
    write_table(tmp_path / "ids.csv", ("image", "patient_id"), *rows)
    found, _ = made("recipe=medmnist", f"root={tmp_path}", "labels=ids.csv")
    assert patients_and_labels(found) == [("A", "0"), ("A", "1"), ("B", "1")]
    assert found[2]["part"] == "val"
