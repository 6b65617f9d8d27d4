"""Every recipe makes a manifest of a small set of that shape, or says why it cannot."""

import json

import numpy as np
import pytest
from dicom_files import ramp, write_dicom, write_series
from making_command import made, write_image, write_table

from pipeline.commands.shipped import RECIPES
from pipeline.config import UserError
from pipeline.making.label_table import read_rows

# Header lines as published, with the columns that nobody uses.
CAMELYON17 = ",patient,node,x_coord,y_coord,tumor,slide,center,split"
NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
CHEXPERT = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,"
    "Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,"
    "Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
HAM10000 = "lesion_id,image_id,dx,dx_type,age,sex,localization"
ISIC2020 = (
    "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,"
    "benign_malignant,target"
)
RSNA = "patientId,x,y,width,height,Target"
LIDC = (
    "TCIA Patient ID",
    "Diagnosis at the Patient Level\n0=Unknown\n1=benign or non-malignant disease\n"
    "2= malignant, primary lung cancer\n3 = malignant metastatic\n",
)


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


def write_lines(path, *lines):
    """A CSV as it was published, character for character."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def refused(*arguments):
    with pytest.raises(UserError) as error:
        made(*arguments)
    return str(error.value)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (f"\ufeff{NIH}", "00000001_000.png,Pneumonia,0,1,58,M,PA,2682,2749,0.143,0.143,"),
        (NIH, "00000001_000.png,Pneumonia,0,1,58,M,PA,2682,2749,0.143,0.143"),
        (NIH[:-1], "00000001_000.png,Pneumonia,0,1,58,M,PA,2682,2749,0.143,0.143"),
    ],
)
def test_a_header_may_end_with_a_comma(tmp_path, header, row):
    write_lines(tmp_path / "a.csv", header, row)
    (found,) = read_rows(tmp_path / "a.csv", "table")
    assert list(found) == NIH[:-1].split(",")
    assert [found["Image Index"], found["Height]"], found["y]"]] == [
        "00000001_000.png",
        "2749",
        "0.143",
    ]


def test_columns_without_a_name_are_left_out_wherever_they_stand(tmp_path):
    write_lines(tmp_path / "a.csv", ",id, ,label,,", "0,a,x,1,,", "1,b,x,0", "")
    assert read_rows(tmp_path / "a.csv", "table") == [
        {"id": "a", "label": "1"},
        {"id": "b", "label": "0"},
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["id,label,", "a,1,,"], "record 2 has 4 cells, the header has 3"),
        (["id,label,", "a,1", "b"], "record 3 has 1 cell, the header has 3"),
        (["id,label,label,,", "a,1,1,,"], "column 'label' occurs twice"),
    ],
)
def test_cells_that_belong_to_no_column_are_refused(tmp_path, lines, message):
    write_lines(tmp_path / "a.csv", *lines)
    with pytest.raises(UserError, match=message):
        read_rows(tmp_path / "a.csv", "table")


@pytest.mark.parametrize("text", ["of\n3 lines\n", "\x0b", "\x1c", "\x85", "\u2028"])
def test_only_a_line_feed_outside_quotes_ends_a_record(tmp_path, text):
    write_table(tmp_path / "a.csv", ("id", f"label {text}"), ("a", f"1{text}"))
    assert read_rows(tmp_path / "a.csv", "table") == [{"id": "a", f"label {text}": f"1{text}"}]


def test_recipe_camelyon17(tmp_path):
    rows = ["0,004,4,3328,21792,1,0,0,0", "1,051,2,64,32,0,26,2,1"]
    write_lines(tmp_path / "metadata.csv", CAMELYON17, *rows)
    folder = tmp_path / "patches"
    write_image(folder / "patient_004_node_4" / "patch_patient_004_node_4_x_3328_y_21792.png")
    write_image(folder / "patient_051_node_2" / "patch_patient_051_node_2_x_64_y_32.png")
    found, _ = made("recipe=camelyon17", f"root={tmp_path}")
    assert patients_and_labels(found) == [("004", "tumor"), ("051", "normal")]
    assert [row["site"] for row in found] == ["0", "2"]
    assert [row["wilds_split"] for row in found] == ["0", "1"]
    assert "part" not in found[0]  # it would pass for a split by patient


def write_nih(root, name, header, end):
    rows = [
        "00000001_000.png,Cardiomegaly|Pneumonia,0,1,58,M,PA,2682,2749,0.143,0.143",
        "00000001_001.png,No Finding,1,1,58,M,PA,2894,2729,0.143,0.143",
        "00000002_000.png,Effusion,0,2,81,F,AP,2500,2048,0.171,0.171",
    ]
    write_lines(root / name, header, *(row + end for row in rows))
    for number, row in enumerate(rows):
        write_image(root / f"images_00{1 + number % 2}" / "images" / row.split(",")[0])


def test_recipe_nih_chestxray14(tmp_path):
    write_nih(tmp_path, "Data_Entry_2017.csv", NIH, ",")
    found, printed = made("recipe=nih_chestxray14", f"root={tmp_path}")
    assert patients_and_labels(found) == [
        ("1", "Pneumonia"),
        ("1", "no_Pneumonia"),
        ("2", "no_Pneumonia"),
    ]
    assert found[1]["image_path"] == "images_002/images/00000001_001.png"
    assert found[2]["sex"] == "F"
    assert "note: The label is one finding" in printed
    over = ("label.contains=Effusion", "overwrite=true")
    assert made("recipe=nih_chestxray14", f"root={tmp_path}", *over)[0][2]["label"] == "Effusion"


def test_nih_chestxray14_with_the_table_of_2020(tmp_path):
    write_nih(tmp_path, "Data_Entry_2017_v2020.csv", NIH.replace("Gender", "Sex")[:-1], "")
    newer = ("table=Data_Entry_2017_v2020.csv", "columns.sex={Patient Sex}")
    found, _ = made("recipe=nih_chestxray14", f"root={tmp_path}", *newer)
    assert [row["sex"] for row in found] == ["M", "M", "F"]


def chexpert_row(path, effusion):
    view = "Lateral," if path.endswith("lateral.jpg") else "Frontal,AP"
    return f"{path},Female,68,{view},1.0{',' * 10}{effusion},,,"


def test_recipe_chexpert(tmp_path):
    path = "CheXpert-v1.0-small/train/patient{:05d}/study{}/{}.jpg"
    values = [
        (1, 1, "view1_frontal", "1.0"),
        (1, 2, "view1_frontal", "-1.0"),
        (2, 1, "view2_lateral", "0.0"),
        (3, 1, "view1_frontal", ""),
    ]
    rows = [chexpert_row(path.format(*place), effusion) for *place, effusion in values]
    write_lines(tmp_path / "CheXpert-v1.0-small" / "train.csv", CHEXPERT, *rows)
    for row in rows:
        write_image(tmp_path / row.split(",")[0])
    found, printed = made("recipe=chexpert", f"root={tmp_path}")
    assert patients_and_labels(found) == [
        ("patient00001", "positive"),
        ("patient00002", "negative"),
    ]
    assert found[0]["study"] == "patient00001-study1"
    assert [row["view"] for row in found] == ["Frontal", "Lateral"]
    assert "2 rows left out: label.values says null" in printed
    assert "'manifest.classes=[negative,positive]'" in printed
    zeros = ("label.values={-1.0:negative}", "overwrite=true")
    assert len(made("recipe=chexpert", f"root={tmp_path}", *zeros)[0]) == 3


@pytest.mark.parametrize("version", ["CheXpert-v1.0-small", "CheXpert-v1.0"])
def test_chexpert_without_its_own_folder(tmp_path, version):
    place = "valid/patient64541/study1/view1_frontal.jpg"
    write_lines(tmp_path / "valid.csv", CHEXPERT, chexpert_row(f"{version}/{place}", "1.0"))
    write_image(tmp_path / place)
    flat = ("table=valid.csv", "image={part}/{patient}/{study}/{view}.jpg")
    found, _ = made("recipe=chexpert", f"root={tmp_path}", *flat)
    assert patients_and_labels(found) == [("patient64541", "positive")]
    assert found[0]["image_path"] == place


def write_ham10000(root, name, header, end):
    rows = [
        "HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp",
        "HAM_0000118,ISIC_0025030,bkl,histo,80.0,male,scalp",
        "HAM_0002730,ISIC_0026769,mel,histo,,female,back",
    ]
    write_lines(root / name, header, *(row + end for row in rows))
    for number, row in enumerate(rows):
        folder = root / f"HAM10000_images_part_{1 + number % 2}"
        write_image(folder / f"{row.split(',')[1]}.jpg")


def test_recipe_ham10000(tmp_path):
    write_ham10000(tmp_path, "HAM10000_metadata.csv", HAM10000, "")
    found, printed = made("recipe=ham10000", f"root={tmp_path}")
    assert patients_and_labels(found) == [
        ("HAM_0000118", "bkl"),
        ("HAM_0000118", "bkl"),
        ("HAM_0002730", "mel"),
    ]
    assert "dx_type" not in found[0]
    assert "note: HAM10000 has no patient ids: patient_id holds lesion_id" in printed
    write_image(tmp_path / "again" / "ISIC_0027419.jpg")
    message = refused("recipe=ham10000", f"root={tmp_path}", "overwrite=true")
    assert "'ISIC_0027419.jpg' lies in several folders" in message


def test_ham10000_with_the_table_of_dataverse(tmp_path):
    write_ham10000(tmp_path, "HAM10000_metadata", f"{HAM10000},dataset", ",vidir_modern")
    found, _ = made("recipe=ham10000", f"root={tmp_path}", "table=HAM10000_metadata")
    assert len(found) == 3


@pytest.mark.parametrize(
    ("table", "lesion"),
    [
        ("train.csv", ""),
        ("ISIC_2020_Training_GroundTruth_v2.csv", "IL_7972535,"),
    ],
)
def test_recipe_isic2020(tmp_path, table, lesion):
    header = ISIC2020.replace("sex", "lesion_id,sex") if lesion else ISIC2020
    rows = [
        f"ISIC_2637011,IP_7279968,{lesion}male,45.0,head/neck,unknown,benign,0",
        f"ISIC_0015719,IP_3075186,{lesion}female,,,melanoma,malignant,1",
    ]
    write_lines(tmp_path / table, header, *rows)
    for row in rows:
        write_image(tmp_path / "jpeg" / "train" / f"{row.split(',')[0]}.jpg")
    found, _ = made("recipe=isic2020", f"root={tmp_path}", f"table={table}")
    assert patients_and_labels(found) == [("IP_3075186", "malignant"), ("IP_7279968", "benign")]


def test_recipe_breakhis(tmp_path):
    breast = tmp_path / "BreaKHis_v1" / "histology_slides" / "breast"
    for folder, name in (
        ("benign/SOB/adenosis/SOB_B_A_14-22549AB/40X", "SOB_B_A-14-22549AB-40-001"),
        ("benign/SOB/adenosis/SOB_B_A_14-22549G/100X", "SOB_B_A-14-22549G-100-002"),
        ("malignant/SOB/ductal_carcinoma/SOB_M_DC_14-13412/40X", "SOB_M_DC-14-13412-40-010"),
        ("malignant/SOB/lobular_carcinoma/SOB_M_LC_14-13412/40X", "SOB_M_LC-14-13412-40-010"),
    ):
        write_image(breast / folder / f"{name}.png")
    (tmp_path / "README.txt").write_text("x")
    found, _ = made("recipe=breakhis", f"root={tmp_path}")
    assert patients_and_labels(found) == [
        ("14-13412", "malignant"),
        ("14-13412", "malignant"),
        ("14-22549", "benign"),
        ("14-22549", "benign"),
    ]
    assert found[2]["slide"] == "22549AB"
    forty = made("recipe=breakhis", f"root={tmp_path}", "where.magnification=40", "overwrite=true")
    assert len(forty[0]) == 3


def test_recipe_patch_camelyon(tmp_path):
    write_table(tmp_path / "train_labels.csv", ("id", "label"), ("f38a", 0), ("c18f", 1))
    for name in ("f38a", "c18f"):
        write_image(tmp_path / "train" / f"{name}.tif")
    message = refused("recipe=patch_camelyon", f"root={tmp_path}")
    assert "come without patient ids, and none is guessed" in message
    slides = [("f38a", "camelyon16_train_normal_033"), ("c18f", "camelyon16_train_tumor_001")]
    write_table(tmp_path / "patch_id_wsi.csv", ("id", "wsi"), *slides[:1])
    message = refused("recipe=patch_camelyon", f"root={tmp_path}", "labels=patch_id_wsi.csv")
    assert "has no row for 1 of 2 keys {id}: 'c18f'" in message
    write_table(tmp_path / "patch_id_wsi_full.csv", ("id", "wsi"), *slides)
    found, _ = made("recipe=patch_camelyon", f"root={tmp_path}", "labels=patch_id_wsi_full.csv")
    assert patients_and_labels(found) == [
        ("camelyon16_train_normal_033", "normal"),
        ("camelyon16_train_tumor_001", "tumor"),
    ]


def write_lidc(root, number):
    """A CT series and a radiograph in TCIA's folders."""
    folder = root / "LIDC-IDRI" / f"LIDC-IDRI-000{number}"
    series = folder / "01-01-2000-30178" / "3000566-03192"
    tags = {"PatientID": f"LIDC-IDRI-000{number}", "StudyInstanceUID": f"1.3.{number}"}
    write_series(series, ramp((3, 4, 5)), 2.5, None, SeriesInstanceUID=f"1.4.{number}", **tags)
    xray = folder / "01-01-2000-35511" / "3000923-62357" / "000000.dcm"
    xray.parent.mkdir(parents=True)
    write_dicom(xray, ramp((4, 5)), SeriesInstanceUID=f"1.5.{number}", Modality="DX", **tags)


def test_recipe_lidc(tmp_path):
    for number in (1, 2, 3, 4):
        write_lidc(tmp_path, number)
    assert "hold no diagnosis; save TCIA's" in refused("recipe=lidc", f"root={tmp_path}")
    rows = [(f"LIDC-IDRI-000{number}", value) for number, value in enumerate((1, 3, 0, ""), 1)]
    write_table(tmp_path / "diagnosis.csv", ("PatientID", "diagnosis"), *rows)
    found, printed = made("recipe=lidc", f"root={tmp_path}", "labels=diagnosis.csv")
    assert patients_and_labels(found) == [
        ("LIDC-IDRI-0001", "benign"),
        ("LIDC-IDRI-0002", "malignant"),
    ]
    assert found[0]["image_path"] == "LIDC-IDRI/LIDC-IDRI-0001/01-01-2000-30178/3000566-03192"
    assert "4 rows left out: where.Modality=CT" in printed
    assert "2 rows left out: label.values says null" in printed


def test_tcias_own_header_of_several_lines_can_be_read(tmp_path):
    write_table(tmp_path / "tcia.csv", LIDC, ("LIDC-IDRI-0068", 3))
    assert read_rows(tmp_path / "tcia.csv", "labels") == [{LIDC[0]: "LIDC-IDRI-0068", LIDC[1]: "3"}]


def test_recipe_rsna_pneumonia(tmp_path):
    rows = ["a1,264.0,152.0,213.0,379.0,1", "a1,562.0,152.0,256.0,453.0,1", "b2,,,,,0", "c3,,,,,0"]
    write_lines(tmp_path / "stage_2_train_labels.csv", RSNA, *rows)
    folder = tmp_path / "stage_2_train_images"
    folder.mkdir()
    for name in ("a1", "b2", "c3"):
        write_dicom(folder / f"{name}.dcm", ramp((4, 5), np.uint8))
    message = refused("recipe=rsna_pneumonia", f"root={tmp_path}")
    assert "patientId names an image, not a patient" in message
    nih = {
        "a1": "00000001_000.png",
        "b2": "00000001_001.png",
        "c3": "00000007_000.png",
        "test": "00000009_000.png",
    }
    mapping = [
        {
            "img_id": theirs,
            "subset_img_id": ours,
            "subset_group": 1,
            "subset_init_label": 2,
            "orig_labels": ["No Finding"],
            "StudyInstanceUID": f"1.2.{ours}",
            "SeriesInstanceUID": f"1.3.{ours}",
            "SOPInstanceUID": f"1.4.{ours}",
            "studyId": 1,
            "seriesId": 1,
            "instanceId": 1,
        }
        for ours, theirs in nih.items()
    ]
    name = "pneumonia-challenge-dataset-mappings_2018.json"
    (tmp_path / name).write_text(json.dumps(mapping))
    found, printed = made("recipe=rsna_pneumonia", f"root={tmp_path}", f"labels={name}")
    assert patients_and_labels(found) == [
        ("00000001", "pneumonia"),
        ("00000001", "no_pneumonia"),
        ("00000007", "no_pneumonia"),
    ]
    assert "1 row left out: the same image with the same values again" in printed
    assert f"1 key of {name} without an image" in printed


def test_recipe_medmnist(tmp_path):
    for name in ("train0_0", "train1_1", "val0_1"):
        write_image(tmp_path / "pneumoniamnist" / f"{name}.png")
    write_table(
        tmp_path / "pneumoniamnist.csv",
        ("TRAIN", "train0_0.png", 0),
        ("VALIDATION", "val0_1.png", 1),
    )
    message = refused("recipe=medmnist", f"root={tmp_path}")
    assert "MedMNIST publishes no patient ids" in message
    rows = [("train0_0.png", "A"), ("train1_1.png", "A"), ("val0_1.png", "B")]
    write_table(tmp_path / "ids.csv", ("image", "patient_id"), *rows)
    found, _ = made("recipe=medmnist", f"root={tmp_path}", "labels=ids.csv")
    assert patients_and_labels(found) == [("A", "0"), ("A", "1"), ("B", "1")]
    assert found[2]["part"] == "val"
