"""The command predict with labels: an external test, or a refusal that nothing gets round."""

import csv
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest
from trained_run import trained_run, write_images, write_rows

from pipeline.commands.predict import main
from pipeline.commands.settings import PredictSettings
from pipeline.config import UserError
from pipeline.engine.training_images import FILE_NAME
from pipeline.files import read_json
from pipeline.tracking.result import read_sealed


@pytest.fixture(scope="module")
def study(made_once: Callable[..., Path]) -> Path:
    """run/, of data/; new patients in new/."""

    def make(folder: Path) -> None:
        write_images(folder / "data", num_patients=18)
        trained_run(folder)
        write_images(folder / "new", num_patients=8, seed=1, prefix="N")

    return made_once("evaluated", make)


def predict(study: Path, path: Path, out: Path, **asked: object) -> None:
    main(
        PredictSettings(
            run_dir=str(study / "run"),
            manifest={"path": str(path)},
            out=str(out),
            device="cpu",
            processes=1,
            decoders=1,
            **asked,  # type: ignore[arg-type]
        )
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def with_rows(
    study: Path, folder: Path, rows: Sequence[Mapping[str, str]], copied: Mapping[str, Path]
) -> Path:
    """A CSV of the new images and more rows; `copied` are their files."""
    shutil.copytree(study / "new", folder)
    for name, source in copied.items():
        shutil.copy(source, folder / name)
    write_rows(folder / "more.csv", [*rows_of(folder / "manifest.csv"), *map(dict, rows)])
    return folder / "more.csv"


def test_new_patients_are_an_external_test(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict(study, study / "new" / "manifest.csv", tmp_path / "out")
    told = capsys.readouterr().out
    assert "external test, patient level:" in told
    assert "cross-validated" in told
    numbers = read_sealed(tmp_path / "out" / "metrics.json", "")
    assert numbers is not None
    assert numbers["num"]["patients"] == 8
    assert numbers["beside"]["patient"]["auroc"]["value"] is not None
    assert (tmp_path / "out" / "report.html").exists()
    images = pd.read_csv(tmp_path / "out" / "predictions.csv", keep_default_na=False)
    assert (images["known"] == "").all()
    patients = pd.read_csv(tmp_path / "out" / "patients.csv", keep_default_na=False)
    assert (patients["known"] == "").all()
    predict(study, study / "new" / "manifest.csv", tmp_path / "out")  # again: it is there
    assert read_sealed(tmp_path / "out" / "metrics.json", "") == numbers


def test_a_patient_of_the_plan_is_refused_before_an_image_is_decoded(
    study: Path, tmp_path: Path
) -> None:
    rows = [{"patient_id": "P03", "image_path": "strange.png", "label": "lesion"}]
    source = study / "new" / rows_of(study / "new" / "manifest.csv")[0]["image_path"]
    path = with_rows(study, tmp_path / "with", rows, {"strange.png": source})
    with pytest.raises(
        UserError, match=r"patient of the plan \(1 patient\): 'P03'[\s\S]*Out-of-fold predictions"
    ):
        predict(study, path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pixels_of_the_plan_are_refused_under_any_name_and_predictions_are_kept(
    study: Path, tmp_path: Path
) -> None:
    old = rows_of(study / "data" / "manifest.csv")[0]
    rows = [{"patient_id": "X1", "image_path": "x.png", "label": old["label"]}]
    path = with_rows(study, tmp_path / "with", rows, {"x.png": study / "data" / old["image_path"]})
    with pytest.raises(
        UserError, match=r"same pixels as an image of the plan \(1 image\): 'x\.png' of 'X1'"
    ):
        predict(study, path, tmp_path / "out")
    assert not (tmp_path / "out" / "metrics.json").exists()
    assert not (tmp_path / "out" / "report.html").exists()
    images = pd.read_csv(tmp_path / "out" / "predictions.csv", keep_default_na=False)
    known = images.set_index("patient_id")["known"]
    assert known.pop("X1") == "same pixels as an image of the plan"
    assert (known == "").all()


def test_without_labels_the_plan_is_predicted_with_a_warning(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = study / "data" / "manifest.csv"
    predict(study, path, tmp_path / "out", use_labels=False)
    told = " ".join(capsys.readouterr().out.split())
    assert "may have trained these networks" in told
    images = pd.read_csv(tmp_path / "out" / "predictions.csv", keep_default_na=False)
    assert set(images["known"]) == {"patient of the plan"}
    assert not (tmp_path / "out" / "metrics.json").exists()
    record = read_json(tmp_path / "out" / "predict.json")
    assert record["has_labels"] is False


def test_a_run_without_what_images_are_known_by_is_not_evaluated(
    study: Path, tmp_path: Path
) -> None:
    shutil.copytree(study / "run", tmp_path / "run")
    (tmp_path / "run" / FILE_NAME).unlink()
    settings = PredictSettings(
        run_dir=str(tmp_path / "run"),
        manifest={"path": str(study / "new" / "manifest.csv")},
        out=str(tmp_path / "out"),
    )
    with pytest.raises(UserError, match=r"adds training_images\.json"):
        main(settings)
    assert not (tmp_path / "out").exists()
