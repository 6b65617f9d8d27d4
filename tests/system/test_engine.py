"""Folds side by side or one after the other, sweeps, and what a second command may not do."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from system_runs import NUM_FOLDS, make_cohort, mlflow_client, mlflow_runs, only_run_dir, run_cv

from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config
from pipeline.config import UserError
from pipeline.files import lock


@pytest.mark.slow
def test_folds_side_by_side_and_in_turn_predict_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cohort = make_cohort(tmp_path / "cohort")
    predictions = []
    for folds_at_once in (1, 3):
        run_dir = tmp_path / f"at_once_{folds_at_once}"
        overrides = ["experiment=demo", "training.epochs=2", f"run_dir={run_dir}"]
        config = load_config(
            [*cohort.overrides, *overrides, f"engine.folds_at_once={folds_at_once}"]
        )
        value = cross_validate(config).mean
        predictions.append((run_dir / "predictions.csv").read_bytes())
        results = [json.loads(p.read_text()) for p in sorted(run_dir.glob("*/result.json"))]
        assert len(results) == NUM_FOLDS
        assert value == pytest.approx(np.mean([r["select_value"] for r in results]))
        assert value == pytest.approx(np.mean([r["val"]["image"]["auroc"] for r in results]))
    assert predictions[0] == predictions[1]


@pytest.mark.slow
def test_folds_asked_for_one_by_one_end_like_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cohort = make_cohort(tmp_path / "cohort")
    common = [*cohort.overrides, "experiment=demo", "training.epochs=1"]
    cross_validate(load_config([*common, "folds=[1]"]))
    run_dir = only_run_dir(tmp_path, "demo")
    assert (run_dir / "fold_01" / "result.json").exists()
    assert not (run_dir / "predictions.csv").exists()
    cross_validate(load_config(common))
    cross_validate(load_config([*common, f"run_dir={tmp_path}/other"]))
    ours = (run_dir / "predictions.csv").read_bytes()
    assert ours == (tmp_path / "other" / "predictions.csv").read_bytes()


@pytest.mark.slow
def test_a_sweep_makes_one_parent_a_job_under_one_tag(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort")
    overrides = [o for o in cohort.overrides if not o.startswith("model=")]
    sweep = ["model=lenet5,resnet10", "optimizer.lr=1e-3,1e-4", "training.epochs=1"]
    swept = run_cv(tmp_path, "-m", *overrides, *sweep, "experiment=demo", "folds=[0]")
    assert swept.returncode == 0, swept.stderr
    parents, children = mlflow_runs(mlflow_client(tmp_path), "demo")
    assert len(parents) == 4
    assert len(children) == 4
    assert len({run.data.tags["patientfold.sweep"] for run in parents + children}) == 1
    jobs = {(r.data.params["model._target_"], r.data.params["optimizer.lr"]) for r in parents}
    assert len(jobs) == 4
    assert len({run.data.tags["patientfold.key"] for run in parents}) == 4
    names = {f"{model} lr={lr}" for model in ("lenet5", "resnet10") for lr in ("1e-3", "1e-4")}
    assert {run.info.run_name for run in parents} == names
    assert {run.info.run_name for run in children} == {f"fold-00 of {name}" for name in names}
    for parent in parents:  # of a fold that is not all of them
        assert "val/image/auroc" in parent.data.metrics
        assert parent.data.tags["patientfold.folds_done"] == f"1 of {NUM_FOLDS}"
    lines = swept.stdout.splitlines()
    assert sum(line.startswith("manifest ") for line in lines) == 1  # one header for all
    assert [line.split(":")[0] for line in lines if line.startswith("job ")] == [
        f"job {i} of 4" for i in range(1, 5)
    ]
    assert not list((tmp_path / "runs").glob("sweeps/*/*/"))
    means = [float(m) for m in re.findall(r"│ ([01]\.\d{3}) +│ [01]", swept.stdout)]
    assert len(means) == 4
    assert means == sorted(means, reverse=True)


@pytest.mark.slow
def test_a_run_folder_takes_one_cross_validation_and_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cohort = make_cohort(tmp_path / "cohort")
    common = [
        *cohort.overrides,
        "experiment=demo",
        "training.epochs=1",
        "folds=[0]",
        f"run_dir={tmp_path}/run",
    ]
    cross_validate(load_config(common))
    with pytest.raises(UserError, match=r"optimizer.lr: 0.001 there, 0.5 now"):
        cross_validate(load_config([*common, "optimizer.lr=0.5"]))
    with (
        lock(tmp_path / "run" / ".lock", ""),
        pytest.raises(UserError, match="is in use by another process"),
    ):
        cross_validate(load_config(common))


@pytest.mark.slow
def test_training_stops_when_patience_is_out_and_the_best_epoch_is_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another optimizer, schedule, loss and augmentation than the default."""
    monkeypatch.chdir(tmp_path)
    cohort = make_cohort(tmp_path / "cohort")
    other = [
        "optimizer=sgd",
        "scheduler=plateau",
        "sampler=none",
        "loss=weighted_cross_entropy",
        "augment=monai",
        "training.select_by=val/loss",
        "training.precision=bfloat16",
    ]
    overrides = ["training.epochs=60", "training.patience=2", "folds=[0]", "optimizer.lr=0.3"]
    cross_validate(load_config([*cohort.overrides, *other, *overrides, "scheduler.patience=0"]))
    (fold_dir,) = (tmp_path / "runs").glob("*/*/fold_00")
    result = json.loads((fold_dir / "result.json").read_text())
    records = [json.loads(line) for line in (fold_dir / "journal.jsonl").open()]
    epochs = [r["metrics"] for r in records if r["event"] == "epoch"]
    losses = [values["val/loss"] for values in epochs]
    assert result["num_epochs"] == len(losses) == result["best_epoch"] + 2 < 60
    assert result["select_value"] == losses[result["best_epoch"] - 1] == min(losses)
    assert epochs[-1]["train/lr"] < epochs[0]["train/lr"], "the plateau schedule did not act"
