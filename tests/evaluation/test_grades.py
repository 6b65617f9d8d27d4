"""Classes that are a scale: weighted kappa, from the settings to metrics.json and back."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from pipeline.commands.door import load_config
from pipeline.config import ConfigError
from pipeline.evaluation.metrics import metrics, named_metrics
from pipeline.evaluation.summary import classes_of, summarise
from pipeline.files import write_json
from pipeline.label_names import Grades
from pipeline.manifest import read_manifest

SCALE = ("none", "mild", "severe")


def table_of(seed: int, num_patients: int = 60, images: int = 2) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    patients = np.arange(num_patients).repeat(images)
    labels = (patients % 3).astype(int)
    scores = generator.normal(size=(len(labels), 3))
    scores[np.arange(len(labels)), labels] += 1.2
    told = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    names = np.array(SCALE)
    table = pd.DataFrame(
        {
            "fold": patients % 4,
            "patient_id": patients.astype(str),
            "image_path": [f"{row}.png" for row in range(len(patients))],
            "label": names[labels],
            "predicted": names[told.argmax(axis=1)],
        }
    )
    table[[f"prob_{name}" for name in SCALE]] = told
    return table


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_scikit_learn_with_quadratic_weights(seed: int) -> None:
    table = table_of(seed)
    found = metrics(table, Grades(SCALE), "image")["kappa"]
    expected = cohen_kappa_score(
        table["label"], table["predicted"], labels=list(SCALE), weights="quadratic"
    )
    assert found == pytest.approx(expected, abs=1e-9)


def test_only_a_scale_has_it() -> None:
    assert "kappa" in named_metrics(Grades(SCALE), "patient")
    assert "kappa" in named_metrics(Grades(SCALE), "image")
    assert "kappa" not in named_metrics(SCALE, "patient")


def test_one_grade_alone_has_no_kappa() -> None:
    table = table_of(0).assign(label="mild", predicted="mild")
    assert metrics(table, Grades(SCALE), "image")["kappa"] is None
    entry = summarise({"image": table}, Grades(SCALE))["image"]["kappa"]
    assert (entry["value"], entry["ci_low"], entry["num_missing"]) == (None, None, 4)


def test_the_scale_is_known_from_metrics_json(tmp_path: Path) -> None:
    summary = summarise({"image": table_of(1), "patient": table_of(1)}, Grades(SCALE))
    write_json(tmp_path / "metrics.json", summary)
    read = json.loads((tmp_path / "metrics.json").read_text())
    assert classes_of(read) == SCALE
    assert isinstance(classes_of(read), Grades)
    for level in ("patient", "image"):
        entry = read[level]["kappa"]
        assert -1 <= entry["ci_low"] < entry["value"] < entry["ci_high"] <= 1
        assert len(entry["per_fold"]) == 4
    del read["ordered"]  # an older run folder
    assert not isinstance(classes_of(read), Grades)


MULTICLASS = "manifest.task=multiclass"
NAMED = "manifest.classes=[none,mild,severe]"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["manifest.task=binary"], "works with manifest.task=multiclass only: two classes have no"),
        (["manifest.task=multilabel", "loss=binary_cross_entropy"], "are no scale"),
        ([MULTICLASS, "manifest.classes=null"], r"three or more; got \[\]"),
        ([MULTICLASS, "manifest.classes=[a,b]"], r"three or more; got \['a', 'b'\]"),
    ],
)
def test_what_is_no_scale_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(["manifest=demo", "manifest.ordered=true", *overrides])
    assert len(caught.value.problems) == 1


def test_epochs_are_chosen_by_the_kappa_of_a_scale_only() -> None:
    chosen = ["manifest=demo", "training.select_by=val/patient/kappa"]
    load_config([*chosen, MULTICLASS, NAMED, "manifest.ordered=true"])
    with pytest.raises(ConfigError, match="needs classes that are a scale"):
        load_config(chosen)


def test_the_manifest_keeps_its_hash_and_knows_its_scale(tmp_path: Path) -> None:
    rows = [f"P{i},{i}.png,{SCALE[i % 3]}" for i in range(9)]
    (tmp_path / "m.csv").write_text("\n".join(["patient_id,image_path,label", *rows]) + "\n")
    for i in range(9):
        (tmp_path / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    common = ["manifest=default", "manifest.name=m", f"manifest.path={tmp_path}/m.csv"]
    found = [
        read_manifest(load_config([*common, MULTICLASS, NAMED, f"manifest.ordered={of}"]).manifest)
        for of in ("false", "true")
    ]
    assert [isinstance(of.classes, Grades) for of in found] == [False, True]
    assert found[0].hash == found[1].hash
