"""Two views of an experiment in MLflow's UI, and the links to them in its description.

Left alone, the UI shows no metric in its table, sorts a parent among its folds, and begins its
charts with those of the test part. A view is a tag that a link names, as MLflow's "Share" makes it.
"""

import json
from collections.abc import Mapping

NOTE_TAG, VIEW_TAG = "mlflow.note.content", "mlflow.sharedViewState"
RUNS, FOLDS = "patientfold-runs", "patientfold-folds"
CHARTS = ("val/image", "val/patient", "val", "train", "train/image")
"""Sections of charts that stand open; those below them are folded."""
FOLDED = (
    *("Model metrics", "threshold", "best/val/image", "best/val/patient"),
    *("test/image", "test/patient", "System metrics"),
)
OURS = "Compare the [runs]("


def experiment_tags(
    experiment_id: str, select_by: str, existing: Mapping[str, str]
) -> dict[str, str]:
    """The tags to set; somebody's own description stays."""
    page = f"#/experiments/{experiment_id}/runs?viewStateShareKey="
    runs, folds = page + RUNS, page + FOLDS
    note = (
        f"{OURS}{runs}) by `{select_by}` of validation (the columns: mean over folds, largest, "
        f"smallest), and see the [epochs of their folds]({folds}&compareRunsMode=CHART). "
        "`test/...` is for the report, once the settings are chosen."
    )
    of_runs = [f"metrics.`{select_by}{end}`" for end in ("", "_min", "_max")]
    of_runs += [f"params.`{name}`" for name in ("optimizer.lr", "training.epochs")]
    of_runs += ["tags.`patientfold.folds_done`"]
    of_folds = [f"metrics.`best/{select_by}`", "metrics.`best_epoch`", "params.`fold`"]
    lower_is_better = select_by == "val/loss"
    first = select_by.rpartition("/")[0]
    tags = {
        f"{VIEW_TAG}.{RUNS}": _view("cv", of_runs, first, lower_is_better),
        f"{VIEW_TAG}.{FOLDS}": _view("fold", of_folds, first, lower_is_better),
        NOTE_TAG: note,
    }
    if not existing.get(NOTE_TAG, OURS).startswith(OURS):
        del tags[NOTE_TAG]
    return {name: value for name, value in tags.items() if existing.get(name) != value}


def _view(role: str, columns: list[str], first: str, lower_is_better: bool) -> str:
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
        "compareRunCharts": [],  # the UI adds one for each metric to its section
        "compareRunSections": sections,
        "isAccordionReordered": True,
    }
    return json.dumps(state)
