"""From the folds' predictions to the run's: predictions.csv, metrics.json and plots."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config.leaf import is_baseline
from pipeline.engine.cohort import subgroup_columns
from pipeline.engine.gallery import write_failures
from pipeline.engine.run_folder import Run
from pipeline.engine.training_images import write_training_images
from pipeline.evaluation.cases import cases_of
from pipeline.evaluation.fit import fits
from pipeline.evaluation.grouping import Grouping
from pipeline.evaluation.image_count import image_count
from pipeline.evaluation.label_plot import plot_labels
from pipeline.evaluation.operating_points import together
from pipeline.evaluation.own_metrics import own_metrics
from pipeline.evaluation.patients import Rules, judged
from pipeline.evaluation.plots import History, plot_confusion, plot_learning_curves, plot_speed
from pipeline.evaluation.predictions import (
    gather_folds,
    read_predictions,
    write_predictions,
)
from pipeline.evaluation.probability_plots import plot_decision_curve, plot_reliability
from pipeline.evaluation.subgroups import Subgroups, subgroups
from pipeline.evaluation.summary import Summary, levels_of, summarise
from pipeline.files import sha256, write_json
from pipeline.levels import Level
from pipeline.tracking.journal import history_of
from pipeline.tracking.result import check_files, with_seal
from pipeline.training.imbalance import emphasis


def evaluate_folds(run: Run, folds: tuple[int, ...]) -> Summary:
    """The metrics of `folds`."""
    return _summary(run, folds, _levels(run, folds))


def _levels(run: Run, folds: tuple[int, ...]) -> dict[Level, pd.DataFrame | None]:
    """The test tables of all levels, each decided with its own fold's threshold."""
    images = pd.concat([_test_table(run, fold) for fold in folds], ignore_index=True)
    results = {fold: run.result(fold) for fold in folds}
    return judged(images, run.manifest.classes, _rules(run), results)


def _rules(run: Run) -> Rules:
    return Rules.of(asdict(run.config.evaluation))


def _summary(
    run: Run, folds: tuple[int, ...], tables: Mapping[Level, pd.DataFrame | None]
) -> Summary:
    evaluation, classes, groups = run.config.evaluation, run.manifest.classes, run.plan.groups
    summary = summarise(tables, classes, groups, own_metrics(evaluation))
    results = {fold: run.result(fold) for fold in folds}
    points = [result.get("operating_points") or {} for result in results.values()]
    if all(points):  # earlier versions did not count them
        summary["operating_points"] = {
            level: together(of[level] for of in points) for level in points[0]
        }
    if fits_of := {
        fold: of["calibration"] for fold, of in results.items() if of.get("calibration")
    }:
        summary["calibration"] = {
            "method": run.config.evaluation.calibration,
            "temperature": [of["temperature"] for of in fits_of.values()],
            "skipped": {str(fold): of["skipped"] for fold, of in fits_of.items() if of["skipped"]},
        }
    for step in _rules(run).steps:
        count = image_count(tables[step.level], classes, groups, step)
        if count is not None:
            summary["image_count" if step.level == "patient" else "middle_count"] = count
    if columns := subgroup_columns(run.manifest, evaluation.subgroups):
        level = levels_of(summary)[0]
        table = tables[level]
        assert table is not None, "it is in the summary"
        summary["subgroups"] = _subgroups(run, table, level, columns)
    histories = {fold: _history(run, fold) for fold in folds}
    if found := fits(histories, {fold: guessed_accuracy(run, fold) for fold in folds}):
        summary["fit"] = found
    return summary


def write_results(run: Run) -> Summary:
    """Gather all folds: every patient tested as often as the plan says, or an error.

    Writes predictions.csv, training_images.json, metrics.json, plots/ and failures/ into the run
    folder.
    """
    plot_training(run)
    return seal_summary(run, write_judged(run))


def seal_summary(run: Run, summary: Summary) -> Summary:
    """Write metrics.json, last: it says that everything else is there."""
    write_json(run.dir / "metrics.json", with_seal(summary))
    return summary


def write_judged(run: Run) -> Summary:
    """predictions.csv, failures/, training_images.json and the plots of what was predicted; the
    summary of it.
    """
    folds = tuple(range(run.plan.num_folds))
    classes = run.manifest.classes
    tables = [_test_table(run, fold) for fold in folds]
    everything = gather_folds(tables, run.manifest.samples, run.plan.times_tested)
    _replace_predictions(run, everything)
    levels = _levels(run, folds)
    summary = _summary(run, folds, levels)
    write_failures(run, levels)
    write_training_images(run)
    if run.plan.unsafe:
        summary["unsafe"] = True
    plots_dir, warning = _plots_dir(run), _warning(run)
    for level in levels_of(summary):
        entries, matrix = summary[level], summary["confusion"][level]
        title = f"Test part, all folds, {level} level"
        if entries is not None and run.manifest.is_multilabel:
            plot_labels(entries, classes, title, plots_dir / f"labels_{level}.png", warning)
        elif matrix is not None:
            path = plots_dir / f"confusion_{level}.png"
            plot_confusion(np.array(matrix), classes, title, path, warning)
    for level, table in levels.items():
        if table is not None:
            _plot_probabilities(run, level, table, warning)
    return summary


def _replace_predictions(run: Run, everything: pd.DataFrame) -> None:
    """Numbers of other predictions go first: whoever is interrupted leaves none beside these."""
    path, fresh = run.dir / "predictions.csv", run.dir / ".predictions.csv.tmp"
    write_predictions(everything, fresh)
    if not path.exists() or sha256(path) != sha256(fresh):
        (run.dir / "metrics.json").unlink(missing_ok=True)
    fresh.replace(path)


def plot_training(run: Run) -> None:
    """The plots of how the folds were trained."""
    plots_dir, is_network = _plots_dir(run), not is_baseline(run.config.model)
    histories = {fold: _history(run, fold) for fold in range(run.plan.num_folds)}
    plot_learning_curves(
        histories,
        {fold: run.result(fold)["best_epoch"] for fold in histories},
        run.config.training.select_by,
        plots_dir / "learning_curves.png",
        _warning(run),
        unit="epoch" if is_network else "candidate",
    )
    if is_network:
        plot_speed(histories, plots_dir / "speed.png")


def _plots_dir(run: Run) -> Path:
    folder = run.dir / "plots"
    folder.mkdir(exist_ok=True)
    return folder


def _warning(run: Run) -> str:
    """What stands across the plots."""
    return "UNSAFE: split by image" if run.plan.unsafe else ""


def _plot_probabilities(run: Run, level: Level, table: pd.DataFrame, warning: str) -> None:
    classes = run.manifest.classes
    cases = cases_of(table, classes)
    units, _ = pd.factorize(table["patient_id"].map(run.plan.groups))
    title, folder = f"test part, all folds, {level} level", run.dir / "plots"
    plot_reliability(
        cases, units, classes, f"Reliability, {title}", folder / f"reliability_{level}.png", warning
    )
    path = folder / f"decision_curve_{level}.png"
    plot_decision_curve(cases, units, classes, f"Decision curve, {title}", path, warning)


def _subgroups(
    run: Run, table: pd.DataFrame, level: Level, columns: Mapping[str, str]
) -> Subgroups:
    """By `columns`, the CSV's names -> ours, of a level's decided table."""
    grouping = Grouping.of(run.manifest.samples, columns, table, level)
    return subgroups(table, run.manifest.classes, grouping, level, run.plan.groups)


def _test_table(run: Run, fold: int) -> pd.DataFrame:
    """Never what was changed after the fold was done."""
    check_files(run.result(fold), run.fold_dir(fold))
    return read_predictions(run.fold_dir(fold) / "predictions_test.csv", run.manifest.classes)


def guessed_accuracy(run: Run, fold: int) -> float:
    """The accuracy in training of a network that knows the shares of the classes alone."""
    rows = run.manifest.of(run.plan.folds[fold].train)
    found = emphasis(run.config, run.manifest, rows)
    drawn = found.repeats * found.shares
    return float(np.maximum(drawn, 1 - drawn).mean() if run.manifest.is_multilabel else drawn.max())


def _history(run: Run, fold: int) -> History:
    return history_of(run.fold_dir(fold) / "journal.jsonl")
