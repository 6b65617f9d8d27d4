"""New images, predicted into a folder of their own: tables, resumption, refusals."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import called
from PIL import Image
from rich.console import Console
from trained_run import SIDE, trained_run, write_images, write_rows

from pipeline.commands.predict import new_images
from pipeline.commands.settings import PredictSettings
from pipeline.config import UserError
from pipeline.engine.finished import Finished
from pipeline.ensemble import Ensemble
from pipeline.ensemble.kept import Kept
from pipeline.ensemble.predicting import How, predict
from pipeline.ensemble.progress import NAME as PROGRESS
from pipeline.images.decoding import Facts
from pipeline.manifest.unseen import has_labels
from pipeline.training.evaluated import EVAL_BATCH, bounds


@pytest.fixture(scope="module")
def study(made_once: Callable[..., Path]) -> Path:
    """run/, of data/; 72 new images of 36 patients, new/, more than one batch."""

    def make(folder: Path) -> None:
        write_images(folder / "data", num_patients=18)
        trained_run(folder, "evaluation.calibration=temperature", "evaluation.aggregate=max")
        write_images(folder / "new", num_patients=36, seed=1, prefix="N")

    return made_once("predicted", make)


@pytest.fixture
def kept(study: Path) -> Kept:
    return Kept.of(Finished.read(study / "run"))


def settings(study: Path, **asked: object) -> PredictSettings:
    return PredictSettings(run_dir=str(study / "run"), **asked)  # type: ignore[arg-type]


def of_csv(path: Path, **manifest: object) -> dict[str, object]:
    return {"manifest": {"path": str(path), **manifest}}


def few_of(study: Path, path: Path, number: int = 4, **changed: str) -> Path:
    """A CSV of the first new images, with other cells in some columns; None drops a column."""
    with (study / "new" / "manifest.csv").open() as file:
        rows = [{**row, **changed} for row in list(csv.DictReader(file))[:number]]
    write_rows(path, rows)
    return path


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- the tables


@pytest.fixture(scope="module")
def predicted(study: Path, made_once: Callable[..., Path]) -> Path:
    """The folder of the new images' predictions."""

    def make(folder: Path) -> None:
        kept = Kept.of(Finished.read(study / "run"))
        before = digests(study / "run")
        new = new_images(settings(study, **of_csv(study / "new" / "manifest.csv")), kept)
        predict(kept, new, Console(quiet=True), folder / "out")
        assert digests(study / "run") == before, "a run folder is never written"

    return made_once("predictions_of_new", make) / "out"


def test_an_image_has_the_mean_of_the_networks_and_their_spread(
    study: Path, predicted: Path
) -> None:
    ensemble = Ensemble.read(Finished.read(study / "run"))
    table = pd.read_csv(predicted / "predictions.csv")
    assert list(table[["patient_id", "image_path"]].itertuples(index=False)) == sorted(
        table[["patient_id", "image_path"]].itertuples(index=False)
    )
    pixels = np.stack([ensemble.image((study / "new" / name,)) for name in table["image_path"]])
    images = torch.from_numpy(pixels)
    ends = bounds(len(images), EVAL_BATCH["cpu"])
    assert len(ends) == 2
    members = np.concatenate(
        [ensemble.member_probabilities(images[begin:end]) for begin, end in ends], axis=1
    )

    def same(column: str, expected: np.ndarray) -> None:
        found = table[column].to_numpy(np.float32)
        np.testing.assert_array_equal(found, expected.astype(np.float32), err_msg=column)

    for code, name in enumerate(("healthy", "lesion")):
        same(f"prob_{name}", members[..., code].mean(axis=0))
        same(f"lowest_{name}", members[..., code].min(axis=0))
        same(f"highest_{name}", members[..., code].max(axis=0))
        same(f"sd_{name}", members[..., code].std(axis=0, ddof=1))
    (threshold,) = ensemble.decision("image").thresholds.values()
    named = np.where(members[..., 1].mean(axis=0) >= threshold.value, "lesion", "healthy")
    np.testing.assert_array_equal(table["predicted"], named)


def test_patients_are_made_by_the_rule_of_the_run(predicted: Path) -> None:
    images = pd.read_csv(predicted / "predictions.csv")
    patients = pd.read_csv(predicted / "patients.csv", index_col="patient_id")
    assert len(patients) == 36
    highest = images.groupby("patient_id")["prob_lesion"].max()
    pd.testing.assert_series_equal(patients["prob_lesion"], highest, check_names=False)
    assert (patients["num_images"] == images.groupby("patient_id").size()).all()
    labels = images.groupby("patient_id")["label"].first()
    assert (patients["label"] == labels).all()


def test_a_companion_says_what_made_the_tables(study: Path, predicted: Path) -> None:
    record = json.loads((predicted / "predict.json").read_text())
    run = Finished.read(study / "run")
    assert record["run"]["key"] == run.key
    assert record["run"]["plan_hash"] == run.plan[0]["plan_hash"]
    assert (record["num_images"], record["num_patients"], record["num_networks"]) == (72, 36, 3)
    for name, digest in record["checkpoints"].items():
        assert hashlib.sha256((study / "run" / name).read_bytes()).hexdigest() == digest
    assert len(record["checkpoints"]) == 3
    assert record["sha256"].keys() == {"predictions.csv", "patients.csv"}
    for name, digest in record["sha256"].items():
        assert hashlib.sha256((predicted / name).read_bytes()).hexdigest() == digest
    assert "N00" not in (predicted / "predict.json").read_text()
    assert "N00" not in (predicted / PROGRESS).read_text()
    assert not (predicted / ".decoded").exists()
    assert predicted.stat().st_mode & 0o077 == 0


# --- going on


TABLES = ("predictions.csv", "patients.csv", "predict.json")


def test_what_is_done_is_kept_and_what_is_torn_or_changed_is_done_again(
    study: Path, kept: Kept, tmp_path: Path
) -> None:
    data, out = tmp_path / "new", tmp_path / "out"
    shutil.copytree(study / "new", data)
    new = new_images(settings(study, **of_csv(data / "manifest.csv")), kept)

    def again() -> dict[str, bytes]:
        predict(kept, new, Console(quiet=True), out)
        return {name: (out / name).read_bytes() for name in TABLES}

    whole = again()
    header, *lines = (out / PROGRESS).read_text().splitlines(keepends=True)
    assert len(lines) == 2
    record = json.loads(lines[0])
    record["members"][0][0] = [0.25, 0.75]  # it shows that the batch is kept as it was
    (out / PROGRESS).write_text(header + json.dumps(record) + "\n" + lines[1][:100])
    found = again()["predictions.csv"].splitlines()
    expected = whole["predictions.csv"].splitlines()
    assert found[1] != expected[1]
    assert found[2:] == expected[2:]
    first = data / expected[1].decode().split(",")[1]
    first.write_bytes(first.read_bytes())
    assert again() == whole, "the file was written anew: its batch is predicted anew"


def test_a_folder_of_other_predictions_is_refused(
    study: Path, kept: Kept, predicted: Path, tmp_path: Path
) -> None:
    few = few_of(study, tmp_path / "few.csv")
    new = new_images(settings(study, **of_csv(few, image_root=str(study / "new"))), kept)
    with pytest.raises(UserError, match="holds predictions of another run, or of other images"):
        predict(kept, new, Console(quiet=True), predicted)
    for folder in (study / "run" / "out", study / "run" / ".." / "run"):
        with pytest.raises(UserError, match="never written into a run folder"):
            predict(kept, new, Console(quiet=True), folder)


# --- what is read


def test_a_manifest_may_lack_labels_or_be_told_to(study: Path, kept: Kept, tmp_path: Path) -> None:
    root = str(study / "new")
    few = few_of(study, tmp_path / "few.csv")
    labelled = new_images(settings(study, **of_csv(few, image_root=root)), kept)
    assert has_labels(labelled.manifest)
    without = settings(study, **of_csv(few, image_root=root), use_labels=False)
    assert not has_labels(new_images(without, kept).manifest)
    blank = few_of(study, tmp_path / "blank.csv", label="")
    assert not has_labels(
        new_images(settings(study, **of_csv(blank, image_root=root)), kept).manifest
    )
    table = pd.read_csv(few, dtype=str).drop(columns="label")
    table.rename(columns={"patient_id": "who"}).to_csv(tmp_path / "bare.csv", index=False)
    bare = of_csv(tmp_path / "bare.csv", image_root=root, columns={"patient": "who"})
    found = new_images(settings(study, **bare), kept)
    assert not has_labels(found.manifest)
    assert list(found.levels) == ["patient", "image"]
    done = predict(kept, found, Console(quiet=True), tmp_path / "out")
    assert "label" not in done.tables["image"]
    assert "label" not in done.tables["patient"]
    assert done.record["has_labels"] is False


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"label": "cyst"}, "unknown class 'cyst'; allowed are 'healthy', 'lesion'"),
        ({"image_path": "none.png"}, "no such file"),
        ({"patient_id": ""}, "the patient id is blank"),
        ({"image_path": "../data/manifest.csv"}, "lies outside the image root"),
    ],
)
def test_what_is_wrong_with_a_row_is_told_before_anything_is_decoded(
    study: Path, kept: Kept, tmp_path: Path, changed: dict[str, str], told: str
) -> None:
    few = few_of(study, tmp_path / "few.csv", 1, **changed)
    with pytest.raises(UserError, match=told):
        new_images(settings(study, **of_csv(few, image_root=str(study / "new"))), kept)


def test_labels_of_some_rows_alone_are_refused(study: Path, kept: Kept, tmp_path: Path) -> None:
    few = few_of(study, tmp_path / "few.csv")
    rows = list(csv.DictReader(few.open()))
    rows[0]["label"] = ""
    write_rows(few, rows)
    with pytest.raises(UserError, match="1 of 4 rows have no label: give all of them one, or none"):
        new_images(settings(study, **of_csv(few, image_root=str(study / "new"))), kept)


def test_labels_of_a_patient_that_contradict_each_other_are_refused(
    study: Path, kept: Kept, tmp_path: Path
) -> None:
    few = few_of(study, tmp_path / "few.csv", patient_id="N99")
    new = new_images(settings(study, **of_csv(few, image_root=str(study / "new"))), kept)
    with pytest.raises(UserError, match=r"(?s)contradictory labels .*use_labels=false"):
        predict(kept, new, Console(quiet=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_alone_are_images_of_nobody_known(study: Path, kept: Kept, tmp_path: Path) -> None:
    asked = settings(study, images=str(study / "new" / "N0*.png"))
    new = new_images(asked, kept)
    assert new.levels == ("image",)
    assert len(new.manifest) == len(list((study / "new").glob("N0*.png"))) > 10
    done = predict(kept, new, Console(quiet=True), tmp_path / "out")
    assert not (tmp_path / "out" / "patients.csv").exists()
    assert done.record["num_patients"] is None
    assert list(done.tables) == ["image"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "name what is to be predicted"),
        ({"images": "x.png", "manifest": "new"}, "one of them"),
        ({"images": "x.png"}, "there is no such file"),
        ({"images": "x/*.png"}, "there is no such file"),
        ({"images": "."}, "holds no DICOM series; name its images by a pattern"),
        ({"manifest": "new.csv"}, "for a CSV write manifest.path=new.csv"),
        ({"manifest": {"image_root": "x"}}, "name the CSV of the new images"),
    ],
)
def test_what_is_to_be_predicted_is_named_once_and_is_there(
    study: Path,
    kept: Kept,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, object],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told):
        new_images(settings(study, **asked), kept)


def test_pseudonyms_stand_for_new_patients_too(
    study: Path, kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    privacy = replace(kept.config.privacy, pseudonyms=True)
    kept = replace(kept, config=replace(kept.config, privacy=privacy))
    few = few_of(study, tmp_path / "few.csv")
    by_csv = new_images(settings(study, **of_csv(few, image_root=str(study / "new"))), kept)
    by_file = new_images(settings(study, images=str(study / "new" / "N00*.png")), kept)
    for new in (by_csv, by_file):
        table = new.manifest.table
        assert table["patient_id"].str.match("p-").all()
        assert table["image_path"].str.match("i-").all()
        assert all(file.is_file() for file in new.manifest.image_files)


# --- images that cannot be used


@pytest.mark.slow
def test_what_cannot_be_used_is_an_error_when_the_others_are_done_or_left_out(
    study: Path, kept: Kept, tmp_path: Path
) -> None:
    data, out = tmp_path / "new", tmp_path / "out"
    shutil.copytree(study / "new", data)
    rows = list(csv.DictReader((data / "manifest.csv").open()))
    whole = (data / rows[0]["image_path"]).read_bytes()
    (data / rows[0]["image_path"]).write_bytes(whole[: len(whole) // 2])
    Image.new("L", (SIDE + 4, SIDE)).save(data / rows[1]["image_path"])
    new = new_images(settings(study, **of_csv(data / "manifest.csv")), kept)
    with pytest.raises(UserError, match="2 images cannot be used") as told:
        predict(kept, new, Console(quiet=True), out)
    assert "has shape (1, 24, 28) after the transforms, the others (1, 24, 24)" in str(told.value)
    assert not (out / "predict.json").exists()
    assert len((out / PROGRESS).read_text().splitlines()) == 2, "the other batch is kept"
    done = predict(kept, new, Console(quiet=True), out, How(unusable="leave_out"))
    left = pd.read_csv(out / "unusable.csv")
    assert set(left["image_path"]) == {rows[0]["image_path"], rows[1]["image_path"]}
    assert len(done.tables["image"]) == done.record["num_images"] == len(rows) - 2
    assert done.record["num_unusable"] == 2
    with pytest.raises(UserError, match="2 images cannot be used"):
        predict(kept, new, Console(quiet=True), out)  # what was left out before is no less wrong


# --- beside the networks


@pytest.mark.slow
def test_a_watch_adds_columns_of_what_was_decoded(study: Path, kept: Kept, tmp_path: Path) -> None:
    few = few_of(study, tmp_path / "few.csv")
    new = new_images(settings(study, **of_csv(few, image_root=str(study / "new"))), kept)

    def watch(pictures: np.ndarray, facts: Sequence[Facts]) -> dict[str, list[str]]:
        assert pictures.shape == (4, 1, 64, 64)
        return {"shape": [fact["original_shape"] for fact in facts]}

    out = tmp_path / "out"
    done = predict(kept, new, Console(quiet=True), out, watch=watch, watching="shapes")
    assert done.tables["image"]["shape"].tolist() == ["24x24"] * 4
    assert pd.read_csv(out / "predictions.csv")["shape"].tolist() == ["24x24"] * 4


@pytest.mark.slow
def test_the_command_and_what_forget_finds(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study / "new", tmp_path / "new")
    asked = (f"run_dir={study / 'run'}", "manifest.path=new/manifest.csv", "processes=1")
    ended = called(tmp_path, "predict", *asked)
    assert ended.returncode == 0, ended.stderr
    assert "72 images of 36 patients, with labels" in ended.stdout
    assert "72 images, predicted by the mean of 3 networks" in ended.stdout
    (folder,) = (tmp_path / "predictions").iterdir()
    assert folder.name.startswith("manifest-")
    ended = called(tmp_path, "forget", "patient=N01", "yes=true")
    assert ended.returncode == 0, ended.stderr
    assert {path.name for path in folder.iterdir()} == {".lock", "metrics.json"}
    assert "N01" not in (folder / "metrics.json").read_text(), "numbers of all, which name nobody"
