"""How much each training image counts, and the class shares that a network is trained under.

Imports no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.arrays import Floats, Ints
from pipeline.config import Config, ConfigError, LossConfig
from pipeline.config.leaf import is_baseline
from pipeline.images.sampler import sampling_weights
from pipeline.label_names import LabelNames
from pipeline.manifest import Manifest
from pipeline.words import counted, one_line

NEARLY = 1e-6
"""Shares that differ by less are the same."""


@dataclass(frozen=True)
class Emphasis:
    """What sampler, class weights, image weights and logit adjustment make of a fold's train part.

    N images train, of M in the manifest, C classes.
    """

    drawing: Floats
    """(N,) probability of each training image to be drawn; they sum to 1."""
    weights: Floats
    """(M,) what each image of the manifest counts in the loss; mean 1 over the train part."""
    adjustment: Floats
    """(C,) added to the logits in the loss."""
    shares: Floats
    """(C,) of the train part's images; of labels that do not exclude each other, prevalences."""
    prior: Floats
    """(C,) the same that the network is really trained under."""
    repeats: Floats
    """(C,) how often an image of each class is drawn in an epoch, on average."""
    num_patients: int
    num_effective: float
    """Patients, counted by what each contributes to the loss (Kish 1965)."""

    @property
    def is_balanced(self) -> bool:
        """Whether the classes are trained under other shares than they have."""
        return bool(np.abs(self.prior - self.shares).max() > NEARLY)

    def shift(self, config: Config, classes: Sequence[str]) -> Floats:
        """(C,) to be added to logits for probabilities under `evaluation.prior`; 0: none.

        Where probabilities are calibrated, they are those of the train part's shares until then:
        shares of another place would be taken for an error, and be undone.
        """
        wanted = config.evaluation.prior
        if wanted == "none":
            return np.zeros(len(classes))
        target = self.shares if wanted == "train" else shares_of(wanted, classes)
        if config.evaluation.calibration != "none":
            target = self.shares
        # a baseline has probabilities of all classes together, whatever the loss of networks
        odds = config.loss.output == "sigmoid" and not is_baseline(config.model)
        odds = odds or isinstance(classes, LabelNames)
        shift: Floats = _logs(target, odds) - _logs(self.prior, odds)
        return np.where(np.abs(target - self.prior) > NEARLY, shift, 0.0)

    def describe(self, config: Config, classes: Sequence[str]) -> list[str]:
        """Lines for the console, none where every image counts alike."""
        if self.num_effective > self.num_patients - 0.5 and not self.is_balanced:
            return []
        num_effective = f"{self.num_effective:.1f} of {counted(self.num_patients, 'patient')}"
        lines = [f"fold 0: its train part counts as {num_effective} (Kish's effective number)"]
        if self.is_balanced:
            drawn = ", ".join(
                f"{one_line(name)} {prior:.1%} (really {share:.1%})"
                for name, prior, share in zip(classes, self.prior, self.shares, strict=True)
            )
            rarest = int(self.shares.argmin())
            noun = "prevalences" if isinstance(classes, LabelNames) else "classes"
            lines += [
                f"  trained as if the {noun} were {drawn}",
                f"  an image of {one_line(classes[rarest])} is drawn {self.repeats[rarest]:.1f} "
                "times an epoch",
            ]
        if self.shift(config, classes).any():
            to = config.evaluation.prior
            name = "those of its images" if to == "train" else "evaluation.prior"
            lines.append(f"  probabilities are corrected to {name}")
        return lines


def emphasis(config: Config, manifest: Manifest, rows: Ints) -> Emphasis:
    """What the settings make of a train part, the samples at `rows`.

    Raises:
        ConfigError: when weights or shares do not name the classes, or every weight is 0.
    """
    classes = manifest.classes
    several, num_images = manifest.is_multilabel, manifest.num_per_class(rows)
    patients = np.unique(manifest.table["patient_id"].to_numpy()[rows], return_inverse=True)[1]
    weighs = config.model.get("weighs", True)
    balance = config.sampler.balance if weighs else "none"
    drawing = sampling_weights(drawn_as(manifest, rows), patients, balance)
    drawn = _per_class(manifest, rows, drawing)
    weights = manifest.weights if weighs else np.ones(len(manifest))
    if weighs and not several:  # of labels, class weights are refused
        weights = weights_of_classes(config.loss, manifest, rows)[manifest.labels] * weights
    if not (mean := float(weights[rows].mean())):
        raise ConfigError(["manifest.columns.weight: every image of a train part has weight 0"])
    weights = weights / mean
    prior = _per_class(manifest, rows, drawing * weights[rows])
    # a sigmoid tells each class from the rest
    odds = several or (config.loss.output == "sigmoid" and not is_baseline(config.model))
    adjustment = config.loss.logit_adjustment * _logs(drawn, odds)
    alike = np.ptp(drawn) <= NEARLY and not several  # then it changes nothing
    if alike or is_baseline(config.model):
        adjustment = np.zeros(len(classes))
    of_patient = np.bincount(patients, weights=drawing * weights[rows])
    return Emphasis(
        drawing=drawing,
        weights=weights,
        adjustment=adjustment,
        shares=num_images / (len(rows) if several else num_images.sum()),
        prior=_prevalences(prior if several else _as_shares(prior), adjustment)
        if several or (odds and adjustment.any())
        else _as_shares(prior * np.exp(-adjustment)),
        repeats=drawn * len(rows) / np.maximum(num_images, 1),
        num_patients=len(of_patient),
        num_effective=float(of_patient.sum() ** 2 / (of_patient**2).sum()),
    )


def drawn_as(manifest: Manifest, rows: Ints) -> Ints:
    """(N,) what a sampler balances: the class of each image, or the rarest of its labels.

    Images without a label are drawn like one more label (Gupta et al. 2019, LVIS, draws an image
    by its rarest class too).
    """
    if not manifest.is_multilabel:
        return manifest.labels[rows]
    has = manifest.has_class[rows]
    numbers = np.where(has, has.sum(axis=0), len(rows) + 1)
    rarest = np.where(has.any(axis=1), numbers.argmin(axis=1), has.shape[1])
    return np.unique(rarest, return_inverse=True)[1].astype(np.int64)


def _per_class(manifest: Manifest, rows: Ints, weights: Floats) -> Floats:
    """(C,) sum of the (N,) weights of the images of each class; of labels, a share of all."""
    if manifest.is_multilabel:
        return np.asarray(weights @ manifest.has_class[rows] / weights.sum())
    num_classes = len(manifest.classes)
    sums = np.bincount(manifest.labels[rows], weights=weights, minlength=num_classes)
    return sums.astype(float)


def _prevalences(drawn: Floats, adjustment: Floats) -> Floats:
    """(L,) under which each label is really trained."""
    prevalences: Floats = 1 / (1 + np.exp(adjustment - _logs(drawn, odds=True)))
    return prevalences


def check_imbalance(config: Config, manifest: Manifest, rows: Ints) -> Emphasis:
    """A train part's emphasis; ConfigError for classes balanced twice without being asked to."""
    found, loss, balance = emphasis(config, manifest, rows), config.loss, config.sampler.balance
    is_weighted = loss.class_weights != "none" and not manifest.is_multilabel
    of_class = weights_of_classes(loss, manifest, rows) if is_weighted else np.ones(1)
    found.shift(config, manifest.classes)  # is evaluation.prior one of these classes?
    scheme = loss.class_weights if isinstance(loss.class_weights, str) else "{...}"
    used = {
        f"sampler.balance={balance}": balance in ("class", "class_patient"),
        f"loss.class_weights={scheme}": bool(np.ptp(of_class) > 0),
        f"loss.logit_adjustment={loss.logit_adjustment:g}": bool(found.adjustment.any()),
    }
    corrections = [name for name, is_used in used.items() if is_used]
    twice = len(corrections) > 1 and config.model.get("weighs", True)
    if twice and not config.sampler.allow_double_correction:
        listed = ", ".join(
            f"{one_line(name)} {seen:.3f} (really {true:.3f})"
            for name, seen, true in zip(manifest.classes, found.prior, found.shares, strict=True)
        )
        raise ConfigError(
            [
                f"{' and '.join(corrections)} correct the imbalance twice: the effective prior is "
                f"{listed}. Use one of them, or set sampler.allow_double_correction=true"
            ]
        )
    return found


def weights_of_classes(config: LossConfig, manifest: Manifest, rows: Ints) -> Floats:
    """(C,) weight of each class, from the images or patients at `rows`."""
    scheme = config.class_weights
    if not isinstance(scheme, str):
        return _by_class(scheme, manifest.classes, "loss.class_weights")
    usual = "images" if scheme == "inverse" else "patients"
    if (config.counted_in or usual) == "images":
        return class_weights(scheme, manifest.num_per_class(rows))
    return class_weights(scheme, manifest.num_patients_per_class(rows))


def class_weights(scheme: Literal["none", "inverse", "effective_number"], numbers: Ints) -> Floats:
    """(C,) weight of each class in the loss, from the (C,) `numbers` that it is counted by.

    inverse: 1 / n. effective_number: (1 - b) / (1 - b^n) with b = 1 - 1 / (sum of n) (Cui et al.
    2019, Class-balanced loss based on effective number of samples).
    """
    if scheme == "none":
        return np.ones(len(numbers))
    if scheme == "inverse":
        weights = numbers.sum() / (len(numbers) * numbers)
    else:
        beta = 1 - 1 / numbers.sum()
        weights = (1 - beta) / (1 - beta**numbers)
    scaled: Floats = weights / weights.mean()
    return scaled


def shares_of(shares: Mapping[str, float], classes: Sequence[str]) -> Floats:
    """(C,) the shares in `evaluation.prior`; ConfigError unless they sum to 1.

    Of labels that do not exclude each other: prevalences, each below 1.
    """
    values = _by_class(shares, classes, "evaluation.prior")
    if isinstance(classes, LabelNames):
        if values.max() >= 1:
            raise ConfigError([f"evaluation.prior: must be below 1, got {values.max():g}"])
        return values
    if abs(values.sum() - 1) > 1e-3:
        raise ConfigError([f"evaluation.prior: shares must sum to 1, got {values.sum():g}"])
    return _as_shares(values)


def _by_class(numbers: Mapping[str, float], classes: Sequence[str], key: str) -> Floats:
    if set(numbers) != set(classes):
        expected, found = (", ".join(map(one_line, names)) for names in (classes, numbers))
        raise ConfigError([f"{key}: must name each class once, {expected}; got {found}"])
    return np.array([numbers[name] for name in classes])


def _as_shares(values: Floats) -> Floats:
    shares: Floats = values / values.sum()
    return shares


def _logs(shares: Floats, odds: bool) -> Floats:
    """Logarithms of shares, or of their odds; of a class that is missing, next to nothing."""
    safe = shares.clip(np.finfo(float).tiny, 1 - np.finfo(float).eps)
    logs: Floats = np.log(safe) - (np.log1p(-safe) if odds else 0)
    return logs
