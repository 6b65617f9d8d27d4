"""A classifier of scikit-learn, and the settings of it that a fold chooses among."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.arrays import Floats, Ints

SMALLEST = 1e-7
"""What keeps probabilities from 0 and 1: a leaf or neighbourhood of one class proves little."""


class Baseline:
    """An estimator, and the values of its parameters that the validation part decides between."""

    def __init__(
        self,
        estimator: ClassifierMixin,
        chosen: Mapping[str, Sequence[Any]] | None = None,
        weighs: bool = True,
    ) -> None:
        """`chosen`: parameter -> the values to try; every combination is a candidate.

        `weighs`: images can count differently; else sampler and weights do nothing.

        Raises:
            ValueError: for a parameter that the estimator has not.
        """
        self.estimator = estimator
        self.weighs = weighs
        self.chosen = dict(chosen or {})
        known = estimator.get_params()
        if unknown := sorted(set(self.chosen) - set(known)):
            raise ValueError(
                f"{type(estimator).__name__} has no {', '.join(unknown)}; it has {', '.join(known)}"
            )

    def candidates(self, num_train: int) -> Iterator[dict[str, Any]]:
        """Every combination of the values, the first value of the first parameter first.

        More neighbours than images are no candidate.
        """
        for values in product(*self.chosen.values()):
            candidate = dict(zip(self.chosen, values, strict=True))
            if candidate.get("n_neighbors", 0) <= num_train:
                yield candidate

    def fitted(
        self, candidate: Mapping[str, Any], x: Floats, y: Ints, weights: Floats, seed: int
    ) -> Pipeline:
        """One candidate, on features (N, F) scaled to mean 0 and SD 1, with (N,) weights."""
        estimator = clone(self.estimator).set_params(**candidate)
        if "random_state" in estimator.get_params():
            estimator.set_params(random_state=seed % 2**32)
        pipeline = Pipeline([("scale", StandardScaler()), ("estimator", estimator)])
        extra = {"estimator__sample_weight": weights} if self.weighs else {}
        return pipeline.fit(x, y, **extra)


class Probabilities:
    """(N, C) probabilities of a fitted pipeline.

    Where it gives none (support vector machines), its decision values are turned into them on
    validation parts (Platt 1999, Probabilistic outputs for support vector machines).
    """

    def __init__(
        self,
        pipeline: Pipeline,
        num_classes: int,
        validated: Callable[[], tuple[Floats, Ints, Floats]],
    ) -> None:
        """`validated`: decision values of validation parts, where they are needed, with classes
        and what each counts.
        """
        self.pipeline = pipeline
        self.num_classes = num_classes
        self.platt: LogisticRegression | None = None
        if not hasattr(pipeline, "predict_proba"):
            self.platt = LogisticRegression().fit(*validated())

    def __call__(self, x: Floats) -> Floats:
        found = np.full((len(x), self.num_classes), SMALLEST)
        if self.platt is None:
            found[:, self.pipeline.classes_] += self.pipeline.predict_proba(x)
        else:
            found[:, self.platt.classes_] += self.platt.predict_proba(decisions(self.pipeline, x))
        probabilities: Floats = found / found.sum(axis=1, keepdims=True)
        return probabilities


def decisions(pipeline: Pipeline, x: Floats) -> Floats:
    """(N, D) decision values of (N, F) features."""
    values = np.asarray(pipeline.decision_function(x))
    return values.reshape(len(x), -1)


class LabelProbabilities:
    """(N, L) probabilities of labels that do not exclude each other: a model of each label."""

    def __init__(self, models: Sequence[Probabilities]) -> None:
        """`models`: of each label, of images without (0) and with it (1)."""
        self.models = models

    def __call__(self, x: Floats) -> Floats:
        return np.column_stack([model(x)[:, 1] for model in self.models])
