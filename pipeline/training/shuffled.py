"""Labels shuffled by patient leave nothing to learn: does validation see chance?

Imports torch only for a network.
"""

from dataclasses import replace

import numpy as np

from pipeline.arrays import AnyFloats, Ints
from pipeline.config.leaf import is_baseline
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
        return Check("shuffled", None, "a part has one class only")
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

    The test part is left as it is. None where a part has one class, so that nothing is shuffled.
    """
    generator = np.random.default_rng(_seed(job))
    labels, patients = job.manifest.labels.copy(), job.manifest.table["patient_id"].to_numpy()
    for rows in (job.rows("train"), job.rows("val")):
        dealer, there = LabelsByPatient(labels[rows], patients[rows]), np.unique(labels[rows])
        tries = (dealer.shuffled(generator) for _ in range(TRIES))
        dealt = next((d for d in tries if _has(d, there)), None)
        if len(there) < 2 or dealt is None:
            return None
        labels[rows] = dealt
    names = np.array(job.manifest.classes, dtype=object)[labels]
    manifest = replace(job.manifest, table=job.manifest.table.assign(label=names))
    return replace(job, manifest=manifest)


def _has(labels: Ints, classes: Ints) -> bool:
    return np.array_equal(np.unique(labels), classes)


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
    candidate = next(iter(fold.baseline.candidates(len(fold.train))))
    return fold.fitted(candidate).outputs(job.rows("val"))[0]
