"""Mixed images count for both of their labels, by their shares and by the labels' weights."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.commands.door import load_config
from pipeline.config import ConfigError
from pipeline.images.batches import BatchSource
from pipeline.images.packed import Normalisation, PackedImages
from pipeline.label_names import LabelNames
from pipeline.manifest import Manifest
from pipeline.splits import Fold
from pipeline.training.epoch import TrainPart, predict, train_epoch
from pipeline.training.job import FoldJob
from pipeline.training.learner import build_learner, facts_of, try_out
from pipeline.training.trial import augmented

NUM, SIDE = 30, 20


def job_of(folder: Path, *overrides: str) -> FoldJob:
    """30 patients with an image each, of three classes in unequal numbers, or of three labels."""
    generator = np.random.default_rng(0)
    config = load_config(["manifest.path=x.csv", "model=linear", "augment=none", *overrides])
    names = [f"P{i:02}" for i in range(NUM)]
    classes: tuple[str, ...] = ("a", "b", "c")
    labels = ["abbcccaccc"[i % 10] for i in range(NUM)]
    if config.manifest.task == "multilabel":
        classes = LabelNames(classes)
        labels = ["|".join("abc"[: i % 4]) or "none" for i in range(NUM)]
    table = pd.DataFrame(
        {"patient_id": names, "image_path": names, "label": labels, "group": names}, dtype=str
    )
    shape = (NUM, 1, SIDE, SIDE + 4)
    np.save(folder / "images.npy", generator.integers(0, 256, shape).astype(np.uint8))
    val, test = frozenset(names[:3]), frozenset(names[3:6])
    return FoldJob(
        config=config,
        manifest=Manifest(Path("x.csv"), Path(), classes, table),
        fold=Fold(0, frozenset(names[6:]), val, test),
        images=PackedImages(folder, "key"),
        fold_dir=folder,
        key="key",
    )


def part_of(job: FoldJob) -> TrainPart:
    source = BatchSource.open(
        job.images, Normalisation((100.0,), (70.0,)), torch.device("cpu"), job.config.augment.crop
    )
    return TrainPart(job, source)


LOSSES: dict[str, list[str]] = {
    "cross entropy": ["loss=cross_entropy"],
    "weights": ["loss=cross_entropy", "loss.class_weights=inverse", "sampler=none"],
    "binary cross entropy": ["loss=binary_cross_entropy"],
    "focal": ["loss=focal"],
    "several labels": [
        "loss=binary_cross_entropy",
        "manifest.task=multilabel",
        "sampler=none",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_mixed_as_the_images_are(tmp_path: Path, name: str) -> None:
    overrides = ["training.batch_size=5", *LOSSES[name]]
    job = job_of(tmp_path, "augment.mixup=0.5", *overrides)
    learner = build_learner(job)
    plain = list(part_of(job_of(tmp_path, *overrides)).batches(2))
    mixed = list(part_of(job).batches(2))
    every = {
        key: torch.cat([getattr(batch, key) for batch in plain])
        for key in ("images", "labels", "weights")
    }
    begin = 0
    for batch, alone in zip(mixed, plain, strict=True):
        at = torch.arange(begin, begin + len(alone.labels))
        then, begin = (at + 1) % len(every["labels"]), begin + len(alone.labels)
        assert batch.mixed_in is not None
        assert torch.equal(batch.labels, alone.labels)
        assert torch.equal(batch.mixed_in[0], every["labels"][then])
        share = batch.weights / every["weights"][at]
        assert (share >= 0.5).all()
        shape = share.view(-1, 1, 1, 1)
        expected = shape * every["images"][at] + (1 - shape) * every["images"][then]
        torch.testing.assert_close(batch.images, expected, atol=1e-5, rtol=1e-5)
        logits = torch.randn(len(at), 3, generator=torch.Generator().manual_seed(begin))
        losses = torch.stack(
            [
                share[i]
                * learner.loss(logits[[i]], every["labels"][at[[i]]], every["weights"][at[[i]]])
                + (1 - share[i])
                * learner.loss(logits[[i]], every["labels"][then[[i]]], every["weights"][then[[i]]])
                for i in range(len(at))
            ]
        )
        torch.testing.assert_close(
            batch.loss(learner.loss, logits), losses.mean(), atol=1e-5, rtol=1e-5
        )


def test_a_network_is_trained_on_mixed_crops_and_judged_by_the_middle(tmp_path: Path) -> None:
    job = job_of(tmp_path, "augment.mixup=0.5", "augment.crop=[16]", "augment.cutout=0.2")
    assert facts_of(job)["spatial_size"] == [16, 16]
    try_out(job)
    learner, part = build_learner(job), part_of(job)
    learnt = train_epoch(learner, part, 1, lambda *_: None)
    assert np.isfinite(learnt["train/loss"])
    assert 0 <= learnt["train/image/accuracy"] <= 1
    rows = job.rows("val")
    middle = torch.from_numpy(job.images.array[rows][:, :, 2:18, 4:20].astype(np.float32))
    with torch.inference_mode():
        expected = learner.judged.eval()((middle - 100) / 70)
    torch.testing.assert_close(predict(learner, part.source, rows), expected, atol=1e-5, rtol=1e-5)


def test_what_is_tried_outside_of_training_has_the_size_of_the_crop(tmp_path: Path) -> None:
    job = job_of(tmp_path, "augment.crop=[12,16]")
    assert augmented(part_of(job), job.rows("train")[:4], 0).shape == (4, 1, 12, 16)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["augment.crop=[21]"],
            "augment.crop: 21 x 21 is larger than the images, which are 20 x 24",
        ),
        (["augment.crop=[16]", "model=lenet5"], "got 16 x 16: set augment.crop=[20] or more, or"),
    ],
)
def test_a_crop_that_does_not_fit_is_said_before_training(
    tmp_path: Path, overrides: list[str], expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        try_out(job_of(tmp_path, *overrides))
    (problem,) = caught.value.problems
    assert expected in problem


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["augment.crop=[8,8,8]"],
            "augment.crop: 2D images need 2 values, or one for all axes, got",
        ),
        (["augment.crop=[0]"], "augment.crop.0: input should be greater than or equal to 1"),
        (["augment.cutout=1"], "augment.cutout: input should be less than 1"),
        (["augment.mixup=-1"], "augment.mixup: input should be greater than or equal to 0"),
        (["model=knn", "augment.mixup=0.2"], "augment.mixup=0.2: a baseline of scikit-learn sees"),
        (["model=knn", "augment.crop=[8]"], "augment.crop=[8]: a baseline of scikit-learn sees"),
        (["model=knn", "augment.cutout=0.2"], "augment.cutout=0.2: a baseline of scikit-learn"),
        (["augment=monai", "augment.mixup=0.2"], "augment: use either augment.transforms (MONAI"),
        (["augment=monai", "augment.crop=[8]"], "augment: use either augment.transforms (MONAI"),
    ],
)
def test_what_cannot_be_combined_is_refused(overrides: list[str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(["manifest=demo", *overrides])
    assert any(problem.startswith(expected) for problem in caught.value.problems), str(caught.value)
