"""Images with several labels, or none, through the whole of `cv`."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from system_runs import mlflow_client, mlflow_runs

from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config
from pipeline.config import ConfigError
from pipeline.evaluation.predictions import read_predictions
from pipeline.images.packing import pack_images
from pipeline.label_names import LabelNames
from pipeline.manifest import ManifestError, read_manifest
from pipeline.splits import Plan, plan_folds
from pipeline.training import checkpoint, fold
from pipeline.training.fold import train_fold
from pipeline.training.job import FoldJob
from pipeline.training.loss import build_loss
from pipeline.training.progress import Progress

LABELS = LabelNames(("edema", "effusion", "nodule"))
PLACES = {"edema": (2, 2), "effusion": (2, 14), "nodule": (14, 8)}
TASK = (
    "manifest.task=multilabel",
    "manifest.columns.label=findings",
    "manifest.columns.site=null",
    "images.transforms=[]",
    "loss=binary_cross_entropy",
    "split.num_folds=3",
    "training.batch_size=8",
    "engine.device=cpu",
)
NETWORK = ("model=lenet5", "augment=none", "optimizer.lr=3e-3")


def write_cohort(folder: Path, num_patients: int = 30, names: str = "findings") -> list[str]:
    """Two images of each patient, with a bright square for each finding; overrides to read them.

    `names`: one column of findings, or a column of 0 and 1 for each ("flags").
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(num_patients):
        has = (number % 2 == 0, number % 3 == 0, number % 5 == 0)
        found = [name for name, yes in zip(LABELS, has, strict=True) if yes]
        for image in range(2):
            pixels = rng.normal(90, 20, (24, 24))
            for name in found:
                y, x = PLACES[name]
                pixels[y : y + 8, x : x + 8] += 90
            path = f"p{number:02d}_{image}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / path)
            cells = ["|".join(found)] if names == "findings" else [str(int(yes)) for yes in has]
            rows.append([f"P{number:02d}", path, *cells])
    header = ["findings"] if names == "findings" else list(LABELS)
    write_rows(folder, [["patient_id", "image_path", *header], *rows])
    of_columns = [f"manifest.columns.label=[{','.join(LABELS)}]"] if names == "flags" else []
    return [f"manifest.path={folder}/manifest.csv", *TASK, *of_columns]


def write_rows(folder: Path, rows: list[list[str]]) -> None:
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def read_rows(folder: Path) -> list[list[str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("model", [NETWORK, ("model=logistic",)], ids=["network", "baseline"])
def test_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_cohort(tmp_path / "data")
    run_dir = cross_validate(load_config([*data, *model, "training.epochs=12"])).run_dir
    table = read_predictions(run_dir / "predictions.csv", LABELS)
    assert len(table) == 60
    expected = {row[1]: row[2] or "none" for row in read_rows(tmp_path / "data")[1:]}
    assert dict(zip(table["image_path"], table["label"], strict=True)) == expected
    metrics = json.loads((run_dir / "metrics.json").read_text())
    for level in ("image", "patient"):
        values = {name: entry["value"] for name, entry in metrics[level].items()}
        for metric in ("auroc", "average_precision", "balanced_accuracy"):
            of_labels = [values[f"{metric}_{name}"] for name in LABELS]
            assert values[metric] == pytest.approx(np.mean(of_labels)), metric
        assert values["auroc"] > 0.9
        assert values["prevalence_edema"] == pytest.approx(1 / 2)
        assert values["prevalence_nodule"] == pytest.approx(1 / 5)
        assert {"sensitivity_nodule", "specificity_nodule"} <= values.keys()
    result = json.loads((run_dir / "fold_00" / "result.json").read_text())
    assert result["thresholds"]["patient"].keys() == set(LABELS)
    _, folds = mlflow_runs(mlflow_client(tmp_path), "manifest")
    told = folds[0].data.metrics
    assert told["threshold/image/edema"] == result["thresholds"]["image"]["edema"]
    assert told["test/patient/auroc_nodule"] == result["test"]["patient"]["auroc_nodule"]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("loss=cross_entropy", "use loss=binary_cross_entropy, or loss=focal"),
        ("loss.class_weights=inverse", "loss.class_weights weigh whole images"),
        (
            "manifest.task=multiclass",
            "manifest.no_label=x works with manifest.task=multil",
        ),
    ],
)
def test_what_does_not_go_together_is_told_at_the_door(
    tmp_path: Path, override: str, told: str
) -> None:
    data = write_cohort(tmp_path / "data", num_patients=3)
    with pytest.raises(ConfigError, match=told):
        load_config([*data, *NETWORK, "manifest.no_label=x", override])


@pytest.mark.parametrize("loss", ["cosine", "poisson", "kullback_leibler", "cross_entropy"])
def test_a_loss_of_classes_that_exclude_each_other(loss: str) -> None:
    config = load_config(["manifest=demo", f"loss={loss}"])
    with pytest.raises(ConfigError, match="needs loss=binary_cross_entropy"):
        build_loss(config.loss, np.zeros(3), "labels")


def test_leakage_cost_is_of_one_label_an_image(tmp_path: Path) -> None:
    """Said before an image is read: there is no image file."""
    data = write_cohort(tmp_path / "data", num_patients=3)
    for file in (tmp_path / "data").glob("*.png"):
        file.unlink()
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline", "leakage-cost", *data, *NETWORK],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    told = "error: leakage-cost needs one label an image, not manifest.task=multilabel."
    assert ran.stderr.strip() == told


def test_both_kinds_of_columns_say_the_same(tmp_path: Path) -> None:
    tables = []
    for names in ("findings", "flags"):
        data = write_cohort(tmp_path / names, num_patients=9, names=names)
        config = load_config([*data, "manifest.largest_group=1"])
        manifest = read_manifest(config.manifest)
        assert isinstance(manifest.classes, LabelNames)
        tables.append(manifest.table["label"].tolist())
        assert manifest.num_per_class(manifest.of(manifest.patients)).tolist() == [10, 6, 4]
    assert tables[0] == tables[1]


def test_cells_that_say_nothing_or_too_much(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    data = write_cohort(folder, num_patients=9)
    rows = read_rows(folder)
    rows[3][2], rows[4][2] = "edema|No Finding", ""
    write_rows(folder, rows)
    config = load_config(
        [*data, "manifest.no_label=No Finding", "manifest.classes=[edema,effusion]"]
    )
    with pytest.raises(ManifestError) as error:
        read_manifest(config.manifest)
    told = str(error.value)
    assert "line 4: 'edema|No Finding' says none of the labels" in told
    assert "line 5: the label is blank" in told
    assert "line 2: unknown label 'nodule'" in told


def job_of(folder: Path, data: list[str], plan: Plan | None = None) -> FoldJob:
    """Fold 0, with the plan of another cohort of the same patients if there is one."""
    cache = f"images.cache_dir={folder}/cache"
    config = load_config([*data, *NETWORK, "training.epochs=4", cache])
    manifest = read_manifest(config.manifest)
    plan = plan or plan_folds(manifest, config.split)
    images = pack_images(manifest, config.images, lambda _done, _total: None)
    (folder / "fold_00").mkdir(parents=True)
    return FoldJob(config, manifest, plan.folds[0], images, folder / "fold_00", "key", "cpu")


def test_other_labels_in_the_test_part_change_nothing_but_the_test(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    real = job_of(tmp_path / "a", write_cohort(tmp_path / "real"))
    data, rows = write_cohort(tmp_path / "other"), read_rows(tmp_path / "other")
    for row in rows[1:]:
        if row[0] in real.fold.test:
            row[2] = "" if "edema" in row[2] else "edema|nodule"
    write_rows(tmp_path / "other", rows)
    other = job_of(tmp_path / "b", data, plan_folds(real.manifest, real.config.split))
    for job in (real, other):
        train_fold(job)
    for name in ("best.pt", "predictions_val.csv"):
        assert (real.fold_dir / name).read_bytes() == (other.fold_dir / name).read_bytes(), name
    one, two = (json.loads((job.fold_dir / "result.json").read_text()) for job in (real, other))
    assert one["thresholds"] == two["thresholds"]
    assert one["test"] != two["test"]


def test_a_stopped_fold_ends_like_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    data = write_cohort(tmp_path / "data")
    whole, stopped = (job_of(tmp_path / name, data) for name in ("whole", "stopped"))
    train_fold(whole)
    save = checkpoint.save_epoch

    def stop(learner: Any, progress: Progress, *rest: Any) -> None:
        save(learner, progress, *rest)
        if progress.num_epochs == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(fold, "save_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        train_fold(stopped)
    monkeypatch.setattr(fold, "save_epoch", save)
    train_fold(stopped)
    for name in ("best.pt", "predictions_val.csv", "predictions_test.csv"):
        assert (whole.fold_dir / name).read_bytes() == (stopped.fold_dir / name).read_bytes(), name
