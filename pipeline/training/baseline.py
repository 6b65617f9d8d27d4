"""A fold of a baseline: every candidate is fitted on train, val chooses, test is opened last.

On everybody, one candidate is fitted, which the folds have settled, and nothing is judged.
A candidate is to a baseline what an epoch is to a network: one line in the journal. What is kept of
the best one is how it was made, `best.json`: it is fitted anew in seconds, and to the last bit.
Imports neither torch nor monai.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline

from pipeline.arrays import Floats, Ints
from pipeline.baselines.baseline import Baseline, LabelProbabilities, Probabilities, decisions
from pipeline.baselines.features import features, limits_of
from pipeline.config import UserError
from pipeline.files import write_json
from pipeline.splits import Fold
from pipeline.targets import build
from pipeline.tracking.journal import VERSION, EpochEnded, Journal, Started, read_journal
from pipeline.training.closing import close, close_untested, judged
from pipeline.training.job import FoldJob, seed_for
from pipeline.training.judge import Judge
from pipeline.training.progress import Progress
from pipeline.words import counted


def train_baseline(job: FoldJob) -> None:
    """Try every candidate, keep the best on val, test it; `result.json` marks the fold as done.

    What an earlier worker has done is done again, and gives the same.
    """
    started = time.monotonic()
    fold = BaselineFold(job)
    candidates = fold.candidates
    path = job.fold_dir / "journal.jsonl"
    written = {event.epoch for event in read_journal(path) if isinstance(event, EpochEnded)}
    progress, best = Progress(), None
    with Journal(path) as journal:
        begun = Started(
            fold=job.fold.index,
            epochs=len(candidates),
            unit="candidate",
            device="cpu",
            pid=os.getpid(),
        )
        journal.append(begun)
        for number, candidate in enumerate(candidates, 1):
            model = fold.fitted(candidate)
            values = Judge(job, model.outputs).validate() if job.settled is None else {}
            progress = judged(progress, job, values)
            best = model if progress.is_best else best
            if number not in written:
                left = (time.monotonic() - started) / number * (len(candidates) - number)
                journal.append(fold.line(candidate, values, progress, left))
    assert best is not None, "a baseline has a candidate"
    recipe = {"version": VERSION, "key": job.key, "fold": job.fold.index, **fold.recipe(best)}
    recipe |= {} if job.settled is None else {"untested": True}
    write_json(job.fold_dir / "best.json", recipe)
    facts = {"candidate": best.candidate, "seconds": time.monotonic() - started}
    if job.settled is None:
        close(Judge(job, best.outputs), progress, facts)
    else:
        close_untested(job, progress, facts)


class BaselineFold:
    """The features of a fold's images, and what is fitted on them."""

    def __init__(self, job: FoldJob) -> None:
        self.job = job
        self.baseline: Baseline = build("model", job.config.model)
        self.train = job.rows("train")
        self.seed = seed_for(job.config.training.seed, job.fold.index, 0, purpose=1)
        self.limits = limits_of(job.images.array, self.train)

    @property
    def candidates(self) -> list[Mapping[str, Any]]:
        """What is tried."""
        if self.job.settled is not None:
            return [self.job.settled.candidate]
        num = len(self.train)
        if found := list(self.baseline.candidates(num)):
            return [*found]
        raise UserError(
            f"model.chosen.n_neighbors: fold {self.job.fold.index} trains on "
            f"{counted(num, 'image')}, and every value is larger"
        )

    @cached_property
    def x_train(self) -> Floats:
        return self.features(self.train)

    @cached_property
    def x_val(self) -> Floats:
        return self.features(self.job.rows("val"))

    def features(self, rows: Ints) -> Floats:
        return features(self.job.config.features, self.job.images.array, rows, self.limits)

    def fitted(self, candidate: Mapping[str, Any]) -> "Fitted":
        """One candidate; UserError when scikit-learn refuses its settings or the data."""
        labels = self.job.manifest.labels
        try:
            if labels.ndim == 1:
                prior = self.job.emphasis.prior
                return Fitted(self, candidate, self._fitted(candidate, labels, prior))
            models = [
                self._fitted(candidate, of_label, np.array([1 - share, share]))
                for of_label, share in zip(labels.T, self.job.emphasis.prior, strict=True)
            ]
            return Fitted(self, candidate, LabelProbabilities(models))
        except ValueError as error:
            name = type(self.baseline.estimator).__name__
            raise UserError(f"model: {name} with {dict(candidate)}: {error}") from None

    def _fitted(self, candidate: Mapping[str, Any], labels: Ints, prior: Floats) -> Probabilities:
        """A model of (M,) labels of all samples, trained under the shares `prior` (C,)."""
        pipeline = self._pipeline(candidate, labels)

        def validated() -> tuple[Floats, Ints, Floats]:
            """So weighted, the probabilities are under the shares that `logit_shift` undoes."""
            values, classes = self._validated(pipeline, candidate, labels)
            shares = np.bincount(classes, minlength=len(prior)) / len(classes)
            return values, classes, prior[classes] / shares[classes]

        return Probabilities(pipeline, len(prior), validated)

    def _validated(
        self, pipeline: Pipeline, candidate: Mapping[str, Any], labels: Ints
    ) -> tuple[Floats, Ints]:
        """Decision values of the validation part, and its labels; on everybody, of all folds' parts
        together, each by a pipeline of its own fold.
        """
        job = self.job
        if isinstance(job.fold, Fold):
            return decisions(pipeline, self.x_val), labels[job.rows("val")]
        folds = [BaselineFold(replace(job, fold=of, settled=None)) for of in job.fold.folds]
        found = [of._validated(of._pipeline(candidate, labels), candidate, labels) for of in folds]
        values, classes = zip(*found, strict=True)
        return np.concatenate(values), np.concatenate(classes)

    def _pipeline(self, candidate: Mapping[str, Any], labels: Ints) -> Pipeline:
        job = self.job
        weights = job.emphasis.drawing * job.emphasis.weights[self.train] * len(self.train)
        return self.baseline.fitted(candidate, self.x_train, labels[self.train], weights, self.seed)

    def line(
        self,
        candidate: Mapping[str, Any],
        values: Mapping[str, float | None],
        progress: Progress,
        left_s: float,
    ) -> EpochEnded:
        """The journal's line of a candidate."""
        tried = {
            f"candidate/{name}": float(value)
            for name, value in candidate.items()
            if isinstance(value, int | float)
        }
        return EpochEnded(
            epoch=progress.num_epochs,
            metrics={**tried, **values},
            best=progress.is_best,
            left_s=left_s,
        )

    def recipe(self, best: "Fitted") -> dict[str, Any]:
        """What the best candidate is made of."""
        return {
            "estimator": type(self.baseline.estimator).__name__,
            "parameters": {
                name: value
                for name, value in self.baseline.estimator.get_params().items()
                if isinstance(value, str | int | float | bool | None)
            }
            | dict(best.candidate),
            "features": self.job.config.features.kind,
            "num_features": self.x_train.shape[1],
            "range": [side.tolist() for side in self.limits],
            "seed": self.seed,
            "classes": list(self.job.manifest.classes),
            "logit_shift": self.job.logit_shift.tolist(),
        }


class Fitted:
    """A candidate that predicts."""

    def __init__(
        self,
        fold: BaselineFold,
        candidate: Mapping[str, Any],
        model: Probabilities | LabelProbabilities,
    ) -> None:
        self.fold = fold
        self.candidate = candidate
        self.model = model

    def outputs(self, rows: Ints) -> tuple[Floats, float]:
        """(N, C) probabilities of the samples at `rows`, in order, and their loss."""
        job = self.fold.job
        is_val = np.array_equal(rows, job.rows("val"))
        found = self.model(self.fold.x_val if is_val else self.fold.features(rows))
        labels, weights = job.manifest.labels[rows], job.emphasis.weights[rows]
        if labels.ndim == 2:
            pairs = zip(labels.T, found.T, strict=True)
            losses = [_loss(*pair, weights, [0, 1]) for pair in pairs]
            odds = found / (1 - found) * np.exp(job.logit_shift)
            return odds / (1 + odds), float(np.mean(losses))
        classes = list(range(len(job.manifest.classes)))
        loss = _loss(labels, found, weights, classes)
        shifted = found * np.exp(job.logit_shift)
        return shifted / shifted.sum(axis=1, keepdims=True), loss


def _loss(labels: Ints, found: Floats, weights: Floats, classes: Sequence[int]) -> float:
    """The weighted mean; 0 where no image counts, as for networks."""
    if not weights.any():
        return 0.0
    return float(log_loss(labels, found, sample_weight=weights, labels=classes))
