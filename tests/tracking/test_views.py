"""The views that an experiment's description links to."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from synthetic_run_folder import make_database, make_run_folder

from pipeline.tracking.mirror import sync
from pipeline.tracking.server import GREATER_IS_BETTER, PRIMARY_METRIC
from pipeline.tracking.views import NOTE_TAG, VIEW_TAG, experiment_tags, named_params

MOST_LETTERS = 5000  # that MLflow takes as the value of an experiment's tag


def views(tags: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Share key -> state, of those that the description links to."""
    page = r"#/experiments/7/runs\?workflowType=machine_learning&viewStateShareKey=([\w-]+)"
    keys = list(dict.fromkeys(re.findall(page, tags[NOTE_TAG])))
    assert len(keys) == 2
    return {key: json.loads(tags[f"{VIEW_TAG}.{key}"]) for key in keys}


@pytest.mark.parametrize("select_by", ["val/image/auroc", "val/patient/auroc", "val/loss"])
def test_the_views_lead_to_validation_and_fold_away_the_test(select_by: str) -> None:
    tags = experiment_tags("7", select_by, {})
    assert max(map(len, tags.values())) < MOST_LETTERS
    runs, folds = views(tags).values()
    assert runs["orderByKey"] == f"metrics.`{select_by}`"
    assert folds["orderByKey"] == f"metrics.`best/{select_by}`"  # not of the last epoch
    for state in (runs, folds):
        assert state["orderByKey"] in state["selectedColumns"]
        assert state["orderByAsc"] is (select_by == "val/loss")
        assert not [column for column in state["selectedColumns"] if "test/" in column]
        sections = {s["name"]: s["display"] for s in state["compareRunSections"]}
        assert next(iter(sections)) == select_by.rpartition("/")[0]
        shown = [name for name, is_open in sections.items() if is_open]
        assert list(sections)[: len(shown)] == shown
        assert sorted(shown) == ["train", "train/image", "val", "val/image", "val/patient"]
        assert {"test/image", "test/patient"} <= sections.keys()
    assert runs["selectedColumns"] == [
        "attributes.`Duration`",
        *(f"metrics.`{select_by}{end}`" for end in ("", "_min", "_max")),
        "params.`optimizer.lr`",
        "params.`training.epochs`",
        "tags.`patientfold.folds_done`",
    ]
    filters = {state["searchFilter"] for state in views(tags).values()}
    assert filters == {"tags.`patientfold.role` = 'cv'", "tags.`patientfold.role` = 'fold'"}


def test_the_views_show_what_the_runs_of_an_experiment_differ_in() -> None:
    params = ["asked_for", "optimizer.lr", "optimizer.weight_decay", "scheduler.max_lr"]
    varied = named_params("lenet5 lr=3e-4 weight_decay=0.1 features=pixels", params)
    assert varied == ["optimizer.lr", "optimizer.weight_decay"]
    first = experiment_tags("7", "val/image/auroc", {}, ["training.batch_size"])
    tags = first | experiment_tags("7", "val/image/auroc", first, varied)
    runs, folds = views(tags).values()
    (chart,) = runs["compareRunCharts"]
    assert chart["selectedParams"] == ["asked_for", "training.batch_size", *varied]
    assert chart["selectedMetrics"] == ["best/val/image/auroc"]
    assert chart["metricSectionId"] == runs["compareRunSections"][0]["uuid"]
    shown = [column for column in runs["selectedColumns"] if "params." in column]
    assert shown == [
        *(f"params.`{name}`" for name in ("training.batch_size", *varied, "training.epochs")),
    ]
    assert experiment_tags("7", "val/image/auroc", tags) == {}  # a run that varies nothing
    (chart,) = folds["compareRunCharts"]
    assert chart["selectedParams"] == ["asked_for", "fold"]
    many = experiment_tags(
        "7", "val/loss", {}, [f"a_setting.of.some.length_{n}" for n in range(99)]
    )
    assert max(map(len, many.values())) < MOST_LETTERS


def test_nothing_is_set_twice_and_somebodys_description_stays() -> None:
    tags = experiment_tags("7", "val/loss", {})
    assert experiment_tags("7", "val/loss", tags) == {}
    assert NOTE_TAG not in experiment_tags("7", "val/loss", {NOTE_TAG: "ours since 2024"})
    assert NOTE_TAG in experiment_tags("7", "val/image/auroc", tags)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("test/patient/auroc", ("val/image/auroc", "True")),
        ("val/loss", ("val/loss", "False")),  # somebody's own choice
        (None, ("val/image/auroc", "True")),
    ],
)
def test_an_experiment_is_mended_when_it_invites_to_choose_on_test(
    tmp_path: Path, before: str | None, after: tuple[str, str]
) -> None:
    uri = make_database(tmp_path)
    client = MlflowClient(uri)
    tags = {PRIMARY_METRIC: before} if before else {}
    made = client.create_experiment("demo", (tmp_path / "artifacts").as_uri(), tags)
    sync(make_run_folder(tmp_path / "run", uri))
    mended = client.get_experiment(made).tags
    assert (mended[PRIMARY_METRIC], mended[GREATER_IS_BETTER]) == after
    assert f"by `{after[0]}`" in mended[NOTE_TAG]
