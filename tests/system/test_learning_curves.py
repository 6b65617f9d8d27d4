"""Real runs that fit too much or nothing: named in the summary, in metrics.json and in MLflow."""

import json
import random
from pathlib import Path

import pandas as pd
import pytest
from system_runs import Cohort, make_cohort, mlflow_client, mlflow_runs, only_run_dir

from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config
from pipeline.tracking.journal import EpochEnded, read_journal


def _with_random_labels(cohort: Cohort) -> None:
    """Of patients, so that nothing but the images of training can be learned."""
    rows, draw = cohort.rows(), random.Random(0)
    labels = {row["patient_id"]: row["label"] for row in rows}
    drawn = dict(zip(labels, draw.sample(list(labels.values()), len(labels)), strict=True))
    cohort.write_rows([{**row, "label": drawn[row["patient_id"]]} for row in rows])


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["training.epochs=25", "optimizer.lr=3e-3"], "over-fitting in 3 of 3 folds: after epoch"),
        (["training.epochs=6", "optimizer.lr=1e-7"], "under-fitting in 3 of 3 folds: the training"),
    ],
)
def test_a_run_that_fits_badly_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    cohort = make_cohort(tmp_path / "cohort")
    _with_random_labels(cohort)
    common = ["name=fit", "augment=none", "scheduler=constant"]
    cross_validate(load_config([*cohort.overrides, *common, *overrides]))
    assert named in " ".join(capsys.readouterr().out.split())
    run_dir = only_run_dir(tmp_path, "fit")
    (fit,) = json.loads((run_dir / "metrics.json").read_text())["fit"]
    assert fit["note"].startswith(named)
    (parent,), folds = mlflow_runs(mlflow_client(tmp_path), "fit")
    assert parent.data.tags["patientfold.fit"] == fit["note"]
    for fold, run in enumerate(folds):
        events = read_journal(run_dir / f"fold_{fold:02d}" / "journal.jsonl")
        epochs = [event for event in events if isinstance(event, EpochEnded)]
        last, chosen = epochs[-1], [event for event in epochs if event.best][-1]
        val = pd.read_csv(run_dir / f"fold_{fold:02d}" / "predictions_val.csv")
        right = (val["prob_lesion"] > val["prob_healthy"]) == (val["label"] == "lesion")
        assert chosen.metrics["val/image/accuracy"] == pytest.approx(right.mean())
        for part in ("train", "val"):
            for name in (f"{part}/loss", f"{part}/image/accuracy"):
                assert run.data.metrics[name] == last.metrics[name]
        for name in ("lr", "grad_norm", "images_per_s"):
            assert run.data.metrics[f"train/{name}"] == last.metrics[f"train/{name}"]
        assert run.data.metrics["train/lr"] == float(overrides[-1].partition("=")[2])
        assert run.data.metrics["train/images_per_s"] > 0
    for plot in ("learning_curves.png", "speed.png"):
        assert (run_dir / "plots" / plot).exists()
