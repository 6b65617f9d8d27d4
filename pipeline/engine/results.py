"""From the folds' predictions to the run's: predictions.csv, metrics.json and plots."""

from dataclasses import asdict

import numpy as np
import pandas as pd

from pipeline.config.leaf import is_baseline
from pipeline.engine.run_folder import Run
from pipeline.evaluation.fit import fits
from pipeline.evaluation.image_count import image_count
from pipeline.evaluation.label_plot import plot_labels
from pipeline.evaluation.operating_points import together
from pipeline.evaluation.patients import Rules, judged
from pipeline.evaluation.plots import History, plot_confusion, plot_learning_curves, plot_speed
from pipeline.evaluation.predictions import (
    gather_folds,
    read_predictions,
    write_predictions,
)
from pipeline.evaluation.summary import Summary, levels_of, summarise
from pipeline.files import write_json
from pipeline.tracking.journal import EpochEnded, read_journal
from pipeline.tracking.result import check_files, with_seal
from pipeline.training.imbalance import emphasis


def evaluate_folds(run: Run, folds: tuple[int, ...]) -> Summary:
    """The metrics of `folds`; each level is decided with their own fold's threshold."""
    classes, groups = run.manifest.classes, run.plan.groups
    rules = Rules.of(asdict(run.config.evaluation))
    images = pd.concat([_test_table(run, fold) for fold in folds], ignore_index=True)
    results = {fold: run.result(fold) for fold in folds}
    tables = judged(images, classes, rules, results)
    summary = summarise(tables, classes, groups)
    points = [result.get("operating_points") or {} for result in results.values()]
    if all(points):  # earlier versions did not count them
        summary["operating_points"] = {
            level: together(of[level] for of in points) for level in points[0]
        }
    for step in rules.steps:
        count = image_count(tables[step.level], classes, groups, step)
        if count is not None:
            summary["image_count" if step.level == "patient" else "middle_count"] = count
    histories = {fold: _history(run, fold) for fold in folds}
    if found := fits(histories, {fold: _guess(run, fold) for fold in folds}):
        summary["fit"] = found
    return summary


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
    for level in levels_of(summary):
        entries, matrix = summary[level], summary["confusion"][level]
        title = f"Test part, all folds, {level} level"
        if entries is not None and run.manifest.is_multilabel:
            plot_labels(entries, classes, title, plots_dir / f"labels_{level}.png", warning)
        elif matrix is not None:
            path = plots_dir / f"confusion_{level}.png"
            plot_confusion(np.array(matrix), classes, title, path, warning)
    write_json(run.dir / "metrics.json", with_seal(summary))  # last: everything before it is there
    return summary


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
    events = read_journal(run.fold_dir(fold) / "journal.jsonl")
    return {event.epoch: event.metrics for event in events if isinstance(event, EpochEnded)}
