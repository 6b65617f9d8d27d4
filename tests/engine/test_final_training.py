"""What the final network goes by, and when it is refused: from run folders without images."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from finished_run import BASELINE, cohort, finished_run

from pipeline.commands.door import load_config
from pipeline.config import UserError
from pipeline.engine.final import FinalTraining, config_of
from pipeline.engine.finished import Finished
from pipeline.engine.run_folder import Run
from pipeline.ensemble.kept import Kept
from pipeline.files import write_json
from pipeline.images.packed import PackedImages
from pipeline.splits import load_plan
from pipeline.tracking.journal import Journal, Started
from pipeline.tracking.untested import FINAL, FINAL_JSON, seal_untested
from pipeline.training.settled import Settled

Made = tuple[Finished, Run]
NETWORK = (
    "model=lenet5",
    "training.epochs=1",
    "evaluation.calibration=temperature",
    "split.locked_fraction=0.2",
)


def again(run_dir: Path, *overrides: str) -> tuple[Finished, Run]:
    """A finished run, and the same with its settings and (no) images, to train on."""
    config = load_config([*BASELINE, "manifest.path=cohort.csv", f"run_dir={run_dir}", *overrides])
    plan = load_plan(run_dir / "plan.csv")
    return Finished.read(run_dir), Run(config, cohort(), plan, PackedImages(run_dir, "0" * 64))


@pytest.fixture(scope="module")
def whole(made_once: Callable[..., Path]) -> Path:
    def make(folder: Path) -> None:
        finished_run(folder / "a", *NETWORK)

    return made_once("run_to_train_on_everybody", make) / "a"


@pytest.fixture
def made(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Finished, Run]:
    monkeypatch.chdir(tmp_path)
    return again(Path(shutil.copytree(whole, tmp_path / "a")), *NETWORK)


def settled_of(training: FinalTraining) -> Settled:
    assert training.job.settled is not None
    return training.job.settled


def test_thresholds_and_calibration_are_the_medians_of_the_folds(
    made: Made,
) -> None:
    finished, run = made
    record = settled_of(FinalTraining(run, finished)).record
    results = finished.results.values()
    assert len(results) == 5
    for level in ("image", "patient"):
        of_folds = [result["thresholds"][level] for result in results]
        assert record["thresholds"][level] == pytest.approx(np.median(of_folds))
    told = [of["calibration"] for of in results]
    fitted = [of["temperature"] for of in told if not of["skipped"]] or [1.0]
    assert record["calibration"]["temperature"] == pytest.approx(np.median(fitted))
    seen = run.plan.groups.keys() - run.plan.locked
    images = len(run.manifest.of(frozenset(seen)))
    of_whom = {"patients": len(seen), "images": images, "locked_out": len(run.plan.locked)}
    assert record["trained_on"] == of_whom
    assert record["folds"] == {str(fold): of["seal"] for fold, of in finished.results.items()}


def test_what_is_expected_is_what_the_cross_validation_says(made: Made) -> None:
    finished, run = made
    expected = settled_of(FinalTraining(run, finished)).record["expected"]
    auroc = finished.summary["patient"]["auroc"]  # type: ignore[index]
    line = f"expected AUROC {auroc['value']:.3f} [{auroc['ci_low']:.3f}, {auroc['ci_high']:.3f}]"
    assert expected["line"].startswith(line)
    assert "patients (patient level)" in expected["line"]
    assert expected["line"].endswith("this network itself was tested on nobody")
    assert expected["metrics"]["auroc"] == {
        key: auroc[key] for key in ("value", "ci_low", "ci_high")
    }


def test_a_baseline_goes_by_its_best_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    more = "training.epochs=20", "scheduler=cosine"
    finished_run(tmp_path / "a", *more)
    finished, run = again(tmp_path / "a", *more)
    training = FinalTraining(run, finished)
    values = run.config.model["chosen"]["C"]
    assert settled_of(training).candidate == {"C": values[0]}  # the only one in these journals
    assert "the best mean val/image/auroc over the folds" in settled_of(training).record["rule"]
    assert training.doubts == []


def test_locked_patients_stay_out(made: Made) -> None:
    finished, run = made
    training = FinalTraining(run, finished)
    locked = run.plan.locked
    assert locked
    assert not training.job.fold.of("train") & locked
    assert len(training.job.fold.of("train")) == 30 - len(locked)
    assert f"{len(locked)} locked patients stay out" in "\n".join(training.lines)


def test_folds_that_chose_their_last_epoch_are_told(made: Made) -> None:
    finished, run = made  # of one epoch
    (line,) = FinalTraining(run, finished).doubts
    assert "5 of 5 folds chose their last epoch, 1" in line


def test_a_run_split_by_image_is_refused(made: Made) -> None:
    finished, _ = made
    finished.summary["unsafe"] = True
    with pytest.raises(UserError, match="was split by image"):
        config_of(finished, [], None, None)


def test_another_manifest_or_other_pixels_are_refused(made: Made, tmp_path: Path) -> None:
    finished, run = made
    other = Run(run.config, run.manifest, run.plan, PackedImages(tmp_path, "1" * 64))
    with pytest.raises(UserError, match=r"pixels hash differ. The final network was not trained"):
        FinalTraining(other, finished)


def test_one_that_was_begun_after_other_folds_is_not_continued(made: Made) -> None:
    finished, run = made
    (run.dir / FINAL).mkdir()
    with Journal(run.dir / FINAL / "journal.jsonl") as journal:
        journal.append(Started(fold=-1, epochs=7))
    with pytest.raises(UserError, match=r"was begun to train for 7 epochs, and the folds .* say 1"):
        FinalTraining(run, finished)


def end(run: Run, finished: Finished) -> Path:
    """Its folder as the training leaves it, without a training."""
    folder = run.dir / FINAL
    folder.mkdir(exist_ok=True)
    (folder / "best.pt").write_bytes(b"weights")
    record = settled_of(FinalTraining(run, finished)).record
    more = {"key": run.key, "fold": -1, "untested": "on nobody", "num_epochs": 1, "time": 1.0}
    write_json(folder / FINAL_JSON, seal_untested({**record, **more}, folder))
    return folder


def test_the_ensemble_reads_it_where_it_is_there(made: Made) -> None:
    finished, run = made
    with pytest.raises(UserError, match="no final network was trained: patientfold final"):
        Kept.of(finished, "final")
    folder = end(run, finished)
    again = Finished.read(run.dir)
    kept = Kept.of(again, "final")
    assert kept.checkpoints == {-1: folder / "best.pt"}
    assert again.final is not None
    for level, decision in kept.decisions(-1).items():
        assert decision.values == again.final["thresholds"][level]


def test_one_of_other_folds_is_refused_and_so_is_a_damaged_one(made: Made) -> None:
    finished, run = made
    folder = end(run, finished)
    path = folder / FINAL_JSON
    result = json.loads(path.read_text())
    result["folds"]["0"] = "another seal"
    del result["seal"]
    write_json(path, seal_untested(result, folder))
    with pytest.raises(UserError, match="its network follows from other folds"):
        _ = Finished.read(run.dir).final
    (folder / "best.pt").write_bytes(b"others")
    with pytest.raises(UserError, match=r"best\.pt is not what final\.json stands for"):
        Finished.read(run.dir)
