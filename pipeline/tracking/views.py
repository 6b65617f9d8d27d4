"""Two views of an experiment in MLflow's UI, and the links to them in its description.

Left alone, the UI shows no metric in its table, sorts a parent among its folds, and begins its
charts with those of the test part. A view is a tag that a link names, as MLflow's "Share" makes it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NOTE_TAG, VIEW_TAG = "mlflow.note.content", "mlflow.sharedViewState"
RUNS, FOLDS = "patientfold-runs", "patientfold-folds"
CHARTS = ("val/image", "val/patient", "val", "train", "train/image")
"""Sections of charts that stand open; those below them are folded."""
FOLDED = (
    *("Model metrics", "threshold", "best/val/image", "best/val/patient"),
    *("test/image", "test/patient", "System metrics"),
)
OURS = "Compare the [runs]("
MOST_PARAMS = 8
NAME_PARAM = "asked_for"
"""The run's name: a first axis, of the sorted parameters, that names the runs of a sweep."""


def experiment_tags(
    experiment_id: str,
    select_by: str,
    existing: Mapping[str, str],
    varied: Sequence[str] = (),
) -> dict[str, str]:
    """The tags to set; somebody's own description stays.

    `varied`: the params that a run is called by. They are shown beside those of earlier runs.
    """
    page = f"#/experiments/{experiment_id}/{{}}?workflowType=machine_learning"  # else GenAI's
    views = page.format("runs") + "&viewStateShareKey="
    runs, folds, charts = views + RUNS, views + FOLDS, "&compareRunsMode=CHART"
    note = (
        f"{OURS}{runs}) by `{select_by}` of validation (the columns: mean over folds, largest, "
        f"smallest) or in [charts]({runs}{charts}); see the [epochs of their folds]"
        f"({folds}{charts}) and, side by side, the [models]({page.format('models')}) of "
        "folds and cross-validations. "
        "`test/...` is for the report, once the settings are chosen."
    )
    before = json.loads(existing.get(f"{VIEW_TAG}.{RUNS}", "{}")).get("compareRunCharts", ())
    axes = [name for chart in before for name in chart["selectedParams"] if name != NAME_PARAM]
    params = list(dict.fromkeys([*axes, *varied]))[:MOST_PARAMS]
    of_runs = [f"metrics.`{select_by}{end}`" for end in ("", "_min", "_max")]
    columns = dict.fromkeys([*params, "optimizer.lr", "training.epochs"])
    of_runs += [f"params.`{name}`" for name in columns]
    of_runs += ["tags.`patientfold.folds_done`"]
    best = f"best/{select_by}"
    of_folds = [f"metrics.`{best}`", "metrics.`best_epoch`", "params.`fold`"]
    lower_is_better = select_by == "val/loss"
    first = select_by.rpartition("/")[0]
    runs_axes = _parallel([NAME_PARAM, *params], [best])
    folds_axes = _parallel([NAME_PARAM, "fold"], ["best_epoch", best])
    tags = {
        f"{VIEW_TAG}.{RUNS}": _view("cv", of_runs, first, lower_is_better, runs_axes),
        f"{VIEW_TAG}.{FOLDS}": _view("fold", of_folds, first, lower_is_better, folds_axes),
        NOTE_TAG: note,
    }
    if not existing.get(NOTE_TAG, OURS).startswith(OURS):
        del tags[NOTE_TAG]
    return {name: value for name, value in tags.items() if existing.get(name) != value}


def named_params(run_name: str, params: Iterable[str]) -> list[str]:
    """The params that a run's name gives a value of: `lr=1e-3` names `optimizer.lr`."""
    named = [word.partition("=")[0] for word in run_name.split() if "=" in word]
    return [key for name in named for key in params if f".{key}".endswith(f".{name}")]


def _parallel(params: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    """A chart of parallel coordinates, in the first section."""
    return {
        "uuid": "patientfold-parallel",
        "type": "PARALLEL",
        "runsCountToCompare": 10,
        "metricSectionId": "patientfold-0",
        "deleted": False,
        "isGenerated": False,
        "selectedParams": [*params],
        "selectedMetrics": [*metrics],
        "showAllRuns": False,
    }


def _view(
    role: str, columns: list[str], first: str, lower_is_better: bool, chart: Mapping[str, Any]
) -> str:
    """The runs of one role, the best of the first column on top; the charts begin with `first`."""
    names = dict.fromkeys((first, *CHARTS, *FOLDED))
    sections = [
        {
            "uuid": f"patientfold-{number}",
            "name": name,
            "display": name not in FOLDED,
            "isReordered": True,
            "deleted": False,
            "isGenerated": True,
        }
        for number, name in enumerate(names)
    ]
    state = {
        "searchFilter": f"tags.`patientfold.role` = '{role}'",
        "orderByKey": columns[0],
        "orderByAsc": lower_is_better,
        "selectedColumns": ["attributes.`Duration`", *columns],
        "compareRunCharts": [chart],  # the UI adds one for each metric to its section
        "compareRunSections": sections,
        "isAccordionReordered": True,
    }
    return json.dumps(state)
