"""A user's own metric from the settings to metrics.json, MLflow, compare and select."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import called
from system_runs import Cohort, make_cohort, mlflow_client, mlflow_runs, run_cv

PLUGIN = """
def share(labels, predicted, probabilities):
    return 1 - float(abs(probabilities[:, 1] - labels).mean())
"""
OWN = ["plugins=[own_lab]", "evaluation.metrics={share: own_lab.share}"]


@pytest.fixture(scope="module")
def study(made_once: Callable[..., Path]) -> Path:
    def make(folder: Path) -> None:
        (folder / "own_lab.py").write_text(PLUGIN)
        cohort = make_cohort(folder / "cohort", num_patients=24)
        for model, more in {"majority": OWN, "logistic": OWN, "svm": []}.items():
            settings = [*cohort.overrides, "name=study", f"model={model}", *more]
            ended = run_cv(folder, *settings, f"run_dir=runs/{model}")
            assert ended.returncode == 0, ended.stderr

    return made_once("own_metrics", make)


def metrics_of(study: Path, model: str) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = json.loads(
        (study / "runs" / model / "metrics.json").read_text()
    )
    return found


def test_it_is_in_metrics_json_in_the_folds_and_in_mlflow(study: Path) -> None:
    found = metrics_of(study, "logistic")
    assert found["own"]["share"] == {"function": "own_lab.share", "higher_is_better": True}
    runs, folds = mlflow_runs(mlflow_client(study), "study")
    for level in ("patient", "image"):
        entry = found[level]["share"]
        assert entry["ci_low"] < entry["value"] < entry["ci_high"]
        logged = [run.data.metrics.get(f"test/{level}/share_ci_low") for run in runs]
        assert pytest.approx(entry["ci_low"]) in logged
        of_folds = [run.data.metrics.get(f"test/{level}/share") for run in folds]
        assert sum(value is not None for value in of_folds) == 6  # of two runs
    facts = json.loads((study / "runs" / "logistic" / "environment.json").read_text())
    assert facts["plugins"]["own_lab"]["file"].endswith("own_lab.py")


def test_runs_are_compared_by_it_where_the_command_names_the_plugin(study: Path) -> None:
    runs = "runs=[runs/majority,runs/logistic]"
    ended = called(study, "compare", runs, "metric=share", "plugins=[own_lab]")
    assert ended.returncode == 0, ended.stderr
    assert "share, patient level; majority has" in ended.stdout
    refused = called(study, "compare", runs, "metric=share")
    assert refused.returncode == 1
    assert "whose code runs: name it yourself, plugins=[own_lab]" in refused.stderr
    missing = called(study, "compare", runs, "metric=share", "plugins=[no_lab]")
    assert "there is no module 'no_lab'" in missing.stderr


def test_a_sweep_has_it_where_the_command_names_the_plugin(study: Path) -> None:
    sweep = "sweep=[runs/majority,runs/logistic]"
    ended = called(study, "select", sweep, "plugins=[own_lab]")
    assert ended.returncode == 0, ended.stderr
    assert "share" in ended.stdout
    without = called(study, "select", sweep)
    assert without.returncode == 0, without.stderr
    assert "left out: share; to compute them, name their package" in without.stdout


def test_one_that_is_added_later_trains_nothing_again(study: Path) -> None:
    settings = [*Cohort(study / "cohort").overrides, "name=study", "model=svm", *OWN]
    ended = run_cv(study, *settings, "run_dir=runs/svm")
    assert ended.returncode == 0, ended.stderr
    assert "all folds are done already" in ended.stdout
    assert metrics_of(study, "svm")["patient"]["share"]["ci_low"] < 1
