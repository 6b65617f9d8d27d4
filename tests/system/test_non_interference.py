"""Nothing about the test part influences anything before the test (design, rule 4)."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from system_runs import FROZEN, Cohort, fold_job, make_cohort

from pipeline.splits import plan_folds
from pipeline.training import judge as judge_module
from pipeline.training.fold import train_fold
from pipeline.training.job import FoldJob
from pipeline.training.judge import Judge

CALIBRATED = ["evaluation.calibration=temperature_bias", "evaluation.threshold=sensitivity0.9"]


def _noise_in_test(cohort: Cohort, test: frozenset[str], folder: Path) -> Cohort:
    """The same cohort with the test part's pixels and labels replaced by noise."""
    folder.mkdir()
    generator = np.random.default_rng(1)
    labels = {patient: str(generator.choice(["healthy", "lesion"])) for patient in sorted(test)}
    rows = cohort.rows()
    for row in rows:
        source, target = cohort.folder / row["image_path"], folder / row["image_path"]
        if row["patient_id"] not in test:
            target.write_bytes(source.read_bytes())
            continue
        Image.fromarray(generator.integers(0, 256, (24, 24), dtype=np.uint8)).save(target)
        row["label"] = labels[row["patient_id"]]
    noisy = Cohort(folder)
    noisy.write_rows(rows)
    return noisy


def _artefacts(job: FoldJob) -> dict[str, Any]:
    """All that a fold has decided before its test part is opened."""
    best = torch.load(job.fold_dir / "best.pt", weights_only=True)
    result = json.loads((job.fold_dir / "result.json").read_text())
    weights = b"".join(t.numpy().tobytes() for t in best["network"].values())
    records = [json.loads(line) for line in (job.fold_dir / "journal.jsonl").open()]
    return {
        "weights": hashlib.sha256(weights).hexdigest(),
        "statistics": (best["mean"], best["std"]),
        "epoch": result["best_epoch"],
        "threshold": result["thresholds"],
        "calibration": result["calibration"],
        "val": hashlib.sha256((job.fold_dir / "predictions_val.csv").read_bytes()).hexdigest(),
        "losses": [r["metrics"]["train/loss"] for r in records if r["event"] == "epoch"],
        "best_sha256": result["best_sha256"],
    }


def _train_with_and_without_noise(
    tmp_path: Path, *overrides: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    torch.set_num_threads(1)
    num_patients = 48 if CALIBRATED[0] in overrides else 18
    cohort = make_cohort(tmp_path / "cohort", num_patients)
    job = fold_job(cohort, tmp_path / "real", *overrides)
    noise = _noise_in_test(cohort, job.fold.test, tmp_path / "noisy")
    config = job.config
    plan = plan_folds(job.manifest, config.split)
    noisy = fold_job(noise, tmp_path / "n", *overrides, plan=plan)
    assert noisy.fold == job.fold
    train_fold(job)
    train_fold(noisy)
    test_files = [j.fold_dir / "predictions_test.csv" for j in (job, noisy)]
    assert test_files[0].read_bytes() != test_files[1].read_bytes(), "the noise did not arrive"
    return _artefacts(job), _artefacts(noisy)


@pytest.mark.parametrize(
    "overrides",
    [[], FROZEN, pytest.param(CALIBRATED, marks=pytest.mark.slow)],
    ids=["network", "frozen trunk", "calibrated"],
)
def test_noise_in_the_test_part_changes_nothing_but_the_test(
    tmp_path: Path, overrides: list[str]
) -> None:
    real, noisy = _train_with_and_without_noise(tmp_path, *overrides)
    assert real == noisy
    assert (overrides == CALIBRATED) == (real["calibration"] is not None)
    assert not (real["calibration"] or {}).get("skipped")


def _statistics_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.images.packed import Normalisation, PackedImages

    fit = PackedImages.fit_normalisation

    def leaky(self: PackedImages, _rows: object) -> Normalisation:
        return fit(self, np.arange(len(self.array)))

    monkeypatch.setattr(PackedImages, "fit_normalisation", leaky)


def _epoch_chosen_on_test(monkeypatch: pytest.MonkeyPatch) -> None:
    predict = Judge._predict
    monkeypatch.setattr(Judge, "_predict", lambda self, _part: predict(self, "test"))


def _unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "refuse_other_parts", lambda _val, _job: None)


def _threshold_chosen_on_test(monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = Judge.decisions
    monkeypatch.setattr(
        Judge, "decisions", lambda self, _val: decisions(self, self.predict("test"))
    )


def _calibrated_on_test(monkeypatch: pytest.MonkeyPatch) -> None:
    calibration = Judge.calibration
    monkeypatch.setattr(
        Judge, "calibration", lambda self, _val: calibration(self, self.predict("test"))
    )


def _trained_on_test_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = FoldJob.rows

    def leaky(self: FoldJob, part: Any) -> Any:
        both = [rows(self, "train"), rows(self, "test")]
        return np.sort(np.concatenate(both)) if part == "train" else rows(self, part)

    monkeypatch.setattr(FoldJob, "rows", leaky)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("break_it", "caught_by"),
    [
        (_statistics_of_everything, "statistics"),
        (_epoch_chosen_on_test, "val"),
        (_threshold_chosen_on_test, "threshold"),
        (_calibrated_on_test, "calibration"),
        (_trained_on_test_too, "weights"),
    ],
)
def test_the_proof_catches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, break_it: Any, caught_by: str
) -> None:
    break_it(monkeypatch)
    _unguarded(monkeypatch)
    overrides = CALIBRATED if break_it is _calibrated_on_test else []
    real, noisy = _train_with_and_without_noise(tmp_path, *overrides)
    assert real[caught_by] != noisy[caught_by]


@pytest.mark.parametrize("break_it", [_epoch_chosen_on_test, _threshold_chosen_on_test])
def test_nothing_but_the_validation_part_may_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, break_it: Any
) -> None:
    break_it(monkeypatch)
    job = fold_job(make_cohort(tmp_path / "cohort"), tmp_path / "real")
    with pytest.raises(RuntimeError, match=r"only its validation part chooses, got \d+ patient"):
        train_fold(job)


def test_the_test_part_is_opened_once_and_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    predict = Judge._predict

    def spy(self: Judge, part: Any) -> Any:
        opened.append(part)
        return predict(self, part)

    monkeypatch.setattr(Judge, "_predict", spy)
    job = fold_job(make_cohort(tmp_path / "cohort"), tmp_path / "real")
    train_fold(job)
    assert opened == ["val"] * (3 + 1) + ["test"]
