"""Optuna as the sweeper: validation is its objective, and hopeless settings end early."""

import json
from pathlib import Path

import pytest
import yaml
from command_line import called
from system_runs import Cohort, make_cohort, mlflow_client, mlflow_runs

SEARCH = [
    *("cv", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=5"),
    *("hydra.sweeper.sampler.seed=4", "hydra.sweep.dir=sweep", "name=search"),
]
SPACE = ["features=intensity", "model=choice(logistic,majority)", "features.bins=choice(8,16,32)"]
"""With the seed: logistic, majority, logistic twice, and a majority, which falls behind."""


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return make_cohort(tmp_path / "cohort", num_patients=24)


def test_a_search_maximises_validation_and_ends_what_falls_behind(
    cohort: Cohort, tmp_path: Path
) -> None:
    fixed = [word for word in cohort.overrides if not word.startswith("model=")]
    words = [*SEARCH, *fixed, *SPACE, "engine.prune_after=1"]
    ended = called(tmp_path, *words)
    assert ended.returncode == 0, ended.stderr
    assert not ended.stderr
    assert "job 5 of 5" in ended.stdout
    stopped = {path.parent for path in tmp_path.glob("runs/search/*/pruned.json")}
    done = {path.parent for path in tmp_path.glob("runs/search/*/metrics.json")}
    assert len(stopped) == 1
    assert len(done) == 4
    assert not stopped & done
    num = len(stopped | done)
    assert f"{num} settings were tested on this plan" in ended.stdout
    assert len((tmp_path / "ledger.jsonl").read_text().splitlines()) == num
    for folder in stopped:  # the test parts of the other folds were never opened
        assert [path.parent.name for path in folder.glob("fold_*/result.json")] == ["fold_00"]
        assert not list(folder.glob("fold_0[12]/predictions_test.csv"))
    means = []
    for folder in done:
        results = [json.loads(path.read_text()) for path in folder.glob("fold_*/result.json")]
        means.append(sum(result["select_value"] for result in results) / len(results))
    best = yaml.safe_load((tmp_path / "sweep" / "optimization_results.yaml").read_text())
    assert best["best_value"] == pytest.approx(max(means))
    parents, _ = mlflow_runs(mlflow_client(tmp_path), "search")
    tagged = [run for run in parents if "patientfold.pruned" in run.data.tags]
    assert len(tagged) == len(stopped)
    assert {run.info.status for run in tagged} == {"KILLED"}
    assert all("patientfold.settings_tested" in run.data.tags for run in parents)
    told = called(tmp_path, "select", "sweep=runs/search").stdout
    assert "the settings were drawn by optuna, by the validation of all folds" in told
    assert f"{len(stopped)} setting of {num} tested on this plan is not here" in told
    folder = min(stopped)  # and it goes on where it was stopped, once it is asked for by itself
    bins = yaml.safe_load((folder / "config.yaml").read_text())["features"]["bins"]
    alone = ["name=search", "features=intensity", "model=majority", f"features.bins={bins}"]
    again = called(tmp_path, "cv", *cohort.overrides, *alone)
    assert again.returncode == 0, again.stderr
    assert "fold 0  started" not in again.stdout
    assert (folder / "metrics.json").exists()
    assert not (folder / "pruned.json").exists()
    parents, _ = mlflow_runs(mlflow_client(tmp_path), "search")
    assert sum("patientfold.pruned" in run.data.tags for run in parents) == len(stopped) - 1


def test_a_sweep_in_which_all_jobs_fail_ends_with_the_table(cohort: Cohort, tmp_path: Path) -> None:
    space = ["model=lenet5", "+model.nothing=interval(1,9)"]
    search = [word.replace("n_trials=5", "n_trials=2") for word in SEARCH]
    fixed = [word for word in cohort.overrides if not word.startswith("model=")]
    ended = called(tmp_path, *search, *fixed, *space)
    assert ended.returncode == 1
    assert "no job is done" in ended.stdout
    assert "2 of 2 jobs failed" in ended.stderr
    assert "Error executing job" not in ended.stderr
    assert "Traceback" not in ended.stderr
