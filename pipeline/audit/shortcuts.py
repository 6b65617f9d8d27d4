"""What predicts the label without a look at the image: site, file metadata, image counts.

A network may learn such a shortcut instead of the disease (Zech 2018: 0.86 from the hospital
alone), and no split by patient prevents it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.arrays import Floats, Ints
from pipeline.audit.stratified import stratified_folds
from pipeline.evaluation.auroc import auroc_interval, one_against_rest
from pipeline.manifest import Finding, Manifest

ALARM = 0.6
"""A shortcut is flagged when its interval lies above this AUROC."""
FEWEST_PATIENTS = 10
"""Patients of a class that are needed to measure it: two to test in each of five folds."""

_NUM_FOLDS = 5
_PRIOR_PATIENTS = 5.0  # a site's class frequencies count as much as this many average patients
_MOST_DIMS = 4

_ADVICE = {
    "site": "compare AUROCs within each site, and test on sites that the network never saw: "
    "split.scheme=leave_one_out split.leave_out=site",
    "file metadata": "see whether classes come from different scanners, exports or sources, "
    "re-export them alike, and test on sources that the network never saw",
    "image count": "see why one class has more images per patient, and do not let a count "
    "reach the network or the patient's score (evaluation.aggregate=mean)",
}
_Model = Callable[[pd.DataFrame, Ints, pd.DataFrame, int], Floats]


@dataclass(frozen=True, slots=True)
class Shortcut:
    """How well one thing beside the image predicts the label, out of fold, at patient level."""

    name: str
    num_patients: int
    auroc: float | None = None
    """Mean over folds; with more than two classes the mean of one against the rest."""
    ci_low: float | None = None
    ci_high: float | None = None
    missing: str = ""
    """Why there is no AUROC."""
    label: str = ""
    """Which label, where an image may have several."""

    @property
    def flagged(self) -> bool:
        return self.ci_low is not None and self.ci_low > ALARM

    def __str__(self) -> str:
        name = f"{self.name} and {self.label}" if self.label else self.name
        if self.auroc is None:
            return f"{name}: not measured, {self.missing}"
        return (
            f"{name}: AUROC {self.auroc:.3f} [{self.ci_low:.3f}, {self.ci_high:.3f}] of "
            f"{self.num_patients} patients"
        )


def patient_table(
    manifest: Manifest, metadata: pd.DataFrame | None = None, label: int = 0
) -> pd.DataFrame:
    """One row per patient: label, group, site (if there is one), num_images, and file metadata.

    The column `label` is the latest class of the patient's images; of labels that do not exclude
    each other, whether an image has the one with number `label`. `metadata` has a row per manifest
    row and any of the columns file_size (bytes), shape (sizes of the axes, as text or tuple),
    bit_depth, num_channels; default: file_size. Each becomes its mean, smallest and largest value.
    """
    if metadata is None:
        sizes = [sum(f.stat().st_size for f in files) for files in manifest.image_sets]
        metadata = pd.DataFrame({"file_size": sizes})
    if len(metadata) != len(manifest):
        raise RuntimeError(f"Expected {len(manifest)} rows of metadata, got {len(metadata)}.")
    numbers = _numbers(metadata.reset_index(drop=True))  # the rows of `samples` are used
    labels = manifest.labels[:, label] if manifest.is_multilabel else manifest.labels
    samples = manifest.samples.assign(class_index=labels[manifest.samples.index])
    patients = samples.groupby("patient_id", sort=True)
    table = patients.agg(label=("class_index", "max"), group=("group", "first"))
    if "site" in samples:
        table["site"] = _sites(samples)
    table["num_images"] = patients.size()
    for name in numbers:
        values = numbers[name].groupby(samples["patient_id"])
        for how in ("mean", "min", "max"):
            table[f"file:{name}:{how}"] = values.agg(how)
    return table


def _sites(samples: pd.DataFrame) -> "pd.Series[str]":
    """By patient: the site, or several with | between them."""
    sites = samples[["patient_id", "site"]].drop_duplicates().sort_values("site")
    several = sites.duplicated("patient_id", keep=False)
    joined = sites[several].groupby("patient_id")["site"].agg("|".join)
    found: pd.Series[str] = pd.concat([sites[~several].set_index("patient_id")["site"], joined])
    return found


def find_shortcuts(patients: pd.DataFrame, seed: int = 0) -> list[Shortcut]:
    """Measure each shortcut that `patients` has columns for (a `patient_table`).

    Five folds of whole leakage groups, made here: the answer does not depend on the plan.
    """
    metadata = [str(name) for name in patients if str(name).startswith("file:")]
    columns: dict[str, tuple[list[str], _Model]] = {}
    if "site" in patients:
        columns["site"] = ["site"], _site_frequencies
    if metadata:
        columns["file metadata"] = [*metadata, "num_images"], _trees
    columns["image count"] = ["num_images"], _trees
    counts = patients["label"].value_counts()
    common = sorted(counts.index[counts >= FEWEST_PATIENTS])
    rare = f"fewer than two classes have {FEWEST_PATIENTS} patients"
    if len(common) < 2:
        return [Shortcut(name, len(patients), missing=rare) for name in columns]
    kept = patients[patients["label"].isin(common)].sort_index()
    labels, _ = pd.factorize(kept["label"], sort=True)
    groups, names = pd.factorize(kept["group"])
    if len(names) < _NUM_FOLDS:
        few = f"there are fewer than {_NUM_FOLDS} independent groups of patients"
        return [Shortcut(name, len(kept), missing=few) for name in columns]
    groups = groups.astype(np.int64)
    tested = Tested(labels, groups, stratified_folds(labels, groups, _NUM_FOLDS, seed))
    return [_measure(name, kept[of], model, tested) for name, (of, model) in columns.items()]


def shortcut_findings(shortcuts: Sequence[Shortcut]) -> list[Finding]:
    """A warning for each flagged shortcut, a note for each that could not be measured."""
    why = f"without a look at the pixels (flagged when the interval lies above {ALARM}); a network "
    why += "can learn that instead of the disease"
    findings = []
    for shortcut in shortcuts:
        if shortcut.flagged:
            message = f"{shortcut}, {why}: {_ADVICE[shortcut.name]}."
            findings.append(Finding("shortcut", "warning", message))
        elif shortcut.missing:
            findings.append(Finding("shortcut", "note", str(shortcut)))
    return findings


class Tested(NamedTuple):
    """The patients of a cohort, and the fold that tests each of them; (P,) of numbers from 0."""

    labels: Ints
    groups: Ints
    folds: Ints


def _measure(name: str, features: pd.DataFrame, model: _Model, tested: Tested) -> Shortcut:
    """Out-of-fold scores of every patient, and the AUROC of them."""
    if (features.nunique() <= 1).all():
        return Shortcut(name, len(features), missing="it is the same for all patients")
    labels, groups, folds = tested
    scores = np.zeros((len(labels), labels.max() + 1))
    for fold in range(_NUM_FOLDS):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        train_part, test_part = features.iloc[train], features.iloc[test]
        scores[test] = model(train_part, labels[train], test_part, labels.max() + 1)
    interval = auroc_interval(*one_against_rest(labels, scores), folds, groups)
    if interval is None:
        alone = "a class lies in so few independent groups that a fold has none of it"
        return Shortcut(name, len(features), missing=alone)
    return Shortcut(name, len(features), interval.value, interval.low, interval.high)


def _site_frequencies(
    train: pd.DataFrame, labels: Ints, test: pd.DataFrame, num_classes: int
) -> Floats:
    """(T, C) class frequencies of each test patient's site in the train part, smoothed."""
    overall = np.bincount(labels, minlength=num_classes) / len(labels)
    known = pd.crosstab(train["site"], labels)
    counts = known.reindex(index=test["site"], columns=range(num_classes), fill_value=0).to_numpy()
    total = counts.sum(axis=1, keepdims=True) + _PRIOR_PATIENTS
    return np.asarray((counts + _PRIOR_PATIENTS * overall) / total)


def _trees(train: pd.DataFrame, labels: Ints, test: pd.DataFrame, num_classes: int) -> Floats:
    """(T, C) probabilities of small boosted trees; missing values are a value of their own."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    scores = np.zeros((len(test), num_classes))
    if len(np.unique(labels)) < 2:
        return scores
    model = HistGradientBoostingClassifier(
        max_iter=40,
        max_leaf_nodes=6,
        min_samples_leaf=int(np.clip(len(labels) // 20, 5, 20)),
        l2_regularization=1.0,
        early_stopping=False,
        random_state=0,
    )
    # Tables so small are slower with more threads, on a busy machine far slower.
    with threadpool_limits(1):
        model.fit(train.to_numpy(np.float64), labels)
        scores[:, model.classes_] = model.predict_proba(test.to_numpy(np.float64))
    return scores


def _numbers(metadata: pd.DataFrame) -> pd.DataFrame:
    """Numeric columns of each image's file: a shape becomes the sizes of its axes."""
    numbers = metadata[[c for c in ("file_size", "bit_depth", "num_channels") if c in metadata]]
    numbers = numbers.astype(np.float64)
    if "shape" in metadata:
        axes = metadata["shape"].astype(str).str.extractall(r"(\d+)")[0].unstack()
        numbers = numbers.join(axes.iloc[:, :_MOST_DIMS].astype(np.float64).add_prefix("axis"))
    return numbers
