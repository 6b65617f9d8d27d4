"""A fold of small made images, ready to be trained: no file but the packed cache."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.config import Config
from pipeline.images.packed import PackedImages
from pipeline.manifest import Manifest
from pipeline.splits import Fold
from pipeline.training.job import FoldJob

NUM_PATIENTS, IMAGES_EACH, SIDE = 12, 3, 8
NETWORK = {
    "_target_": "torch.nn.Sequential",
    "_args_": [
        {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 4, "kernel_size": 3},
        {"_target_": "torch.nn.BatchNorm2d", "num_features": 4},
        {"_target_": "torch.nn.ReLU"},
        {"_target_": "torch.nn.Dropout", "p": 0.2},
        {"_target_": "torch.nn.AdaptiveAvgPool2d", "output_size": 1},
        {"_target_": "torch.nn.Flatten"},
        {"_target_": "torch.nn.Linear", "in_features": 4, "out_features": "@num_classes"},
    ],
}


def config_of(**sections: Any) -> Config:
    """The smallest config that a learner can be made of."""
    return Config(
        **{
            "name": "tiny",
            "manifest": {"name": "tiny", "path": "tiny.csv"},
            "split": {},
            "images": {},
            "plan": {},
            "audit": {},
            "augment": {"flip_axes": (0, 1), "noise": 0.1},
            "model": NETWORK,
            "init": {},
            "loss": {"function": {"_target_": "torch.nn.CrossEntropyLoss"}},
            "sampler": {"balance": "class"},
            "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1},
            "scheduler": {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0},
            "training": {"batch_size": 4, "precision": "float32"},
            "evaluation": {},
            "tracking": {},
            "engine": {"loader_workers": 0},
            **sections,
        }
    )


def tiny_fold(folder: Path) -> FoldJob:
    """12 patients with 3 images each; a pixel's value is near its row number."""
    patients = [f"p{i:02}" for i in range(NUM_PATIENTS)]
    table = pd.DataFrame(
        {
            "patient_id": np.repeat(patients, IMAGES_EACH),
            "image_path": [f"{i}.png" for i in range(NUM_PATIENTS * IMAGES_EACH)],
            "label": np.repeat(["neg", "pos", "neg", "neg"], IMAGES_EACH).tolist() * 3,
        }
    )
    generator = np.random.default_rng(0)
    pixels = generator.normal(size=(len(table), 1, SIDE, SIDE)).astype(np.float32)
    pixels += np.arange(len(table), dtype=np.float32)[:, None, None, None]
    np.save(folder / "images.npy", pixels)
    val, test = frozenset(patients[:2]), frozenset(patients[2:4])
    return FoldJob(
        config=config_of(),
        manifest=Manifest(folder / "tiny.csv", folder, ("neg", "pos"), table),
        fold=Fold(0, frozenset(patients[4:]), val, test),
        images=PackedImages(folder, "key"),
        fold_dir=folder,
        key="key",
        device="cpu",
    )


def with_config(job: FoldJob, **sections: Any) -> FoldJob:
    """With other sections of its config."""
    return replace(job, config=replace(job.config, **sections))
