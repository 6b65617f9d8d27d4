"""From predictions to numbers: tables, patients, thresholds, metrics, summary, plots.

Takes plain values; imports no deep-learning library, so that a report feels instant.
"""

from pipeline.evaluation.console import print_summary
from pipeline.evaluation.metrics import (
    confusion,
    decision_metrics,
    metrics,
    num_per_class,
    ranking_metrics,
)
from pipeline.evaluation.patients import per_patient
from pipeline.evaluation.plots import plot_confusion, plot_learning_curves
from pipeline.evaluation.prediction_file import (
    PredictionError,
    read_predictions,
    write_predictions,
)
from pipeline.evaluation.predictions import (
    gather_folds,
    prediction_table,
    prob_columns,
    with_decisions,
)
from pipeline.evaluation.summary import Level, MetricEntry, Summary, summarise, write_metrics
from pipeline.evaluation.thresholds import choose_threshold

__all__ = [
    "Level",
    "MetricEntry",
    "PredictionError",
    "Summary",
    "choose_threshold",
    "confusion",
    "decision_metrics",
    "gather_folds",
    "metrics",
    "num_per_class",
    "per_patient",
    "plot_confusion",
    "plot_learning_curves",
    "prediction_table",
    "print_summary",
    "prob_columns",
    "ranking_metrics",
    "read_predictions",
    "summarise",
    "with_decisions",
    "write_metrics",
    "write_predictions",
]
