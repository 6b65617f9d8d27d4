"""What the kept model of a done fold gives for any rows; nothing is trained, nothing is chosen."""

from dataclasses import replace
from functools import partial

import numpy as np

from pipeline.arrays import AnyFloats, Ints
from pipeline.config import UserError
from pipeline.config.leaf import is_baseline
from pipeline.evaluation.predictions import prob_columns, read_predictions
from pipeline.evaluation.recalibration import Calibration
from pipeline.tracking.removed import gone
from pipeline.tracking.result import read_result
from pipeline.training.job import FoldJob
from pipeline.training.judge import Judge, Outputs

TOLERANCE = 0.02
"""Of a probability: a GPU in half precision and a CPU differ by less, another model by more."""


def outputs_of_kept(job: FoldJob, rows: Ints) -> AnyFloats:
    """(N, C) probabilities of the samples at `rows` by the fold's best model, calibrated as it was.

    Raises:
        UserError: the model is gone, or gives for the validation part something else than it gave
            when the fold was done: then it, or the images, are not what they were.
    """
    outputs = _baseline(job) if is_baseline(job.config.model) else _network(job)
    _check_same(job, outputs)
    return _calibrated(job, outputs(rows)[0])


def _calibrated(job: FoldJob, probabilities: AnyFloats) -> AnyFloats:
    """As the fold has calibrated its own, if it did."""
    result = read_result(job.fold_dir / "result.json")
    calibration = Calibration.read(result, job.manifest.classes)
    return probabilities if calibration is None else calibration.apply(probabilities)


def _network(job: FoldJob) -> Outputs:
    import torch

    from pipeline.images.batches import BatchSource
    from pipeline.images.packed import Normalisation
    from pipeline.training.checkpoint import load_checkpoint
    from pipeline.training.epoch import outputs
    from pipeline.training.learner import build_learner
    from pipeline.training.precision import precision_of_kept

    path = job.fold_dir / "best.pt"
    if not path.exists():
        raise UserError(f"{gone(path)}.")
    state = load_checkpoint(path, job)
    # all weights come from the checkpoint: the file that training began with may be gone
    init = replace(job.config.init, weights=None)
    job = replace(job, config=replace(job.config, init=init))
    learner = build_learner(job)
    learner.precision = precision_of_kept(learner.device, job.config.training.precision)
    learner.judged.load_state_dict(state["network"])
    normalisation = Normalisation(tuple(state["mean"]), tuple(state["std"]))
    source = BatchSource.open(
        job.images, normalisation, torch.device(job.device), job.config.augment.crop
    )
    return partial(outputs, learner, source, job)


def _baseline(job: FoldJob) -> Outputs:
    from pipeline.training.baseline import BaselineFold

    return BaselineFold(job).fitted(read_result(job.fold_dir / "result.json")["candidate"]).outputs


def _check_same(job: FoldJob, outputs: Outputs) -> None:
    classes = job.manifest.classes
    before = read_predictions(job.fold_dir / "predictions_val.csv", classes)
    names = ["patient_id", "image_path"]
    now = Judge(job, outputs).predict("val")
    is_same = before[names].equals(now[names])
    of_before, of_now = (table[prob_columns(classes)].to_numpy() for table in (before, now))
    of_now = _calibrated(job, of_now)
    if not is_same or np.abs(of_before - of_now).max() > TOLERANCE:
        raise UserError(
            f"{job.fold_dir}: its model gives other probabilities for the validation part than "
            "when the fold was done. It, the images or the libraries are not what they were: the "
            "locked patients were not opened."
        )
