"""A user's own metrics: functions of a plugin, named in `evaluation.metrics`.

    def f2(labels, predicted, probabilities):  # (N,), (N,) class indices, (N, C) -> a number

Of labels that do not exclude each other it is called for each, as for two classes. It gives nan or
None where it cannot be computed. Each fold has a value, and the run has their mean: nothing is
known of such a function, and the scores of two folds' networks may have different scales.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config import ConfigError, EvaluationConfig, UserError
from pipeline.evaluation.cases import Cases
from pipeline.evaluation.metrics import Metric, named_metrics
from pipeline.label_names import LabelNames
from pipeline.targets import named_function

KEY = "evaluation.metrics"


@dataclass(frozen=True)
class OwnFunction:
    """Called with arrays that it cannot change; UserError for what is no number."""

    key: str
    target: str
    function: Callable[..., Any]

    def __call__(self, cases: Cases) -> float | None:
        arrays = [np.array(of) for of in (cases.labels, cases.predicted, cases.probabilities)]
        for array in arrays:
            array.flags.writeable = False
        try:
            value = self.function(*arrays)
        except Exception as error:  # noqa: BLE001  (it may fail in any way)
            reason = " ".join(str(error).split())
            raise UserError(
                f"{self.key}: {self.target} raised {type(error).__name__}: {reason}, for labels "
                f"{_shown(cases.labels)}, predicted {_shown(cases.predicted)}; give nan where it "
                "cannot be computed"
            ) from None
        if value is None:
            return None
        if isinstance(value, bool | np.bool_) or not isinstance(
            value, int | float | np.integer | np.floating
        ):
            raise UserError(
                f"{self.key}: {self.target} must give one number, or nan or None where it cannot "
                f"be computed, got {_kind(value)}"
            )
        return float(value) if math.isfinite(value) else None


def own_metrics(config: EvaluationConfig) -> list[Metric]:
    """Those that the settings name; ConfigError for one that cannot be imported."""
    return made(config.metrics or {}, config.lower_is_better)


def made(functions: Mapping[str, str], lower_is_better: Sequence[str]) -> list[Metric]:
    """A metric for each name -> dotted name of a function."""
    return [
        Metric(
            name,
            OwnFunction(f"{KEY}.{name}", target, named_function(f"{KEY}.{name}", target)),
            "mean over folds",
            for_labels="mean and each",
            higher_is_better=name not in lower_is_better,
            scale="number",
        )
        for name, target in functions.items()
    ]


def try_own_metrics(config: EvaluationConfig, classes: Sequence[str]) -> None:
    """Call each on small made-up cases, so that a mistake is known before a training.

    Raises:
        ConfigError: one is called as a metric of ours, cannot be imported, raises, or gives
            something else than a number.
    """
    ours = named_metrics(classes, "patient")
    problems = [
        f"{KEY}.{name}: there is such a metric" for name in config.metrics or () if name in ours
    ]
    num_classes = 2 if isinstance(classes, LabelNames) else len(classes)
    for metric in own_metrics(config):
        try:
            for cases in made_up(num_classes):
                metric.function(cases)
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(problems)


def made_up(num_classes: int) -> Iterator[Cases]:
    """Cases as they come: of all classes, all decided rightly, of one class, and one alone."""
    generator = np.random.default_rng(0)
    labels = np.arange(12) % num_classes
    scores = generator.normal(size=(12, num_classes)) + np.eye(num_classes)[labels]
    told = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    yield Cases(labels, told.argmax(axis=1), told)
    yield Cases(labels, labels, told)
    for code in range(num_classes):
        only = np.flatnonzero(labels == code)
        yield Cases(labels[only], told[only].argmax(axis=1), told[only])
        yield Cases(labels[only], labels[only], told[only])
    yield Cases(labels[:1], labels[:1], told[:1])


def _shown(values: Any) -> str:
    return f"{values[:12].tolist()}{' ...' if len(values) > 12 else ''}"


def _kind(value: Any) -> str:
    kind = type(value).__name__
    return f"{kind} of shape {value.shape}" if isinstance(value, np.ndarray) else kind
