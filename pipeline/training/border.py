"""Is the label still there when the images' centres are masked out? Imports no torch."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import Floats, Ints
from pipeline.baselines.features import Range, features, limits_of
from pipeline.config import FeaturesConfig
from pipeline.evaluation.auroc import auroc_interval, one_against_rest
from pipeline.evaluation.intervals import Interval
from pipeline.training.check import Check
from pipeline.training.job import FoldJob, seed_for
from pipeline.words import counted

FRAME = 8
"""What stays is an eighth of each side, at each end of it."""
ALARM = 0.6
"""AUROC above which the whole interval must lie for the label to be found in the border."""
NUM_FOLDS = 5
FEWEST_PATIENTS = 10
"""Of a class: two to test in each of the folds."""
MOST_IMAGES = 4000
CHUNK = 64
EVERY = ""
"""The one question of classes that exclude each other."""
KINDS = (FeaturesConfig(kind="pixels", size=16), FeaturesConfig(kind="intensity", bins=16))
IN_THE_BORDER = (
    "usually the label is in the border: a marker, text, a frame, the black edge of another "
    "scanner, or each class was cut or padded in its own way; crop it away (images.transforms) or "
    "mend the export. Where the finding fills the whole image, as in patches of tissue, this is "
    "expected"
)


def check_border(job: FoldJob) -> Check:
    """Predict the label from the border alone, by boosted trees in folds of whole groups.

    The fold's train and val parts are what is predicted: its test part is not looked at. Of labels
    that do not exclude each other each is predicted, and the one that is told best decides.
    """
    rows, questions = _usable(job)
    if not questions:
        missing = f"fewer than two classes have {FEWEST_PATIENTS} patients to train and validate"
        if job.manifest.is_multilabel:
            missing = f"no label has {FEWEST_PATIENTS} patients with it and as many without"
        return Check("border", None, missing)
    if min(job.images.spatial_shape) < 3:
        return Check("border", None, "the images have no centre")
    table = job.manifest.table.iloc[rows]
    groups, names = pd.factorize(table["group"])
    if len(names) < NUM_FOLDS:
        return Check("border", None, f"there are fewer than {NUM_FOLDS} groups of patients")
    seen = border_features(job.images.array, rows, limits_of(job.images.array, job.rows("train")))
    seed = seed_for(job.config.training.seed, job.fold.index, 0, purpose=4)
    found: dict[str, Interval] = {}
    for name, labels in questions.items():
        scores, folds = _out_of_fold(seen, labels, groups, seed)
        interval = auroc_interval(*one_against_rest(labels, scores), folds, groups)
        if interval is not None:
            found[name] = interval
    if not found:
        return Check("border", None, "a class is too rare to be in every fold")
    return _judged(found, len(job.manifest.classes) if job.manifest.is_multilabel else 1)


def _judged(found: Mapping[str, Interval], num_asked: int) -> Check:
    """The border tells none of these: of several labels, the one that is told best decides."""
    worst = max(found, key=lambda name: found[name].low)
    interval = found[worst]
    of_label = f" of {worst!r}, the highest of {counted(num_asked, 'label')}," * (worst != EVERY)
    unknown = f"; {num_asked - len(found)} too rare to ask" if num_asked > len(found) else ""
    text = (
        f"AUROC {interval}{of_label} without the images' centres (the interval must reach {ALARM} "
        f"or less{unknown})"
    )
    values = {"auroc": interval.value, "low": interval.low, "high": interval.high}
    if worst != EVERY:
        values |= {f"auroc_{name}": of.value for name, of in found.items()}
    return Check("border", interval.low <= ALARM, text, IN_THE_BORDER, values)


def border_features(array: NDArray[np.generic], rows: Ints, limits: Range) -> Floats:
    """(N, F) means of cells and histograms of the images at `rows`, centres set to 0."""
    shape = array.shape[2:]
    ends = [(max(1, side // FRAME), side - max(1, side // FRAME)) for side in shape]
    centre = (slice(None), slice(None), *(slice(*end) for end in ends))
    found = []
    for begin in range(0, len(rows), CHUNK):
        images = array[rows[begin : begin + CHUNK]].astype(np.float64)
        images[centre] = 0
        at = np.arange(len(images))
        found.append(np.concatenate([features(k, images, at, limits) for k in KINDS], axis=1))
    table = np.concatenate(found)
    return table[:, np.ptp(table, axis=0) > 0]


def _usable(job: FoldJob) -> tuple[Ints, dict[str, Ints]]:
    """(N,) rows of train and val whose class has enough patients there, of very many some; and
    what is asked about them, (N,) classes. Of several labels: with and without each.
    """
    manifest = job.manifest
    rows = np.sort(np.concatenate([job.rows("train"), job.rows("val")]))
    if not manifest.is_multilabel:
        enough = np.flatnonzero(manifest.num_patients_per_class(rows) >= FEWEST_PATIENTS)
        rows = _some(job, rows[np.isin(manifest.labels[rows], enough)])
        labels = np.unique(manifest.labels[rows], return_inverse=True)[1].astype(np.int64)
        return rows, {EVERY: labels} if len(enough) > 1 else {}
    rows = _some(job, rows)
    patients = manifest.table["patient_id"].to_numpy(object)[rows]
    asked = {}
    for name, has in zip(manifest.classes, manifest.has_class[rows].T, strict=True):
        if min(len(set(patients[has])), len(set(patients[~has]))) >= FEWEST_PATIENTS:
            asked[name] = has.astype(np.int64)
    return rows, asked


def _some(job: FoldJob, rows: Ints) -> Ints:
    if len(rows) <= MOST_IMAGES:
        return rows
    generator = np.random.default_rng(job.config.training.seed)
    return np.sort(generator.choice(rows, MOST_IMAGES, replace=False))


def _out_of_fold(seen: Floats, labels: Ints, groups: Ints, seed: int) -> tuple[Floats, Ints]:
    """(N, C) scores, each by a model that knows no image of the group, and (N,) its fold."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    scores, folds = np.zeros((len(labels), labels.max() + 1)), np.zeros(len(labels), np.int64)
    if not seen.shape[1]:
        return scores, folds  # all borders are the same
    splitter = StratifiedGroupKFold(NUM_FOLDS, shuffle=True, random_state=seed % 2**32)
    for fold, (train, test) in enumerate(splitter.split(seen, labels, groups)):
        trees = HistGradientBoostingClassifier(
            max_iter=40, min_samples_leaf=10, max_features=0.3, random_state=seed % 2**32
        )
        trees.fit(seen[train], labels[train])
        scores[np.ix_(test, trees.classes_)] = trees.predict_proba(seen[test])
        folds[test] = fold
    return scores, folds
