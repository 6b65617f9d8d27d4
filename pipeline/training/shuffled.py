"""Labels shuffled by patient leave nothing to learn: does validation see chance?

Imports torch only for a network.
"""

from dataclasses import replace

import numpy as np

from pipeline.arrays import AnyFloats, Bools, Ints
from pipeline.config.leaf import is_baseline
from pipeline.label_names import LabelNames, matrix_of
from pipeline.training.chance import LabelsByPatient, auroc_of, chance
from pipeline.training.check import Check
from pipeline.training.job import FoldJob, seed_for

NUM_STEPS = 60
"""Of the optimizer, on shuffled labels."""
PURPOSE = 3
"""Of the seeds; the training has others."""
TRIES = 100
LEAK = (
    "usually images of a validation patient are in the train part too, or code of yours (a "
    "plugin) carries labels around the image"
)


def check_shuffled(job: FoldJob) -> Check:
    """Train a little on shuffled labels, and rank the validation part, shuffled like it."""
    dealt = with_shuffled_labels(job)
    if dealt is None:
        return Check("shuffled", None, _nothing_to_shuffle(job))
    val = dealt.rows("val")
    labels = dealt.manifest.labels[val]
    scores = _baseline_scores(dealt) if is_baseline(job.config.model) else _network_scores(dealt)
    auroc = auroc_of(scores)
    patients = job.manifest.table["patient_id"].to_numpy()[val]
    low, high = chance(labels, patients, auroc, _seed(job))
    value = auroc(labels)
    found = (
        f"validation AUROC {value:.3f} of labels shuffled by patient, chance gives {low:.3f} to "
        f"{high:.3f}"
    )
    values = {"auroc": value, "low": low, "high": high}
    return Check("shuffled", low - 1e-9 <= value <= high + 1e-9, found, LEAK, values)


def with_shuffled_labels(job: FoldJob) -> FoldJob | None:
    """The fold, its labels dealt anew to patients within the train and within the val part.

    An image's whole set, where it may have several. The test part is left as it is. None where a
    part has one class, or no label that only some have, so that nothing is shuffled.
    """
    generator = np.random.default_rng(_seed(job))
    labels, patients = job.manifest.labels.copy(), job.manifest.table["patient_id"].to_numpy()
    for rows in (job.rows("train"), job.rows("val")):
        dealer, differs = LabelsByPatient(labels[rows], patients[rows]), _differs(job, labels[rows])
        tries = (dealer.shuffled(generator) for _ in range(TRIES))
        dealt = next((d for d in tries if np.array_equal(_differs(job, d), differs)), None)
        if not differs.all(axis=0).any() or dealt is None:
            return None
        labels[rows] = dealt
    classes = job.manifest.classes
    if isinstance(classes, LabelNames):
        names = classes.texts(labels.astype(np.bool_))
    else:
        names = np.array(classes, dtype=object)[labels].tolist()
    manifest = replace(job.manifest, table=job.manifest.table.assign(label=names))
    return replace(job, manifest=manifest)


def _differs(job: FoldJob, labels: Ints) -> Bools:
    """(2, C): has some image each class, and some image not? Both say that it can be learnt."""
    has = matrix_of(job.manifest.classes, labels)
    return np.stack([has.any(axis=0), ~has.all(axis=0)])


def _nothing_to_shuffle(job: FoldJob) -> str:
    if job.manifest.is_multilabel:
        return "a part has no label that only some of its images have"
    return "a part has one class only"


def _seed(job: FoldJob) -> int:
    return seed_for(job.config.training.seed, job.fold.index, 0, PURPOSE)


def _network_scores(job: FoldJob) -> AnyFloats:
    from pipeline.training.epoch import outputs
    from pipeline.training.trial import begin_trial, train_steps

    learner, part = begin_trial(job)
    train_steps(learner, part, NUM_STEPS)
    return outputs(learner, part.source, part.job, job.rows("val"))[0]


def _baseline_scores(job: FoldJob) -> AnyFloats:
    from pipeline.training.baseline import BaselineFold

    fold = BaselineFold(job)
    return fold.fitted(fold.candidates[0]).outputs(job.rows("val"))[0]
