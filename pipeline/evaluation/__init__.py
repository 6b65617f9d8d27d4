"""From predictions to numbers: tables, patients, thresholds, metrics, summary, plots.

Takes plain values; imports no deep-learning library, so that a report feels instant.
"""

from pipeline.evaluation.console import print_summary
from pipeline.evaluation.metrics import VAL_METRICS, Level, higher_is_better, metrics
from pipeline.evaluation.patients import per_patient
from pipeline.evaluation.plots import plot_confusion, plot_learning_curves
from pipeline.evaluation.predictions import (
    PredictionError,
    gather_folds,
    prediction_table,
    prob_columns,
    read_predictions,
    with_decisions,
    write_predictions,
)
from pipeline.evaluation.summary import MetricEntry, Summary, summarise, write_metrics
from pipeline.evaluation.thresholds import choose_threshold

__all__ = [
    "VAL_METRICS",
    "Level",
    "MetricEntry",
    "PredictionError",
    "Summary",
    "choose_threshold",
    "gather_folds",
    "higher_is_better",
    "metrics",
    "per_patient",
    "plot_confusion",
    "plot_learning_curves",
    "prediction_table",
    "print_summary",
    "prob_columns",
    "read_predictions",
    "summarise",
    "with_decisions",
    "write_metrics",
    "write_predictions",
]
