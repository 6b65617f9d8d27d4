"""`patientfold configure`: a CSV becomes an experiment that runs as it is."""

import json
import re
import shlex
from contextlib import suppress
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from dicom_files import write_dicom
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from pipeline.__main__ import main
from pipeline.commands.configure import next_steps
from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config
from pipeline.config import Config
from pipeline.images.decoding import Decoder
from pipeline.manifest import read_manifest
from pipeline.manifest.ids import MANY_ROWS

EXPERIMENT = Path("conf/experiment/my.yaml")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_study(num_patients: int = 12, label: str = "Diagnosis") -> None:
    """Two small pictures of each patient; one site has all lesions."""
    rng = np.random.default_rng(0)
    rows = [f"Patient ID;File;{label};Hospital"]
    for patient in range(num_patients):
        is_lesion = patient % 2
        for image in range(2):
            pixels = rng.integers(0, 200, (20, 20), np.uint8)
            pixels[5:10, 5:10] += np.uint8(50 * is_lesion)
            Image.fromarray(pixels).save(f"{patient}_{image}.png")
            name, site = ("healthy", "lesion")[is_lesion], ("north", "south")[is_lesion]
            rows.append(f"00{patient};{patient}_{image}.png;{name};{site}")
    Path("my.csv").write_text("\n".join(rows) + "\n")


def said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[str, str]:
    """What `patientfold configure <words>` prints, and its error."""
    monkeypatch.setattr("sys.argv", ["patientfold", "configure", *words])
    with suppress(SystemExit):
        main()
    done = capsys.readouterr()
    return done.out, done.err


def test_a_csv_becomes_an_experiment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study()
    out, error = said(monkeypatch, capsys, "manifest.path=my.csv")
    assert error == ""
    assert "each of the 2 sites has one label only" in out
    assert out.splitlines()[-1] == "then: patientfold cv experiment=my"
    text = EXPERIMENT.read_text()
    settings = [line for line in text.splitlines() if re.match(r"\s+(- )?[\w /]+: .+", line)]
    assert len(settings) > 20
    bare = [line for line in settings if "  # " not in line]
    assert bare == ['  path: "my.csv"']  # what was given needs no reason
    config = load_config(["experiment=my"])
    assert (config.name, config.manifest.separator) == ("my", ";")
    assert config.manifest.columns.patient == "Patient ID"
    assert config.manifest.columns.site == "Hospital"
    assert config.images.size == (20, 20)
    assert config.split.num_folds == 5


@pytest.mark.slow
def test_it_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(num_patients=20)
    said(monkeypatch, capsys, "manifest.path=my.csv")
    outcome = cross_validate(load_config(["experiment=my", "training.epochs=2"]))
    assert 0 <= outcome.mean <= 1
    (metrics,) = Path("runs/my").glob("*/metrics.json")
    assert "patient" in json.loads(metrics.read_text())


def test_nothing_is_overwritten(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study()
    EXPERIMENT.parent.mkdir(parents=True)
    EXPERIMENT.write_text("mine")
    _, error = said(monkeypatch, capsys, "manifest.path=my.csv")
    assert "my.yaml exists, and configure overwrites nothing" in error
    assert "name=my2" in error
    assert EXPERIMENT.read_text() == "mine"
    _, error = said(monkeypatch, capsys, "manifest.path=my.csv", "name=demo")
    assert "experiment=demo is one that ships, and yours would hide it" in error
    assert list(EXPERIMENT.parent.iterdir()) == [EXPERIMENT]
    said(monkeypatch, capsys, "manifest.path=my.csv", "name=my2")
    assert load_config(["experiment=my2"]).name == "my2"


def test_what_init_wrote_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(label="verdict")
    _, error = said(monkeypatch, capsys, "manifest.path=my.csv")
    assert "which column holds the label: manifest.columns.label=..." in error
    assert not EXPERIMENT.exists()
    mine = Path("conf/manifest/mine.yaml")
    mine.parent.mkdir(parents=True)
    mine.write_text("name: mine\npath: my.csv\nseparator: semicolon\ncolumns:\n  label: verdict\n")
    given = "manifest=mine", "name=my", "manifest.hint=ask"
    _, error = said(monkeypatch, capsys, *given)
    assert error == ""
    written = yaml.safe_load(EXPERIMENT.read_text())
    assert {"override /manifest": "mine"} in written["defaults"]
    assert written["manifest"]["hint"] == "ask"
    assert "label" not in written["manifest"]["columns"]  # stays in mine.yaml
    config = load_config(["experiment=my"]).manifest
    assert (config.columns.label, config.columns.image, config.hint) == ("verdict", "File", "ask")


def test_other_settings_are_not_silently_ignored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study()
    _, error = said(monkeypatch, capsys, "manifest.path=my.csv", "model=resnet18")
    assert "model=resnet18: not read here" in error
    assert not EXPERIMENT.exists()


def test_a_class_of_two_patients_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(num_patients=5)
    _, error = said(monkeypatch, capsys, "manifest.path=my.csv")
    assert "class 'lesion' has 2 independent patients, and a cross-validation needs 3" in error
    assert not EXPERIMENT.exists()


def test_ids_of_their_own_in_every_row_are_accepted_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of the check, which would stop `cv`."""
    rows = ["patient_id,image_path,label"]
    for i in range(MANY_ROWS):
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(f"{i}.png")
        rows.append(f"{1000 + 37 * i},{i}.png,{('no', 'yes')[i % 2]}")
    Path("my.csv").write_text("\n".join(rows))
    out, error = said(monkeypatch, capsys, "manifest.path=my.csv")
    assert error == ""
    assert f"warning: each of the {MANY_ROWS} rows has a patient id of its own" in out
    config = load_config(["experiment=my"]).manifest
    assert config.accept == ("one_image_per_patient",)
    assert len(read_manifest(config)) == MANY_ROWS


def test_several_labels_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["patient_id,image_path,edema,nodule"]
    for i in range(12):
        Image.fromarray(np.full((8, 8), 20 * i, np.uint8)).save(f"{i}.png")
        rows.append(f"{i},{i}.png,{i % 2},{i // 6}")
    Path("my.csv").write_text("\n".join(rows))
    labels = "manifest.columns.label=[edema,nodule]", "manifest.task=multilabel"
    _, error = said(monkeypatch, capsys, "manifest.path=my.csv", *labels)
    assert error == ""
    config = load_config(["experiment=my"])
    assert config.manifest.columns.label == ("edema", "nodule")
    assert config.loss.output == "sigmoid"


def test_words_that_yaml_reads_otherwise_stay_texts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study()
    text = Path("my.csv").read_text().replace("healthy", "no").replace("lesion", "yes")
    Path("my.csv").write_text(text)
    said(monkeypatch, capsys, "manifest.path=my.csv", "name=no", "manifest.name='null'")
    assert load_config(["experiment=no"]).manifest.classes == ("no", "yes")
    assert load_config(["experiment=no"]).name == "no"


def test_the_next_commands_can_be_typed_as_they_stand() -> None:
    for name in ("my", "größe", "my set (2)", "2024_10", "1e3", "true"):
        for line, command in zip(next_steps(name), ("check", "cv"), strict=True):
            _, _, typed = line.partition(": ")
            program, word, setting = shlex.split(typed)
            assert (program, word) == ("patientfold", command)
            (parsed,) = OverridesParser.create().parse_overrides([setting])
            assert (parsed.key_or_group, parsed.value()) == ("experiment", name)


# --- every image can be decoded with what was chosen


def configured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *columns: str
) -> Config:
    """Of a CSV with these columns of images: 12 rows, `0_<column>` and so on."""
    rows = [",".join(["patient_id", *(name.partition(".")[0] for name in columns), "label"])]
    for i in range(12):
        rows.append(",".join([str(i), *(f"{i}_{name}" for name in columns), ("no", "yes")[i % 2]]))
    Path("my.csv").write_text("\n".join(rows))
    images = ",".join(name.partition(".")[0] for name in columns)
    given = "manifest.path=my.csv", f"manifest.columns.image=[{images}]"
    _, error = said(monkeypatch, capsys, *given)
    assert error == ""
    config = load_config(["experiment=my"])
    manifest = read_manifest(config.manifest)
    assert len(manifest.image_sets) == 12
    decoder = Decoder(config.images)
    shapes = {decoder.sample(files).pixels.shape[1:] for files in manifest.image_sets}
    assert shapes == {config.images.size}
    return config


@pytest.mark.parametrize("name", ["scan.npy", "scan.nii.gz"])
def test_volumes_of_three_sequences(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    rng = np.random.default_rng(0)
    for i in range(12):
        volume = rng.normal(100, 20, (12, 16, 16, 3)).astype(np.float32)
        if name.endswith("npy"):
            np.save(f"{i}_{name}", volume)
        else:
            nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), f"{i}_{name}")
    config = configured(monkeypatch, capsys, name)
    assert config.images.num_channels == 3
    assert "volumes, no colour, stored in 3 channels" in EXPERIMENT.read_text()


def test_a_photograph_and_its_mask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)).save(f"{i}_photo.png")
        Image.fromarray(rng.integers(0, 2, (20, 20), np.uint8) * 255).save(f"{i}_mask.png")
    config = configured(monkeypatch, capsys, "photo.png", "mask.png")
    assert config.images.num_channels == 1


@pytest.mark.parametrize(
    ("most", "intercept", "preset"),
    [(255, 0, "grey64"), (4095, 0, "radiograph"), (4095, -1024, "ct_soft")],
)
def test_ct_with_and_without_hounsfield_units(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    most: int,
    intercept: int,
    preset: str,
) -> None:
    """Secondary captures, slices whose rescale was lost, and whole ones."""
    rng = np.random.default_rng(0)
    bits = most.bit_length()
    for i in range(12):
        pixels = rng.integers(0, most + 1, (24, 24), np.uint16)
        pixels[0, :2] = 0, most
        tags = {"BitsStored": bits, "HighBit": bits - 1, "PixelSpacing": [0.7, 0.7]}
        write_dicom(Path(f"{i}_slice.dcm"), pixels, RescaleIntercept=intercept, **tags)
    config = configured(monkeypatch, capsys, "slice.dcm")
    text = EXPERIMENT.read_text()
    assert f"override /images: {preset} " in text
    assert config.images.unit == ("HU" if preset == "ct_soft" else None)
    is_warned = "has values from 0 to 4095, which cannot be Hounsfield units" in text
    assert is_warned == (preset == "radiograph")
