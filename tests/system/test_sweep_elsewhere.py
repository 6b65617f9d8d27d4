"""A sweep whose jobs are processes of their own; folds of several commands, gathered."""

import json
import os
import subprocess
from pathlib import Path

from command_line import called
from run_copies import trained_elsewhere
from system_runs import cv_command, make_cohort, mlflow_client, mlflow_runs, only_run_dir, run_cv

from pipeline.engine.finished import Finished


def test_two_jobs_at_once_are_ranked_by_the_command_that_waits(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort")
    settings = [*cohort.overrides, "name=sweep", "model=logistic", "features=pixels,intensity"]
    command = cv_command("-m", *settings, "hydra/launcher=submitit_local")
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "best first" in done.stdout
    assert "2 settings were tested on this plan" in done.stdout
    jobs = [json.loads(p.read_text()) for p in sorted(tmp_path.glob("runs/sweeps/*/jobs/*.json"))]
    folders = [job["outcome"]["run_dir"] for job in jobs]
    assert len({*folders}) == 2
    means = [sum(job["outcome"]["values"]) for job in jobs]
    best, other = (folders[i] for i in ((0, 1) if means[0] >= means[1] else (1, 0)))
    assert done.stdout.index(best) < done.stdout.index(other)
    parents, children = mlflow_runs(mlflow_client(tmp_path), "sweep")
    names = {str(run.info.run_name) for run in parents}
    assert names == {"logistic features=pixels", "logistic features=intensity"}
    assert len(children) == 6
    assert {run.info.status for run in parents + children} == {"FINISHED"}
    assert len((tmp_path / "ledger.jsonl").read_text().splitlines()) == 2


def test_folds_of_several_commands_are_gathered_by_report(tmp_path: Path) -> None:
    """The last of them has put them together; a node that saw the others' files late has not."""
    cohort = make_cohort(tmp_path / "cohort")
    settings = [*cohort.overrides, "name=folds", "model=logistic", "features=intensity"]
    for fold in range(3):
        task = {"SLURM_ARRAY_TASK_ID": str(fold)}
        done = called(tmp_path, "cv", *settings, "folds=[${oc.env:SLURM_ARRAY_TASK_ID}]", **task)
        assert done.returncode == 0, done.stderr
    run_dir = only_run_dir(tmp_path, "folds")
    whole = {name: (run_dir / name).read_bytes() for name in ("predictions.csv", "metrics.json")}
    for name in (*whole, "report.html"):
        (run_dir / name).unlink()
    other = {"engine.device": "cuda", "engine.kind": "ray", "engine.address": "gpu-head:6379"}
    trained_elsewhere(run_dir, other)
    done = called(tmp_path, "report", f"run_dir={run_dir.relative_to(tmp_path)}")
    assert done.returncode == 0, done.stderr
    assert {name: (run_dir / name).read_bytes() for name in whole} == whole
    assert (run_dir / "report.html").exists()
    parents, children = mlflow_runs(mlflow_client(tmp_path), "folds")
    assert [run.info.status for run in parents] == ["FINISHED"]
    assert len(children) == 3
    assert Finished.read(run_dir).settings["folds"] == "all"
    (run_dir / "metrics.json").unlink()
    again = run_cv(tmp_path, *settings, "folds=all")
    assert again.returncode == 0, again.stderr
    assert (run_dir / "metrics.json").read_bytes() == whole["metrics.json"]
