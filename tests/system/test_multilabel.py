"""Images with several labels, or none, through the whole of `cv`."""

import csv
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from system_runs import mlflow_client, mlflow_runs, only_run_dir, run_cv, start_cv

from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config
from pipeline.config import ConfigError, UserError
from pipeline.evaluation.predictions import read_predictions
from pipeline.label_names import LabelNames

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
