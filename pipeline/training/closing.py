"""The end of a fold, of networks and baselines alike. Imports no torch."""

import time
from collections.abc import Mapping

from pipeline.config import UserError
from pipeline.evaluation.predictions import write_predictions
from pipeline.files import write_json
from pipeline.tracking.journal import VERSION
from pipeline.tracking.result import seal
from pipeline.tracking.untested import FINAL_JSON, UNTESTED, seal_untested
from pipeline.training.job import FoldJob
from pipeline.training.judge import Judge
from pipeline.training.progress import Progress


def selecting(values: Mapping[str, float | None], select_by: str) -> float:
    """The validation metric that chooses; UserError when it cannot be computed."""
    if (value := values[select_by]) is None:
        raise UserError(
            f"{select_by} cannot be computed: a class has no sample in the validation "
            "part. Use fewer folds, or training.select_by=val/loss."
        )
    return value


def judged(progress: Progress, job: FoldJob, values: Mapping[str, float | None]) -> Progress:
    """One more epoch (or candidate) is as good as validation says; without it, the last is kept."""
    if job.settled is not None:
        return progress.unjudged()
    training = job.config.training
    return progress.after(selecting(values, training.select_by), training.select_mode)


def close(
    judge: Judge, progress: Progress, facts: Mapping[str, object], writes: bool = True
) -> None:
    """Fix everything that val decides, then open the test part; `result.json` comes last.

    `facts` are the model's own: num_parameters, seconds, ... Of the workers of a fold, which
    predict together, one writes.
    """
    job = judge.job
    told = judge.predict("val")
    calibration = judge.calibration(told)
    val = judge.calibrated(told, calibration)
    decisions = judge.decisions(val)
    if writes:
        write_predictions(judge.decided(val, decisions), job.fold_dir / "predictions_val.csv")
    test = judge.calibrated(judge.predict("test"), calibration)
    if not writes:
        return
    write_predictions(judge.decided(test, decisions), job.fold_dir / "predictions_test.csv")
    result = {
        "version": VERSION,
        "fold": job.fold.index,
        "key": job.key,
        "best_epoch": progress.best_epoch,
        "num_epochs": progress.num_epochs,
        "select_by": job.config.training.select_by,
        "select_value": progress.best_value,
        "thresholds": {"image": None, "patient": None}
        | {level: decision.values for level, decision in decisions.items()},
        "trained_under": job.emphasis.prior.tolist(),
        "logit_shift": job.logit_shift.tolist(),
        "calibration": None if calibration is None else calibration.record(),
        **facts,
        "val": judge.metrics(val, decisions),
        "test": judge.metrics(test, decisions),
        "operating_points": judge.operating_points(val, test, decisions),
        "device": job.devices or job.device,
        "time": time.time(),
    }
    write_json(job.fold_dir / "result.json", seal(result, job.fold_dir))


def close_untested(job: FoldJob, progress: Progress, facts: Mapping[str, object]) -> None:
    """The end of a training on everybody: nothing is judged, `final.json` says what it goes by."""
    assert job.settled is not None, "a fold is tested"
    result = {
        "version": VERSION,
        "fold": job.fold.index,
        "key": job.key,
        "untested": UNTESTED,
        "num_epochs": progress.num_epochs,
        **job.settled.record,
        "trained_under": job.emphasis.prior.tolist(),
        "logit_shift": job.logit_shift.tolist(),
        **facts,
        "device": job.devices or job.device,
        "time": time.time(),
    }
    write_json(job.fold_dir / FINAL_JSON, seal_untested(result, job.fold_dir))
