"""Folds of baselines: val chooses, the test part changes nothing, and neither torch nor monai."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from killed_fold import cut_short
from sklearn.ensemble import ExtraTreesClassifier

from pipeline.baselines import Baseline
from pipeline.commands.door import load_config
from pipeline.config import ConfigError, UserError
from pipeline.evaluation.predictions import read_predictions
from pipeline.evaluation.recalibration import Calibration
from pipeline.images.packed import PackedImages
from pipeline.manifest import Manifest
from pipeline.splits import Fold
from pipeline.targets import build
from pipeline.tracking.journal import EpochEnded, read_journal
from pipeline.tracking.result import check_files, read_result
from pipeline.training.baseline import BaselineFold, train_baseline
from pipeline.training.job import FoldJob
from pipeline.training.judge import Judge

MODELS = ("majority", "knn", "logistic", "svm", "boosted_trees")
NUM_PATIENTS, SIDE = 45, 6
CLASSES = ("a", "b", "c")


def job_of(folder: Path, *overrides: str, classes: int = 2, noise_in_test: bool = False) -> FoldJob:
    """Two images of each patient, brighter with the class; a third of the patients are tested."""
    rng = np.random.default_rng(1)
    patients = [f"p{i:02d}" for i in range(NUM_PATIENTS) for _ in range(2)]
    labels = np.array([int(p[1:]) % classes for p in patients])
    pixels = rng.normal(120 + 30 * labels[:, None, None, None], 40, (90, 1, SIDE, SIDE))
    pixels = pixels.clip(20, 235)  # the noise is brighter and darker
    tested = np.array([int(p[1:]) >= 30 for p in patients])
    if noise_in_test:
        pixels[tested] = rng.normal(0, 99, (int(tested.sum()), 1, SIDE, SIDE))
        labels[tested] = rng.permutation(labels[tested][::2]).repeat(2)
    table = pd.DataFrame(
        {
            "patient_id": patients,
            "image_path": [f"{i:02d}.png" for i in range(90)],
            "label": [CLASSES[label] for label in labels],
        }
    )
    folder.mkdir(exist_ok=True)
    np.save(folder / "images.npy", pixels.clip(0, 255).astype(np.uint8))
    (folder / "fold_00").mkdir(exist_ok=True)
    every = [f"p{i:02d}" for i in range(NUM_PATIENTS)]
    fold = Fold(0, frozenset(every[:20]), frozenset(every[20:30]), frozenset(every[30:]))
    return FoldJob(
        config=load_config(["manifest=demo", *overrides]),
        manifest=Manifest(folder / "x.csv", folder, CLASSES[:classes], table),
        fold=fold,
        images=PackedImages(folder, "key"),
        fold_dir=folder / "fold_00",
        key="a" * 64,
    )


def files(job: FoldJob) -> dict[str, str]:
    names = ("best.json", "predictions_val.csv", "predictions_test.csv")
    return {name: (job.fold_dir / name).read_text() for name in names}


def candidates(job: FoldJob) -> list[EpochEnded]:
    events = read_journal(job.fold_dir / "journal.jsonl")
    return [event for event in events if isinstance(event, EpochEnded)]


def test_a_fold_with_slides_has_three_levels(tmp_path: Path) -> None:
    """Its thresholds are chosen on val, and the files say which slide an image is of."""
    slides = ["manifest.columns.slide=slide", "evaluation.middle=slide"]
    slides += ["evaluation.aggregate=max", "training.select_by=val/slide/balanced_accuracy"]
    plain = job_of(tmp_path, "model=knn", *slides)
    table = plain.manifest.table
    slide = table["patient_id"] + "-" + (table.index % 4 // 2).astype(str)  # of one or two images
    slide += np.where(table.index % 3 == 0, "x", "")
    job = replace(plain, manifest=replace(plain.manifest, table=table.assign(slide=slide)))
    train_baseline(job)
    result = read_result(job.fold_dir / "result.json")
    for found in (result["thresholds"], result["val"], result["test"], result["operating_points"]):
        assert found.keys() == {"image", "slide", "patient"}
    assert result["val"]["slide"]["balanced_accuracy"] == result["select_value"]
    assert [event.metrics["val/slide/balanced_accuracy"] for event in candidates(job)].count(
        result["select_value"]
    )
    parts = {}
    for part in ("val", "test"):
        path = job.fold_dir / f"predictions_{part}.csv"
        parts[part] = read_predictions(path, job.manifest.classes)
    expected = dict(zip(table["image_path"], slide, strict=True))
    for part, read in parts.items():
        assert read["slide"].tolist() == read["image_path"].map(expected).tolist()
        # by hand: mean of a slide's images, highest of a patient's slides, the threshold of val
        means = read.groupby(["patient_id", "slide"])["prob_b"].mean()
        scores = {"slide": means, "patient": means.groupby("patient_id").max()}
        for level, score in scores.items():
            truth = score.index.get_level_values("patient_id").str[1:].astype(int) % 2 == 1
            called = score.to_numpy() >= result["thresholds"][level]
            accuracy = (called[truth].mean() + 1 - called[~truth].mean()) / 2
            assert result[part][level]["balanced_accuracy"] == pytest.approx(accuracy)
            point = result["operating_points"][level]["b"][part]
            assert point["sensitivity"] == pytest.approx(called[truth].mean())


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("model", MODELS)
def test_a_fold_of_a_baseline(tmp_path: Path, model: str, classes: int) -> None:
    task = [f"manifest.task={'binary' if classes == 2 else 'multiclass'}"]
    job = job_of(tmp_path, f"model={model}", *task, classes=classes)
    train_baseline(job)
    result = read_result(job.fold_dir / "result.json")
    check_files(result, job.fold_dir)
    tried = candidates(job)
    values = [event.metrics["val/image/auroc"] for event in tried]
    assert result["select_value"] == max(value for value in values if value is not None)
    assert result["best_epoch"] == values.index(result["select_value"]) + 1
    assert result["num_epochs"] == len(tried)
    chosen = tried[result["best_epoch"] - 1].metrics
    for name, value in result["candidate"].items():
        assert chosen[f"candidate/{name}"] == value
    auroc = result["test"]["image"]["auroc"]
    assert auroc == 0.5 if model == "majority" else auroc > 0.85
    recipe = json.loads((job.fold_dir / "best.json").read_text())
    assert recipe["parameters"].items() >= result["candidate"].items()
    columns = pd.read_csv(job.fold_dir / "predictions_test.csv").filter(like="prob_")
    assert columns.shape == (30, classes)
    np.testing.assert_allclose(columns.sum(axis=1), 1, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_what_is_tested_changes_nothing_but_the_test(tmp_path: Path, model: str) -> None:
    real = job_of(tmp_path / "real", f"model={model}", "features=intensity")
    noisy = job_of(tmp_path / "noisy", f"model={model}", "features=intensity", noise_in_test=True)
    for job in (real, noisy):
        train_baseline(job)
    before, after = files(real), files(noisy)
    assert before.pop("predictions_test.csv") != after.pop("predictions_test.csv")
    assert before == after
    lines = [[event.metrics for event in candidates(job)] for job in (real, noisy)]
    assert lines[0] == lines[1]


def test_calibration_and_thresholds_know_nothing_of_the_test_part(tmp_path: Path) -> None:
    settings = (
        *("model=logistic", "features=intensity", "evaluation.threshold=sensitivity0.9"),
        *("evaluation.calibration=temperature_bias", "evaluation.prior={a: 0.9, b: 0.1}"),
    )
    results = []
    for noise in (False, True):
        job = job_of(tmp_path / str(noise), *settings, noise_in_test=noise)
        train_baseline(job)
        results.append((read_result(job.fold_dir / "result.json"), files(job)))
    (real, before), (noisy, after) = results
    assert real["calibration"] == noisy["calibration"]
    assert real["calibration"]["skipped"] == {}
    assert real["calibration"]["temperature"] != 1
    assert real["thresholds"] == noisy["thresholds"]
    points = [of["operating_points"]["patient"]["b"] for of in (real, noisy)]
    assert points[0]["val"] == points[1]["val"]
    assert points[0]["val"]["sensitivity"] >= 0.9
    assert before["predictions_val.csv"] == after["predictions_val.csv"]
    assert points[0]["test"] != points[1]["test"], "the noise did not arrive"


def test_predictions_are_the_calibrated_ones(tmp_path: Path) -> None:
    tables = []
    for calibration in ("none", "temperature_bias"):
        job = job_of(tmp_path / calibration, "model=knn", f"evaluation.calibration={calibration}")
        train_baseline(job)
        names = ("predictions_val.csv", "predictions_test.csv")
        tables.append([pd.read_csv(job.fold_dir / name) for name in names])
    found = Calibration.read(read_result(job.fold_dir / "result.json"), CLASSES[:2])
    assert found is not None
    columns = ["prob_a", "prob_b"]
    for raw, calibrated in zip(*tables, strict=True):
        expected = found.apply(raw[columns].to_numpy())
        np.testing.assert_allclose(calibrated[columns], expected, atol=1e-6)
    assert (np.abs(tables[0][1]["prob_b"] - tables[1][1]["prob_b"]) > 0.01).any()


def test_one_class_in_validation_is_said_and_nothing_is_calibrated(tmp_path: Path) -> None:
    job = job_of(tmp_path, "model=logistic", "evaluation.calibration=temperature", classes=2)
    fold = replace(job.fold, val=frozenset(p for p in job.fold.val if int(p[1:]) % 2 == 0))
    job = replace(job, fold=fold)
    judge = Judge(job, BaselineFold(job).fitted({"C": 1.0}).outputs)
    raw = judge.predict("val")
    calibration = judge.calibration(raw)
    assert calibration is not None
    assert "a class has 0 of the validation part's 5 patients" in calibration.skipped["all"]
    pd.testing.assert_frame_equal(judge.calibrated(raw, calibration), raw, atol=1e-6)


def test_nothing_is_calibrated_on_another_part(tmp_path: Path) -> None:
    job = job_of(tmp_path, "model=logistic", "evaluation.calibration=temperature")
    judge = Judge(job, BaselineFold(job).fitted({"C": 1.0}).outputs)
    with pytest.raises(RuntimeError, match="only its validation part chooses, got 15 patient"):
        judge.calibration(judge.predict("test"))


def test_an_estimator_that_draws_is_seeded() -> None:
    rng = np.random.default_rng(0)
    x, y, asked = rng.normal(size=(60, 5)), rng.integers(0, 2, 60), rng.normal(size=(30, 5))
    forest = Baseline(ExtraTreesClassifier(n_estimators=5))
    found = [forest.fitted({}, x, y, np.ones(60), seed).predict_proba(asked) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["knn", "boosted_trees"])
def test_a_killed_fold_ends_as_if_nothing_had_happened(tmp_path: Path, model: str) -> None:
    whole, killed = (job_of(tmp_path / name, f"model={model}") for name in ("whole", "killed"))
    train_baseline(whole)
    train_baseline(killed)
    cut_short(killed.fold_dir)
    train_baseline(killed)
    assert files(killed) == files(whole)
    assert [event.epoch for event in candidates(killed)] == [e.epoch for e in candidates(whole)]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["majority", "logistic", "boosted_trees"])
def test_an_image_counts_as_its_weight_says(tmp_path: Path, model: str) -> None:
    means = []
    for weight in ("1", "9"):
        job = job_of(tmp_path, f"model={model}", "sampler=none", "evaluation.prior=none")
        weights = ["1" if label == "a" else weight for label in job.manifest.table["label"]]
        table = job.manifest.table.assign(weight=weights)
        train_baseline(replace(job, manifest=replace(job.manifest, table=table)))
        means.append(pd.read_csv(job.fold_dir / "predictions_test.csv").prob_b.mean())
    assert means[1] > means[0] + 0.05
    if model == "majority":
        assert means == pytest.approx([0.5, 0.9])


@pytest.mark.slow
@pytest.mark.parametrize("model", ["majority", "logistic"])
def test_probabilities_are_reported_as_if_no_weight_had_changed_the_classes(
    tmp_path: Path, model: str
) -> None:
    """Half of the images are b, which count 9 times as much as the others."""
    means = {}
    for prior in ("none", "train"):
        job = job_of(tmp_path, f"model={model}", "sampler=none", f"evaluation.prior={prior}")
        weights = ["1" if label == "a" else "9" for label in job.manifest.table["label"]]
        table = job.manifest.table.assign(weight=weights)
        train_baseline(replace(job, manifest=replace(job.manifest, table=table)))
        means[prior] = pd.read_csv(job.fold_dir / "predictions_test.csv").prob_b.mean()
    assert means["train"] == pytest.approx(0.5, abs=0.05)
    assert means["none"] > means["train"] + 0.05


@pytest.mark.parametrize("sampler", ["class", "none"])
def test_a_support_vector_machine_has_the_shares_of_the_images(
    tmp_path: Path, sampler: str
) -> None:
    """Platt's curve is of a validation part, whose shares are not those of a balanced sampler."""
    job = job_of(tmp_path, "model=svm", f"sampler={sampler}", classes=3)
    labels = job.manifest.table["label"].replace("c", "b")
    table = job.manifest.table.assign(label=labels)
    job = replace(job, manifest=replace(job.manifest, classes=CLASSES[:2], table=table))
    found = BaselineFold(job).fitted({"C": 1.0}).outputs(job.rows("val"))[0]
    share = (job.manifest.labels[job.rows("val")] == 1).mean()
    assert found[:, 1].mean() == pytest.approx(share, abs=0.04)


def test_images_that_all_count_nothing_have_no_loss(tmp_path: Path) -> None:
    job = job_of(tmp_path, "model=logistic")
    weight = np.where(job.manifest.table["patient_id"] == "p44", "0", "1")
    table = job.manifest.table.assign(weight=weight)
    job = replace(job, manifest=replace(job.manifest, table=table))
    rows = job.manifest.of(["p44"])
    found, loss = BaselineFold(job).fitted({"C": 1.0}).outputs(rows)
    assert len(found) == 2
    assert loss == 0


def test_where_every_number_of_neighbours_is_too_large_it_is_said(tmp_path: Path) -> None:
    job = job_of(tmp_path, "model=knn", "model.chosen.n_neighbors=[101]")
    with pytest.raises(UserError, match=r"fold 0 trains on 40 images, and every value is larger"):
        train_baseline(job)


def test_neighbours_are_told_not_to_weigh(tmp_path: Path) -> None:
    """All of them count alike, so that nothing is balanced and nothing has to be corrected."""
    job = job_of(tmp_path, "model=knn", "sampler=class", "loss.class_weights=inverse", classes=3)
    assert np.allclose(job.emphasis.prior, job.emphasis.shares)
    assert job.logit_shift.tolist() == [0, 0, 0]


@pytest.mark.slow
def test_neither_torch_nor_monai_is_needed(tmp_path: Path) -> None:
    here = Path(__file__).parent
    code = (
        "import sys\n"
        f"sys.path[:0] = {[str(here), str(here.parent / 'files')]}\n"
        "from pathlib import Path\n"
        "from test_baseline_fold import job_of, train_baseline\n"
        f"train_baseline(job_of(Path({str(tmp_path)!r}), 'model=boosted_trees'))\n"
        "assert not {'torch', 'monai'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fold_00" / "result.json").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.chosen={depth:[1]}", "LogisticRegression has no depth; it has C, "),
        ("model.estimator._target_=sklearn.cluster.KMeans", "must be a subclass of sklearn.base"),
        ("model.estimator._target_=sklearn.datasets.fetch_openml", "must be a subclass of"),
        ("model.estimator.penalty=l9", None),
    ],
)
def test_a_baseline_that_cannot_be_is_refused(
    tmp_path: Path, override: str, message: str | None
) -> None:
    job = job_of(tmp_path, "model=logistic", f"++{override}")
    if message is None:
        with pytest.raises(UserError, match="model: LogisticRegression with"):
            train_baseline(job)
        return
    with pytest.raises(ConfigError, match=message):
        build("model", job.config.model)
