"""From the folds' predictions to the run's: predictions.csv, metrics.json and plots."""

import numpy as np
import pandas as pd

from pipeline.engine.run_folder import Run
from pipeline.evaluation import (
    Summary,
    gather_folds,
    per_patient,
    plot_confusion,
    plot_learning_curves,
    read_predictions,
    summarise,
    with_decisions,
    write_predictions,
)
from pipeline.evaluation.plots import History
from pipeline.files import write_json
from pipeline.tracking import EpochEnded, read_journal


def evaluate_folds(run: Run, folds: tuple[int, ...]) -> Summary:
    """The metrics of `folds`, from their test predictions."""
    tables = [_test_table(run, fold) for fold in folds]
    patients = [_patient_table(run, fold, table) for fold, table in zip(folds, tables, strict=True)]
    known = [table for table in patients if table is not None]
    return summarise(
        {
            "image": pd.concat(tables, ignore_index=True),
            "patient": pd.concat(known, ignore_index=True) if known else None,
        },
        run.manifest.classes,
    )


def write_results(run: Run) -> Summary:
    """Gather all folds: every patient tested as often as the plan says, or an error.

    Writes predictions.csv, metrics.json and plots/ into the run folder.
    """
    folds = tuple(range(run.plan.num_folds))
    classes = run.manifest.classes
    tables = [_test_table(run, fold) for fold in folds]
    everything = gather_folds(tables, run.manifest.samples, run.plan.times_tested)
    write_predictions(everything, run.dir / "predictions.csv")
    summary = evaluate_folds(run, folds)
    if run.plan.unsafe:
        summary["unsafe"] = True
    warning = "UNSAFE: split by image" if run.plan.unsafe else ""
    plots_dir = run.dir / "plots"
    plots_dir.mkdir(exist_ok=True)
    plot_learning_curves(
        {fold: _history(run, fold) for fold in folds},
        {fold: run.result(fold)["best_epoch"] for fold in folds},
        run.config.training.select_by,
        plots_dir / "learning_curves.png",
        warning,
    )
    for level, matrix in summary["confusion"].items():
        if matrix is not None:
            title = f"Test part, all folds, {level} level"
            path = plots_dir / f"confusion_{level}.png"
            plot_confusion(np.array(matrix), classes, title, path, warning)
    write_json(run.dir / "metrics.json", summary)  # last: everything before it is there
    return summary


def _test_table(run: Run, fold: int) -> pd.DataFrame:
    return read_predictions(run.fold_dir(fold) / "predictions_test.csv", run.manifest.classes)


def _patient_table(run: Run, fold: int, table: pd.DataFrame) -> pd.DataFrame | None:
    """A fold's patients, decided with that fold's own threshold."""
    evaluation, classes = run.config.evaluation, run.manifest.classes
    patients = per_patient(table, classes, evaluation.aggregate, evaluation.patient_label)
    if patients is None:
        return None
    thresholds = run.result(fold)["thresholds"]
    assert isinstance(thresholds, dict)
    return with_decisions(patients, classes, thresholds["patient"])


def _history(run: Run, fold: int) -> History:
    events = read_journal(run.fold_dir(fold) / "journal.jsonl")
    return {event.epoch: event.metrics for event in events if isinstance(event, EpochEnded)}
