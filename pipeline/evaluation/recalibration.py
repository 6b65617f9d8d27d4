"""Probabilities made right on the validation part: by a temperature, and a bias of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import numpy as np

from pipeline.arrays import AnyFloats, Bools, Floats
from pipeline.label_names import LabelNames

Method = Literal["temperature", "temperature_bias"]
FEWEST_PATIENTS = 5
"""With each class (and without each label); with fewer, nothing is fitted."""
SHARPEST, FLATTEST = 1 / 20, 20.0
"""Temperatures. Above the latter a network tells nothing; a negative one would turn its ranking."""
_TINY, _NEARLY_1 = float(np.finfo(np.float32).tiny), 1 - float(np.finfo(np.float32).epsneg)


@dataclass(frozen=True)
class Calibration:
    """What makes calibrated probabilities of those that the model of one fold gives.

    log p / temperature + bias + shift, scaled to sum 1 (Guo and others 2017); of labels that do not
    exclude each other the same of the log odds.
    """

    fold: int
    method: Method
    classes: Sequence[str]
    temperature: tuple[float, ...]
    """One, or one for each label. Above 1: the model was too sure."""
    bias: tuple[float, ...]
    """Of each class, that of the first being 0; or of each label."""
    shift: tuple[float, ...]
    """Of each class or label: from the class shares of the fit to those that are reported."""
    num_patients: int
    """That it was fitted on."""
    skipped: Mapping[str, str]
    """What was left as it is, a label or "all", and why."""

    def apply(self, probabilities: AnyFloats) -> Floats:
        """(N, C) or (N, L) of the model -> the same, calibrated."""
        bias, slope = np.array(self.bias) + self.shift, 1 / np.array(self.temperature)
        if isinstance(self.classes, LabelNames):
            without, having = np.moveaxis(_logs_of_labels(probabilities), -1, 0)
            return _softmax(np.stack([slope * without, slope * having + bias], axis=-1))[..., 1]
        return _softmax(slope * _logs(probabilities) + bias)

    def record(self) -> dict[str, Any]:
        """As in result.json."""
        several = isinstance(self.classes, LabelNames)
        names = [str(name) for name in self.classes]
        return {
            "method": self.method,
            "temperature": dict(zip(names, self.temperature, strict=True))
            if several
            else self.temperature[0],
            "bias": dict(zip(names, self.bias, strict=True)),
            "shift": dict(zip(names, self.shift, strict=True)),
            "num_patients": self.num_patients,
            "skipped": dict(self.skipped),
        }

    @classmethod
    def median(cls, fits: Sequence[Calibration], fold: int) -> Calibration:
        """For a model without a validation part of its own: of each number, the fits' median.

        A fit that has left something as it is has no say in it, unless all have.
        """
        first = fits[0]
        several = isinstance(first.classes, LabelNames)
        names = [str(name) for name in first.classes] if several else ["all"]
        fitted = {name: [fit for fit in fits if name not in fit.skipped] for name in names}

        def middle(field: str, i: int) -> float:
            of = fitted[names[i] if several else "all"] or fits
            return float(median(getattr(fit, field)[i] for fit in of))

        numbers = {
            field: tuple(middle(field, i) for i in range(len(getattr(first, field))))
            for field in ("temperature", "bias", "shift")
        }
        return cls(
            fold,
            first.method,
            first.classes,
            **numbers,
            num_patients=sum(fit.num_patients for fit in fits),
            skipped={name: first.skipped[name] for name in names if not fitted[name]},
        )

    @classmethod
    def read(cls, result: Mapping[str, Any], classes: Sequence[str]) -> Calibration | None:
        """Of a fold's result.json; None where nothing was calibrated."""
        if (found := result.get("calibration")) is None:
            return None
        told = found["temperature"]
        return cls(
            result["fold"],
            found["method"],
            classes,
            tuple(told.values()) if isinstance(told, Mapping) else (told,),
            tuple(found["bias"].values()),
            tuple(found["shift"].values()),
            found["num_patients"],
            found["skipped"],
        )


@dataclass(frozen=True)
class Shares:
    """Class shares (C,), or prevalences of labels (L,)."""

    trained: Floats
    """That the probabilities to be calibrated are of: those of the train part."""
    wanted: Floats | None
    """That are reported; None: those that the fit has found."""


def calibrated_on(
    has: Bools,
    probabilities: AnyFloats,
    patients: Sequence[str],
    method: Method,
    classes: Sequence[str],
    fold: int,
    shares: Shares,
) -> Calibration:
    """Fit to the images of a validation part: `has` (N, C) which class or labels each has.

    Each patient counts the same, shared by its images: those of a patient with many are alike, and
    say no more. It is the likelihood that is largest, with Platt's targets (1999) in the place of 0
    and 1: where the part is told apart without an error, the largest likelihood alone would make
    all probabilities 0 and 1. Classes with fewer than 5 patients leave all as it is, and so does a
    label with fewer that have it, or that do not.

    A bias makes the class shares those of the part. To report others, `shares.wanted`, is the last
    step: the fit knows of no place but that of the part.
    """
    _, codes, counts = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    weights = 1 / counts[codes]
    several = isinstance(classes, LabelNames)
    if several:
        logs = _logs_of_labels(probabilities)
        problems = [(logs[:, at], np.column_stack([~has[:, at], has[:, at]])) for at in _each(has)]
    else:
        problems = [(_logs(probabilities), has)]
    names = list(classes) if several else ["all"]
    with_bias, fits, skipped = method == "temperature_bias", [], {}
    for name, (of, targets) in zip(names, problems, strict=True):
        few = min(len(np.unique(codes[column])) for column in targets.T)
        if few < FEWEST_PATIENTS:
            skipped[name] = (
                f"a class has {few} of the validation part's {len(counts)} patients, fewer than "
                f"{FEWEST_PATIENTS}"
            )
            fits.append(np.append(1.0, np.zeros(targets.shape[1])))
        else:
            fits.append(_fitted(of, targets, weights, with_bias))
    found = np.array(fits)
    base = shares.trained
    if with_bias:
        told = (weights @ has) / weights.sum()
        base = np.where([name in skipped for name in names], base, told)
    shift = np.zeros(len(classes))
    if shares.wanted is not None:
        shift = _of_shares(shares.wanted, several) - _of_shares(base, several)
    return Calibration(
        fold,
        method,
        classes,
        tuple((1 / found[:, 0]).tolist()),
        tuple((found[:, 2] if several else found[0, 1:]).tolist()),
        tuple(shift.tolist()),
        len(counts),
        skipped,
    )


def _fitted(logs: Floats, has: Bools, weights: Floats, with_bias: bool) -> Floats:
    """1 / temperature, then the bias of each class (K,), of log probabilities (N, K)."""
    from scipy.optimize import minimize  # half a second to import

    num = weights @ has  # patients of each class
    own = (num + 1) / (num + 2)
    targets = np.where(has, own, (1 - has @ own)[:, None] / (has.shape[1] - 1))

    def loss(values: Floats) -> tuple[float, Floats]:
        scores = values[0] * logs + np.append(0.0, values[1:])
        told = _softmax(scores)
        pulls = weights[:, None] * (told - targets)
        value = -(weights @ (targets * np.log(np.maximum(told, _TINY))).sum(axis=1))
        gradient = np.append((pulls * logs).sum(), pulls[:, 1:].sum(axis=0))
        return float(value) / weights.sum(), gradient / weights.sum()

    free = (None, None) if with_bias else (0.0, 0.0)
    limits = [(1 / FLATTEST, 1 / SHARPEST), *[free] * (has.shape[1] - 1)]
    start = np.append(1.0, np.zeros(has.shape[1] - 1))
    how = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000}
    found = minimize(loss, start, jac=True, bounds=limits, method="L-BFGS-B", options=how).x
    return np.insert(found, 1, 0.0)


def _each(has: Bools) -> range:
    return range(has.shape[1])


def _logs(probabilities: AnyFloats) -> Floats:
    found: Floats = np.log(np.clip(probabilities.astype(np.float64), _TINY, 1.0))
    return found


def _logs_of_labels(probabilities: AnyFloats) -> Floats:
    """(N, L) -> (N, L, 2) logarithms, of not having each label and of having it."""
    told = np.clip(probabilities.astype(np.float64), _TINY, _NEARLY_1)
    return np.stack([np.log1p(-told), np.log(told)], axis=-1)


def _of_shares(shares: Floats, odds: bool) -> Floats:
    """Logarithms of shares, or of their odds."""
    safe = np.clip(shares, _TINY, _NEARLY_1)
    found: Floats = np.log(safe) - odds * np.log1p(-safe)
    return found


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    found: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return found
