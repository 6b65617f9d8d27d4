"""From predictions to numbers: tables, patients, thresholds, metrics, summary, plots.

Takes plain values; imports no deep-learning library, so that a report feels instant.
"""

from pipeline.evaluation.console import print_summary
from pipeline.evaluation.metrics import VAL_METRICS, Level, metrics
from pipeline.evaluation.patients import per_patient
from pipeline.evaluation.plots import plot_confusion, plot_learning_curves
from pipeline.evaluation.predictions import (
    gather_folds,
    prediction_table,
    read_predictions,
    with_decisions,
    write_predictions,
)
from pipeline.evaluation.summary import Summary, summarise
from pipeline.evaluation.thresholds import choose_threshold

__all__ = [
    "VAL_METRICS",
    "Level",
    "Summary",
    "choose_threshold",
    "gather_folds",
    "metrics",
    "per_patient",
    "plot_confusion",
    "plot_learning_curves",
    "prediction_table",
    "print_summary",
    "read_predictions",
    "summarise",
    "with_decisions",
    "write_predictions",
]
