"""Numbers and names as the report writes them."""

from collections.abc import Sequence

from pipeline.evaluation.metrics import named_metrics
from pipeline.evaluation.summary import MetricEntry
from pipeline.levels import Level
from pipeline.words import plural

NONE = "\N{EN DASH}"
METRICS = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "mcc": "Matthews correlation (MCC)",
    "brier": "Brier score",
    "brier_skill": "Brier skill",
    "log_loss": "log loss",
    "ece": "expected calibration error",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
}
"""Those whose name is more than their key with blanks."""


def metric_words(key: str) -> str:
    """`average_precision` -> average precision."""
    return METRICS.get(key, key.replace("_", " "))


def metric_names(
    entries: dict[str, MetricEntry], classes: Sequence[str], level: Level
) -> dict[str, str]:
    """Key in metrics.json -> what people call it; metrics of single classes with their class."""
    named = named_metrics(classes, level)
    found = {}
    for key in entries:
        if key in named:
            metric, target = named[key]
            of_class = "" if target is None else f" of {classes[target]}"
            found[key] = metric_words(metric.name) + of_class
        else:
            found[key] = metric_words(key)
    return found


def epoch_metric(name: str) -> str:
    """`val/image/auroc` -> AUROC of validation images."""
    part, *level, metric = name.split("/")
    where = {"val": "validation", "train": "training"}.get(part, part)
    return f"{metric_words(metric)} of {where} {plural(level[0])}" if level else f"{where} {metric}"


def sentence(text: str) -> str:
    """With a capital to begin with."""
    return text[:1].upper() + text[1:]


def number(value: float | None, digits: int = 3) -> str:
    """With three digits behind the point; a dash for what cannot be computed."""
    return NONE if value is None else f"{value:.{digits}f}"


def interval(low: float | None, high: float | None) -> str:
    """`0.655 to 0.878`."""
    return NONE if low is None or high is None else f"{low:.3f} to {high:.3f}"


def percent(share: float | None) -> str:
    """`79 %`, without digits behind the point."""
    return NONE if share is None else f"{100 * share:.0f} %"


def spread(values: Sequence[float | None]) -> str:
    """Smallest to largest of what can be computed."""
    known = [value for value in values if value is not None]
    return f"{min(known):.3f} to {max(known):.3f}" if known else NONE
