"""From the folds' predictions to the run's: predictions.csv, metrics.json and plots."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pipeline.config.leaf import is_baseline
from pipeline.engine.cohort import subgroup_columns
from pipeline.engine.gallery import write_failures
from pipeline.engine.run_folder import Run
from pipeline.evaluation.aggregation import grows
from pipeline.evaluation.fit import fits
from pipeline.evaluation.grouping import groups_of
from pipeline.evaluation.image_count import image_count
from pipeline.evaluation.label_plot import plot_labels
from pipeline.evaluation.metrics import Level
from pipeline.evaluation.patients import per_patient
from pipeline.evaluation.plots import History, plot_confusion, plot_learning_curves, plot_speed
from pipeline.evaluation.predictions import (
    gather_folds,
    read_predictions,
    with_decisions,
    write_predictions,
)
from pipeline.evaluation.subgroups import Subgroups, subgroups
from pipeline.evaluation.summary import Summary, summarise
from pipeline.files import write_json
from pipeline.tracking.journal import history_of
from pipeline.tracking.result import check_files, with_seal
from pipeline.training.imbalance import emphasis


def evaluate_folds(run: Run, folds: tuple[int, ...]) -> Summary:
    """The metrics of `folds`; patients are decided with their own fold's threshold."""
    return _evaluated(run, folds, _tables(run, folds))


def _tables(run: Run, folds: tuple[int, ...]) -> dict[Level, pd.DataFrame | None]:
    """The decided test tables of `folds`, of both levels."""
    evaluation, classes = run.config.evaluation, run.manifest.classes
    images = [_test_table(run, fold) for fold in folds]
    patients = []
    for fold, table in zip(folds, images, strict=True):
        of_fold = per_patient(table, classes, evaluation.aggregate, evaluation.patient_label)
        if of_fold is not None:
            threshold = run.result(fold)["thresholds"]["patient"]
            patients.append(with_decisions(of_fold, classes, threshold))
    of_patients = pd.concat(patients, ignore_index=True) if patients else None
    return {"image": pd.concat(images, ignore_index=True), "patient": of_patients}


def _evaluated(
    run: Run, folds: tuple[int, ...], tables: dict[Level, pd.DataFrame | None]
) -> Summary:
    evaluation, classes, of_patients = (
        run.config.evaluation,
        run.manifest.classes,
        tables["patient"],
    )
    summary = summarise(tables, classes, run.plan.groups)
    rule = evaluation.aggregate
    if of_patients is not None and grows(rule):
        count = image_count(of_patients, classes, run.plan.groups, rule)
        summary |= {} if count is None else {"image_count": count}
    level: Level = "image" if of_patients is None else "patient"
    if columns := subgroup_columns(run.manifest, evaluation.subgroups):
        table = tables[level]
        assert table is not None, "of both levels, one at least"
        summary["subgroups"] = _subgroups(run, table, level, columns)
    histories = {fold: _history(run, fold) for fold in folds}
    if found := fits(histories, {fold: _guess(run, fold) for fold in folds}):
        summary["fit"] = found
    return summary


def write_results(run: Run) -> Summary:
    """Gather all folds: every patient tested as often as the plan says, or an error.

    Writes predictions.csv, metrics.json, plots/ and failures/ into the run folder.
    """
    folds = tuple(range(run.plan.num_folds))
    classes = run.manifest.classes
    tables = [_test_table(run, fold) for fold in folds]
    everything = gather_folds(tables, run.manifest.samples, run.plan.times_tested)
    write_predictions(everything, run.dir / "predictions.csv")
    decided = _tables(run, folds)
    summary = _evaluated(run, folds, decided)
    write_failures(run, decided)
    warning = ""
    if run.plan.unsafe:
        summary["unsafe"], warning = True, "UNSAFE: split by image"
    plots_dir = run.dir / "plots"
    plots_dir.mkdir(exist_ok=True)
    histories = {fold: _history(run, fold) for fold in folds}
    plot_learning_curves(
        histories,
        {fold: run.result(fold)["best_epoch"] for fold in folds},
        run.config.training.select_by,
        plots_dir / "learning_curves.png",
        warning,
        unit="candidate" if is_baseline(run.config.model) else "epoch",
    )
    if not is_baseline(run.config.model):
        plot_speed(histories, plots_dir / "speed.png")
    for level, matrix in summary["confusion"].items():
        entries = summary["patient"] if level == "patient" else summary["image"]
        title = f"Test part, all folds, {level} level"
        if entries is not None and run.manifest.is_multilabel:
            plot_labels(entries, classes, title, plots_dir / f"labels_{level}.png", warning)
        elif matrix is not None:
            path = plots_dir / f"confusion_{level}.png"
            plot_confusion(np.array(matrix), classes, title, path, warning)
    write_json(run.dir / "metrics.json", with_seal(summary))  # last: everything before it is there
    return summary


def _subgroups(
    run: Run, table: pd.DataFrame, level: Level, columns: Mapping[str, str]
) -> Subgroups:
    """By `columns`, the CSV's names -> ours, of a level's decided table."""
    rows, key = run.manifest.samples, "image_path" if level == "image" else "patient_id"
    groups = {
        name: groups_of(rows[ours], rows[key], table[key], name) for name, ours in columns.items()
    }
    site = next((name for name, ours in columns.items() if ours == "site"), None)
    return subgroups(table, run.manifest.classes, groups, level, run.plan.groups, site)


def _test_table(run: Run, fold: int) -> pd.DataFrame:
    """Never what was changed after the fold was done."""
    check_files(run.result(fold), run.fold_dir(fold))
    return read_predictions(run.fold_dir(fold) / "predictions_test.csv", run.manifest.classes)


def _guess(run: Run, fold: int) -> float:
    """Share of the class that is drawn most in training."""
    rows = run.manifest.of(run.plan.folds[fold].train)
    found = emphasis(run.config, run.manifest, rows)
    return float((found.repeats * found.shares).max())


def _history(run: Run, fold: int) -> History:
    return history_of(run.fold_dir(fold) / "journal.jsonl")
