"""The trial before the first fold: what fails is named, be it the network, the loss or a leaf."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from pipeline.commands.door import load_config
from pipeline.config import ConfigError
from pipeline.images.packed import PackedImages
from pipeline.manifest import Manifest
from pipeline.splits import Fold
from pipeline.training.job import FoldJob
from pipeline.training.learner import build_learner, try_out
from pipeline.training.volumes import check_dimensions


def job_of(folder: Path, num_classes: int, *overrides: str) -> FoldJob:
    """Two patients of each class, one image of 20x20 each; all of them in every part."""
    classes = tuple(f"c{i}" for i in range(num_classes))
    names = [f"P{i}" for i in range(2 * num_classes)]
    rows = [(p, f"{p}.png", classes[i % num_classes], p) for i, p in enumerate(names)]
    table = pd.DataFrame(rows, columns=["patient_id", "image_path", "label", "group"], dtype=str)
    np.save(folder / "images.npy", np.zeros((len(rows), 1, 20, 20), np.uint8))
    everybody = frozenset(names)
    return FoldJob(
        config=load_config(["manifest.path=x.csv", *overrides]),
        manifest=Manifest(Path("x.csv"), Path(), classes, table),
        fold=Fold(0, everybody - {"P0", "P1"}, frozenset({"P0"}), frozenset({"P1"})),
        images=PackedImages(folder, "key"),
        fold_dir=folder / "fold_00",
        key="a" * 64,
        device="cpu",
    )


def with_images(folder: Path, shape: tuple[int, ...], *overrides: str) -> FoldJob:
    """`job_of` with two classes and images (C, ...) of this shape."""
    job = job_of(folder, 2, *overrides)
    np.save(folder / "images.npy", np.zeros((4, *shape), np.float16))
    return job


def problem_of(folder: Path, num_classes: int, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        try_out(job_of(folder, num_classes, *overrides))
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize("num_classes", [2, 3, 4])
def test_what_fits_passes(tmp_path: Path, num_classes: int) -> None:
    try_out(job_of(tmp_path, num_classes))
    try_out(
        job_of(
            tmp_path,
            num_classes,
            "loss.function._target_=torch.nn.MultiMarginLoss",
            "~loss.function.label_smoothing",
        )
    )
    assert {path.name for path in tmp_path.iterdir()} == {"images.npy"}, "a trial leaves nothing"


@pytest.mark.parametrize(
    "overrides", [["model=lenet5"], ["model=resnet10", "model.spatial_dims=2"]]
)
def test_a_network_of_pictures_that_is_given_volumes_is_told_what_to_set(
    tmp_path: Path, overrides: list[str]
) -> None:
    job = with_images(tmp_path, (1, 20, 20, 20), "images=mri48", *overrides)
    with pytest.raises(ConfigError, match=r"fails on images \(1, 20, 20, 20\): ") as caught:
        try_out(job)
    assert str(caught.value).endswith(
        "; images.spatial_dims=3: set a network and an augmentation for volumes, e.g. "
        "model=resnet10 augment=volume"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "smallest", "shape"),
    [
        ("lenet5", 20, (1, 19, 64)),
        ("alexnet", 63, (3, 62, 62)),
        ("googlenet", 31, (1, 30, 30)),
        ("vgg11_small", 32, (1, 40, 40, 31)),
        ("vit_small", 8, (1, 4, 4)),
        ("densenet121", 29, (1, 28, 28)),
    ],
)
def test_images_that_are_too_small_are_told_the_smallest_size(
    tmp_path: Path, model: str, smallest: int, shape: tuple[int, ...]
) -> None:
    images = ["images=mri48"] if len(shape) == 4 else []
    job = with_images(tmp_path, shape, f"model={model}", *images)
    with pytest.raises(ConfigError) as caught:
        try_out(job)
    assert caught.value.problems == [
        f"model: {job.config.model['_target_']} takes images of {smallest} pixels along each side "
        f"or more, got {' x '.join(map(str, shape[1:]))}: set images.size=[{smallest}] or more, or "
        "choose another model"
    ]
    fits = tuple(max(side, smallest) for side in shape[1:])
    try_out(with_images(tmp_path, (shape[0], *fits), f"model={model}", *images))


def test_images_that_cannot_be_cut_into_patches(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="images of 50x48 cannot be cut into patches of 8: ") as e:
        try_out(with_images(tmp_path, (1, 50, 48), "model=vit_small"))
    assert "smallest size: 8x8" in str(e.value)
    try_out(with_images(tmp_path, (1, 50, 48), "model=vit_small", "model.patch_size=2"))


def test_a_batch_norm_of_one_pixel_and_one_image_is_found_before_training(tmp_path: Path) -> None:
    """Only training fails on it: evaluation uses the running mean."""
    one = ["model=resnet18", "training.batch_size=1"]
    with pytest.raises(ConfigError, match="fails on a training batch of 1 images") as caught:
        try_out(with_images(tmp_path, (1, 32, 32), *one))
    assert str(caught.value).endswith("; set training.batch_size=2 or more")
    try_out(with_images(tmp_path, (1, 64, 64), *one))
    try_out(with_images(tmp_path, (1, 32, 32), "model=resnet18", "training.batch_size=2"))


@pytest.mark.parametrize(
    ("dims", "model", "problem"),
    [
        (3, [], "pipeline.models.LeNet5 takes pictures, not volumes; images.spatial_dims=3: set"),
        (
            3,
            ["model=alexnet_small", "model.spatial_dims=2"],
            "pipeline.models.AlexNet takes pictures, not volumes; images.spatial_dims=3: set",
        ),
        (
            2,
            ["model=resnet10", "model.spatial_dims=3"],
            "monai.networks.nets.ResNet takes volumes, not pictures; images.spatial_dims=2: set "
            "model.spatial_dims=2",
        ),
        (2, ["+model.spatial_dims=3"], "pipeline.models.LeNet5 takes volumes, not pictures"),
        (3, ["+model.spatial_dims=3"], None),
        (3, ["model=mlp"], None),
        (3, ["model=vgg11"], None),
        (2, [], None),
    ],
)
def test_pictures_and_volumes_are_told_apart_before_decoding(
    dims: int, model: list[str], problem: str | None
) -> None:
    images = "images=mri48" if dims == 3 else "images=grey64"
    config = load_config(["manifest.path=x.csv", images, *model])
    if problem is None:
        check_dimensions(config)
        return
    with pytest.raises(ConfigError) as caught:
        check_dimensions(config)
    assert caught.value.problems[0].startswith(f"model: {problem}")


@pytest.mark.filterwarnings("error")
def test_a_schedule_that_fails_on_a_later_epoch_is_found_before_the_first(tmp_path: Path) -> None:
    short = ["scheduler=one_cycle", "scheduler.total_steps=3", "training.epochs=6"]
    with pytest.raises(ConfigError, match="OneCycleLR fails after epoch 4 of 6: Tried to step 4"):
        try_out(with_images(tmp_path, (1, 32, 32), *short))


@pytest.mark.parametrize("num_classes", [2, 3, 4])
@pytest.mark.parametrize("extra", [[], ["+loss.function.to_onehot_y=true"]])
def test_a_loss_of_segmentations_is_named(
    tmp_path: Path, num_classes: int, extra: list[str]
) -> None:
    """With two images of two classes, or three of three, its mistake would not show."""
    focal = ["loss.function._target_=monai.losses.FocalLoss", "~loss.function.label_smoothing"]
    problem = problem_of(tmp_path, num_classes, *focal, *extra)
    assert problem.startswith("loss.function: monai.losses.FocalLoss ")
    num_images = 4 if num_classes == 3 else 3
    assert "fails on logits" in problem or f"for {num_images} images" in problem
    assert "model" not in problem


@pytest.mark.parametrize(
    ("leaf", "found"),
    [
        (
            "{_target_:my_loss.Mean}",
            "must give one value per image, shape (3,) for 3 images, got ()",
        ),
        ("{_target_:my_loss.Table}", "for 3 images, got (3, 2)"),
        ("{_target_:my_loss.Pair}", "for 3 images, got a tuple"),
        ("{_target_:my_loss.Broken}", "fails on logits (3, 2) and class indices (3,): KeyError"),
    ],
)
def test_a_loss_must_give_one_value_per_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaf: str, found: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_loss.py").write_text(
        "from torch import nn\n"
        "class Loss(nn.Module):\n"
        "    def __init__(self, reduction):\n        super().__init__()\n"
        "class Mean(Loss):\n    def forward(self, x, y):\n        return x.mean()\n"
        "class Table(Loss):\n    def forward(self, x, y):\n        return x\n"
        "class Pair(Loss):\n    def forward(self, x, y):\n        return x, y\n"
        "class Broken(Loss):\n    def forward(self, x, y):\n        raise KeyError\n"
    )
    overrides = ["plugins=[my_loss]", "~loss.function", f"+loss.function={leaf}"]
    problem = problem_of(tmp_path, 2, *overrides)
    assert problem.startswith("loss.function: my_loss.")
    assert problem.endswith(found)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["model.in_channels=3"], "model: pipeline.models.LeNet5 fails on images (1, 20, 20): "),
        (
            ["model.num_classes=5"],
            "model: pipeline.models.LeNet5 must give logits of shape (3, 2) for "
            "3 images, got (3, 5)",
        ),
        (
            ["~model", "+model={_target_:torch.nn.Linear,in_features:20,out_features:2}"],
            "model: torch.nn.Linear must give logits of shape (3, 2) for 3 images, got "
            "(3, 1, 20, 2)",
        ),
        (
            ["~model", "+model={_target_:torch.nn.MultiheadAttention,embed_dim:2,num_heads:1}"],
            "model: torch.nn.MultiheadAttention fails on images (1, 20, 20): ",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_named(
    tmp_path: Path, overrides: list[str], problem: str
) -> None:
    assert problem_of(tmp_path, 2, *overrides).startswith(problem)


def test_every_leaf_is_looked_at_before_the_first_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr("pipeline.models.lenet5.LeNet5.__init__", lambda *_, **__: made.append(1))
    problem = problem_of(tmp_path, 2, "optimizer._target_=torch.hub.load")
    assert problem.startswith("optimizer._target_: must be a subclass of torch.optim.Optimizer")
    assert made == []


@pytest.mark.parametrize("scheme", ["default", "he_normal", "orthogonal"])
def test_a_fold_begins_with_weights_of_its_own_the_same_each_time(
    tmp_path: Path, scheme: str
) -> None:
    def weights(fold: int) -> Tensor:
        job = job_of(tmp_path, 2, f"init={scheme}")
        job = replace(job, fold=replace(job.fold, index=fold))
        return torch.cat([p.detach().flatten() for p in build_learner(job).network.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))
