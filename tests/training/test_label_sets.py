"""What training makes of images with several labels: samplers, priors, parts that miss a side."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from killed_fold import cut_short
from label_sets import LABELS, job_of, with_labels

from pipeline.arrays import Ints
from pipeline.config import Config, ConfigError
from pipeline.config.leaf import is_baseline
from pipeline.evaluation.predictions import read_predictions
from pipeline.manifest import Manifest
from pipeline.splits import Fold, Part, Plan, check_classes
from pipeline.splits.conflicts import PlanError
from pipeline.splits.quality import missing_classes
from pipeline.tracking.journal import EpochEnded, read_journal
from pipeline.training.baseline import train_baseline
from pipeline.training.fold import train_fold
from pipeline.training.imbalance import check_imbalance, emphasis
from pipeline.training.job import FoldJob
from pipeline.training.learner import try_out
from pipeline.training.loss import build_loss, num_right, probabilities

CONF = Path(__file__).parents[2] / "conf"
QUICK = ("majority", "knn", "logistic", "svm", "linear", "mlp", "lenet5")
HEAVY = ("alexnet", "resnet101", "resnet152", "vgg11", "vgg16", "vit_b16")
"""Hundreds of megabytes; trained in tests/system/test_every_choice.py. A head is like another."""


def cohort(tmp_path: Path, *overrides: str) -> tuple[Config, Manifest, Ints]:
    """10 training images: edema 5 times, effusion twice (once with edema), 4 times none; whose?
    Patient P0 has the first four.
    """
    job = job_of(tmp_path, "sampler=none", *overrides)
    texts = ["edema", "edema", "edema", "edema", "edema|effusion", "effusion", *["none"] * 4]
    table = job.manifest.table.iloc[:10].assign(
        label=texts, patient_id=["P0"] * 4 + [f"P{i}" for i in range(1, 7)]
    )
    manifest = replace(job.manifest, table=table, classes=type(LABELS)(LABELS[:2]))
    return job.config, manifest, np.arange(10)


def train(job: FoldJob) -> None:
    job.fold_dir.mkdir(exist_ok=True)
    (train_baseline if is_baseline(job.config.model) else train_fold)(job)


def epochs(job: FoldJob) -> list[EpochEnded]:
    events = read_journal(job.fold_dir / "journal.jsonl")
    return [event for event in events if isinstance(event, EpochEnded)]


# --- every choice


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def refusal(folder: Path, *settings: str) -> str:
    """What is said before a fold is begun."""
    try:
        try_out(job_of(folder, *settings))
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("output", [[], ["loss.output=sigmoid"]], ids=["as it is", "sigmoid"])
@pytest.mark.parametrize("loss", options("loss"))
def test_a_loss_is_trained_or_refused_with_what_to_write(
    tmp_path: Path, loss: str, output: list[str]
) -> None:
    settings = (f"loss={loss}", *output, "model=linear", "training.epochs=1", "sampler=none")
    told = refusal(tmp_path, *settings)
    fits = loss == "binary_cross_entropy" or (loss == "focal" and bool(output))
    assert not (fits and told), told
    if told:
        assert "use loss=" in told or "needs loss=" in told or "set loss.class_weights=none" in told
        assert not (tmp_path / "fold_00").exists()
        return
    job = job_of(tmp_path, *settings)
    train(job)
    (epoch,) = epochs(job)
    assert math.isfinite(epoch.metrics["train/loss"] or math.nan)
    assert math.isfinite(epoch.metrics["val/loss"] or math.nan)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK))
        for name in options("model")
        if name not in HEAVY
    ],
)
def test_a_model_is_trained(tmp_path: Path, model: str) -> None:
    text = (CONF / "model" / f"{model}.yaml").read_text()
    found = re.search(r"from (\d+) pixel", text)
    side = -(-max(24, int(found[1]) if found else 0) // 16) * 16
    settings = (f"model={model}", "training.epochs=1", "training.batch_size=32")
    job = job_of(tmp_path, *settings, side=side)
    if not is_baseline(job.config.model):
        try_out(job)
    train(job)
    assert all(math.isfinite(epoch.metrics["val/loss"] or math.nan) for epoch in epochs(job))
    table = read_predictions(job.fold_dir / "predictions_test.csv", LABELS)
    assert table[[f"prob_{name}" for name in LABELS]].to_numpy().shape == (24, 3)


# --- resume and non-interference of baselines; of networks: tests/system/test_multilabel.py


def decided(job: FoldJob) -> dict[str, str]:
    return {
        name: (job.fold_dir / name).read_text() for name in ("best.json", "predictions_val.csv")
    }


@pytest.mark.slow
@pytest.mark.parametrize("model", ["knn", "logistic", "svm"])
def test_what_is_tested_changes_nothing_but_the_test(tmp_path: Path, model: str) -> None:
    def noise(job: FoldJob) -> FoldJob:
        pixels, rows = np.array(job.images.array), job.rows("test")
        generator = np.random.default_rng(1)
        pixels[rows] = generator.integers(0, 256, pixels[rows].shape, dtype=np.uint8)
        np.save(job.images.path / "images.npy", pixels)
        texts = job.manifest.table["label"].to_numpy().copy()
        texts[rows] = generator.permutation(texts[rows][::2]).repeat(2)  # of whole patients
        return replace(with_labels(job, LABELS, texts), images=replace(job.images))

    settings = (f"model={model}", "features=intensity")
    real = job_of(tmp_path / "real", *settings)
    noisy = noise(job_of(tmp_path / "noisy", *settings))
    for job in (real, noisy):
        train(job)
    assert decided(real) == decided(noisy)
    assert [e.metrics for e in epochs(real)] == [e.metrics for e in epochs(noisy)]
    results = [json.loads((job.fold_dir / "result.json").read_text()) for job in (real, noisy)]
    assert results[0]["thresholds"] == results[1]["thresholds"]
    assert results[0]["test"] != results[1]["test"], "the noise did not arrive"


@pytest.mark.slow
@pytest.mark.parametrize("model", ["knn", "boosted_trees"])
def test_a_killed_baseline_ends_as_if_nothing_had_happened(tmp_path: Path, model: str) -> None:
    whole, killed = (job_of(tmp_path / name, f"model={model}") for name in ("whole", "killed"))
    train(whole)
    train(killed)
    cut_short(killed.fold_dir)
    train(killed)
    assert decided(killed) == decided(whole)
    tests = [(job.fold_dir / "predictions_test.csv").read_bytes() for job in (whole, killed)]
    assert tests[0] == tests[1]
    assert [e.epoch for e in epochs(killed)] == [e.epoch for e in epochs(whole)]


# --- the loss


def test_focal_of_sets_is_the_mean_over_the_labels(tmp_path: Path) -> None:
    job = job_of(tmp_path, "loss=focal", "loss.output=sigmoid", "loss.function.gamma=2")
    loss = build_loss(job.config.loss, np.zeros(3), job.output)
    logits, labels = torch.tensor([[0.5, -1.0, 2.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    p = logits.sigmoid()
    of_truth = torch.where(labels == 1, p, 1 - p)
    expected = (-((1 - of_truth) ** 2) * of_truth.log()).mean()
    assert float(loss(logits, labels, torch.ones(1))) == pytest.approx(float(expected), abs=1e-6)


def test_accuracy_is_the_share_of_right_labels() -> None:
    logits = torch.tensor([[1.0, -1.0], [1.0, 1.0]])
    assert int(num_right(logits, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))) == 3


# --- samplers


def test_class_draws_an_image_by_its_rarest_label(tmp_path: Path) -> None:
    """Three kinds, each a third: effusion (2 images), edema alone (4), none (4)."""
    config, manifest, rows = cohort(tmp_path, "sampler=class")
    found = emphasis(config, manifest, rows)
    expected = [1 / 12] * 4 + [1 / 6] * 2 + [1 / 12] * 4
    assert found.drawing.tolist() == pytest.approx(expected)
    assert found.prior.tolist() == pytest.approx([4 / 12 + 1 / 6, 2 / 6])
    assert found.shares.tolist() == pytest.approx([0.5, 0.2])
    assert found.repeats.tolist() == pytest.approx([0.5 * 10 / 5, (1 / 3) * 10 / 2])


def test_class_patient_draws_patients_of_a_kind_alike(tmp_path: Path) -> None:
    """Edema alone is all of one patient's images: it may not count four times."""
    config, manifest, rows = cohort(tmp_path, "sampler=class_patient")
    table = manifest.table.assign(patient_id=["P0"] * 3 + ["P1", "P2", *"PPPPP"])
    found = emphasis(config, replace(manifest, table=table), rows)
    assert found.drawing[:4].tolist() == pytest.approx([1 / 18] * 3 + [1 / 6])


# --- priors


def test_the_logit_adjustment_is_the_log_odds_of_each_label(tmp_path: Path) -> None:
    config, manifest, rows = cohort(tmp_path, "loss.logit_adjustment=1")
    found = emphasis(config, manifest, rows)
    assert found.adjustment.tolist() == pytest.approx([0, math.log(0.2 / 0.8)])
    assert found.prior.tolist() == pytest.approx([0.5, 0.5])
    assert found.shift(config, manifest.classes).tolist() == pytest.approx([0, math.log(0.2 / 0.8)])
    config, manifest, rows = cohort(tmp_path, "loss.logit_adjustment=1", "sampler=class")
    with pytest.raises(ConfigError, match="correct the imbalance twice"):
        check_imbalance(config, manifest, rows)


@pytest.mark.parametrize(
    ("prior", "wanted"),
    [
        ("train", [0.5, 0.2]),
        ("{edema: 0.1, effusion: 0.7}", [0.1, 0.7]),
        ("none", [0.5, 1 / 3]),
    ],
)
def test_probabilities_are_corrected_label_by_label(
    tmp_path: Path, prior: str, wanted: list[float]
) -> None:
    """A network that has learnt only the prevalences it was trained under says those wanted."""
    config, manifest, rows = cohort(tmp_path, "sampler=class", f"evaluation.prior={prior}")
    found = emphasis(config, manifest, rows)
    learnt = torch.tensor(np.log(found.prior / (1 - found.prior)))[None]
    said = probabilities(learnt, "labels", found.shift(config, manifest.classes))
    assert said[0].tolist() == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("prior", "told"),
    [
        ("{edema: 0.1}", "must name each class once, edema, effusion; got edema"),
        ("{edema: 1.0, effusion: 0.7}", "must be below 1, got 1"),
    ],
)
def test_prevalences_that_cannot_be(tmp_path: Path, prior: str, told: str) -> None:
    config, manifest, rows = cohort(tmp_path, f"evaluation.prior={prior}")
    with pytest.raises(ConfigError, match=told):
        check_imbalance(config, manifest, rows)


# --- parts that show one side of a label only


def plan_of(job: FoldJob) -> Plan:
    ids = job.manifest.table["patient_id"].unique()
    assert isinstance(job.fold, Fold)
    return Plan("holdout", 0, (job.fold,), {i: i for i in ids}, job.manifest.hash)


def one_sided(job: FoldJob, part: Part, text: str) -> FoldJob:
    texts = job.manifest.table["label"].to_numpy().copy()
    texts[job.rows(part)] = text
    return with_labels(job, LABELS, texts)


@pytest.mark.parametrize(
    ("part", "missing"),
    [
        ("test", ["no edema", "effusion", "nodule"]),
        ("val", ["no edema", "effusion", "nodule"]),
    ],
)
def test_a_part_in_which_every_image_has_a_label_is_told(
    tmp_path: Path, part: Part, missing: list[str]
) -> None:
    job = one_sided(job_of(tmp_path), part, "edema")
    found = missing_classes(plan_of(job), job.manifest)
    assert found == [(0, part, name) for name in missing]
    train: tuple[Part, ...] = ("train",)
    lines = check_classes(plan_of(job), job.manifest, train)
    assert any(
        "class 'no edema' has " in line and f"none in {part} of fold 0" in line for line in lines
    )
    needed: tuple[Part, ...] = (part,)
    with pytest.raises(PlanError, match="class 'no edema' has"):
        check_classes(plan_of(job), job.manifest, needed)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["edema", "none"])
@pytest.mark.parametrize("part", ["val", "test"])
@pytest.mark.parametrize("model", ["logistic", "linear"])
def test_metrics_of_a_part_that_shows_one_side_are_missing(
    tmp_path: Path, model: str, part: Part, text: str
) -> None:
    settings = (f"model={model}", "training.epochs=1", "training.select_by=val/loss")
    job = one_sided(job_of(tmp_path, *settings), part, text)
    job.fold_dir.mkdir()
    train(job)
    result = json.loads((job.fold_dir / "result.json").read_text())
    found = result["test"]["image"]
    if part == "test":
        assert found["auroc_edema"] is None
        assert found["auroc"] is None
    else:
        assert result["thresholds"]["image"]["edema"] == 0.5, "nothing to choose from"
        assert found["auroc_edema"] is not None
    table = read_predictions(job.fold_dir / "predictions_test.csv", LABELS)
    assert len(table) == len(job.rows("test"))
