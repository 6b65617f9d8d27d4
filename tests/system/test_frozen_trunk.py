"""A frozen trunk runs once per image, and the head learns what it would have learned without."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from system_runs import FROZEN, fold_job, make_cohort
from torch import Tensor, nn

from pipeline.config import UserError
from pipeline.models import LeNet5
from pipeline.splits import Fold
from pipeline.targets import build
from pipeline.tracking.journal import EpochEnded, read_journal
from pipeline.training import frozen
from pipeline.training.fold import train_fold
from pipeline.training.frozen import told
from pipeline.training.job import FoldJob

RESNET = ["model=resnet10", "augment=none", "training.freeze=['conv1','bn1','layer']"]
AVERAGED = [*FROZEN, "training.average=0.9", "loss.class_weights=inverse", "sampler=none"]


def _numbers(job: FoldJob) -> dict[str, float]:
    """All that a fold has learned: each epoch's numbers without times, weights, predictions."""
    events = read_journal(job.fold_dir / "journal.jsonl")
    found = {
        f"{event.epoch} {name}": value
        for event in events
        if isinstance(event, EpochEnded)
        for name, value in event.metrics.items()
        if value is not None and name != "train/images_per_s"
    }
    best = torch.load(job.fold_dir / "best.pt", weights_only=True)["network"]
    found |= {name: float(values.double().norm()) for name, values in best.items()}
    for part in ("val", "test"):
        rows = (job.fold_dir / f"predictions_{part}.csv").read_text().splitlines()[1:]
        found |= {f"{part} {row.split(',')[2]}": float(row.split(",")[4]) for row in rows}
    return found


def _kept(job: FoldJob) -> list[Path]:
    return sorted(job.images.path.parent.glob("*.features"))


@pytest.mark.parametrize("overrides", [FROZEN, RESNET, AVERAGED], ids=["lenet", "resnet", "ema"])
def test_a_head_on_kept_features_learns_what_it_would_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    torch.set_num_threads(1)
    cohort = make_cohort(tmp_path / "cohort")
    job = fold_job(cohort, tmp_path / "kept", *overrides)
    train_fold(job)
    assert len(_kept(job)) == 1
    monkeypatch.setattr(frozen, "_split", lambda *_: ("", ""))
    plain = fold_job(cohort, tmp_path / "plain", *overrides)
    train_fold(plain)
    assert _kept(plain) == []
    found, expected = _numbers(job), _numbers(plain)
    assert len(expected) > 40
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_the_trunk_sees_each_image_once_and_the_test_part_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = LeNet5.forward

    def counting(self: LeNet5, images: Tensor) -> Tensor:
        seen.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(LeNet5, "forward", counting)
    job = fold_job(make_cohort(tmp_path / "cohort"), tmp_path / "work", *FROZEN)
    sizes = {part: len(job.rows(part)) for part in ("train", "val", "test")}
    tried = [1, 4, 2, 2, 4, 4, 4]  # the first to see whether it takes channels last
    train_fold(job)
    ours = [sizes["train"] + sizes["val"], sizes["val"], sizes["test"]]
    assert seen == [*tried, *ours], "not by epochs"
    (folder,) = _kept(job)
    array = np.load(folder / "features.npy")
    is_kept = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    assert np.flatnonzero(is_kept).tolist() == sorted([*job.rows("train"), *job.rows("val")])
    assert np.isnan(array[job.rows("test")]).all()

    seen.clear()
    (job.fold_dir / "again").mkdir()
    config = replace(job.config, optimizer={**job.config.optimizer, "lr": 0.01})
    train_fold(replace(job, fold_dir=job.fold_dir / "again", config=config))
    assert seen == [*tried, *ours[1:]], "another head finds the same features"


@pytest.mark.parametrize(
    "override", ["training.seed=1", "images.transforms=[{_target_:monai.transforms.Flip}]"]
)
def test_other_weights_or_pixels_have_other_features(tmp_path: Path, override: str) -> None:
    cohort = make_cohort(tmp_path / "cohort")
    for number, more in enumerate([[], [override], []]):
        cache = f"images.cache_dir={tmp_path}/cache"
        job = fold_job(cohort, tmp_path / f"{number}", *FROZEN, *more, cache)
        train_fold(job)
    assert len(_kept(job)) == 2


@pytest.mark.parametrize("differ", ["normalisation and images", "images", "normalisation"])
def test_another_fold_has_its_own_features(tmp_path: Path, differ: str) -> None:
    """Its pixels are normalised by its own train part, and its test part is another."""
    cohort = make_cohort(tmp_path / "cohort")
    weights = tmp_path / "weights.pt"
    torch.save(LeNet5(1, 2).state_dict(), weights)
    more = [f"images.cache_dir={tmp_path}/cache", f"init.weights={weights}"]
    if differ == "images":
        more.append("images.normalise=image")
    jobs = [fold_job(cohort, tmp_path / f"{i}", *FROZEN, *more, index=i) for i in (0, 1)]
    if differ == "normalisation":
        fold = jobs[0].fold
        assert isinstance(fold, Fold)
        jobs[1] = replace(jobs[1], fold=replace(fold, train=fold.val, val=fold.train))
    for job in jobs:
        train_fold(job)
    assert len(_kept(jobs[0])) == 2


def test_features_that_were_changed_or_that_others_may_write_are_refused(tmp_path: Path) -> None:
    job = fold_job(make_cohort(tmp_path / "cohort"), tmp_path / "work", *FROZEN)
    train_fold(job)
    (folder,) = _kept(job)
    facts = json.loads((folder / "cache.json").read_text())
    assert facts["shape"][0] == len(job.manifest)
    path = folder / "features.npy"
    folder.chmod(0o777)
    with pytest.raises(UserError, match="may be written by everybody"):
        train_fold(job)
    folder.chmod(0o700)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"features.npy was changed after it was made"):
        train_fold(job)


class Wrapped(nn.Module):
    """A frozen trunk and a head, with something in between."""

    def __init__(self, between: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(1, 4, 5, 4)
        self.between, self.after = between, after
        self.head = nn.Linear(100, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.after(self.head(self.between(self.trunk(images)).flatten(1)))
        return logits


@pytest.mark.parametrize(
    ("between", "after", "line"),
    [
        (nn.Identity(), nn.Identity(), ": the rest runs once per image and fold"),
        (nn.Dropout(0.1), nn.Identity(), "but the rest is another in training than in evaluation"),
        (nn.BatchNorm2d(4, affine=False), nn.Identity(), "but the rest is another in training"),
        (
            nn.BatchNorm2d(4, affine=False, track_running_stats=False),
            nn.Identity(),
            "but what the rest makes of an image depends on the others of its batch",
        ),
        (nn.Identity(), nn.LogSoftmax(1), "but its output is not that of the network"),
    ],
)
def test_a_trunk_that_is_no_function_of_the_image_alone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: nn.Module, after: nn.Module, line: str
) -> None:
    job = fold_job(make_cohort(tmp_path / "cohort"), tmp_path / "work", *FROZEN)
    job = replace(
        job, config=replace(job.config, training=replace(job.config.training, freeze=("trunk",)))
    )
    made = Wrapped(between, after)
    monkeypatch.setattr(
        "pipeline.training.learner.build",
        lambda key, *args, **more: made if key == "model" else build(key, *args, **more),
    )
    (found,) = told(job)
    assert found.startswith("training.freeze leaves only head to train")
    assert line in found
    train_fold(job)
    assert len(_kept(job)) == found.endswith("once per image and fold")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ([], None),
        (["training.freeze=[features.0]"], None),
        (["training.freeze=[features]"], "but augment changes images at random"),
        (["training.freeze=[features]", "augment=none"], "only classifier to train: the rest runs"),
    ],
)
def test_what_is_kept_is_told_in_one_line(
    tmp_path: Path, overrides: list[str], line: str | None
) -> None:
    job = fold_job(make_cohort(tmp_path / "cohort"), tmp_path / "work", *overrides)
    lines = told(job)
    assert len(lines) == (line is not None)
    for found in lines:
        assert str(line) in found
        assert "\n" not in found
