"""A finished run whose folds keep real networks that nobody has trained: quick to make."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from finished_run import finished_run
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from pipeline.config.leaf import is_baseline
from pipeline.engine.again import config_again
from pipeline.engine.finished import Finished
from pipeline.ensemble.kept import Kept
from pipeline.export.exporting import write_bundle
from pipeline.files import make_private, write_json, write_whole
from pipeline.images.crop import crop_of
from pipeline.manifest import Manifest
from pipeline.targets import build
from pipeline.tracking.result import seal
from pipeline.training.learner import facts_of_network

SHAPE = (1, 24, 24)
PRIVATE = (b"Patient-0", b"patient-0", b"secret-", b"cohort.csv", b"pictures/")
"""What names patients, images and the manifest of `finished_run.cohort`."""
SMALL = (
    "split.num_folds=3",
    "model=lenet5",
    "images=grey64",
    "images.transforms=[]",
    "images.dtype=uint8",
)


def run_with_networks(
    run_dir: Path,
    *overrides: str,
    shape: Sequence[int] = SHAPE,
    manifest: Manifest | None = None,
    shift: Sequence[float] = (),
    plugins: Sequence[str] = (),
) -> Finished:
    """A run of `cohort()`, whose networks see images (C, ...) of this shape.

    Weights are drawn; `shift` is added to the logits, as of a run that adjusts them.
    """
    run = finished_run(run_dir, *SMALL, *overrides, manifest=manifest)
    config = config_again(run, plugins)
    assert not is_baseline(config.model)
    seen = (shape[0], *crop_of(config.augment.crop, tuple(shape[1:])))
    several = config.manifest.task == "multilabel"
    for fold, result in run.results.items():
        torch.manual_seed(fold)
        facts = facts_of_network(seen, len(run.classes))
        network: nn.Module = build("model", config.model, facts)
        state = {
            "version": 2,
            "key": run.key,
            "fold": fold,
            "epoch": 1,
            "network": network.state_dict(),
            "output": "labels" if several else config.loss.output,
            "logit_shift": list(shift) or [0.0] * len(run.classes),
            "shape": list(shape),
            "mean": [100.0 + fold] * shape[0],
            "std": [50.0 + fold] * shape[0],
        }
        data = io.BytesIO()
        torch.save(state, data)
        folder = run_dir / f"fold_{fold:02d}"
        write_whole(folder / "best.pt", data.getvalue())
        plain = {name: value for name, value in result.items() if name != "seal"}
        write_json(folder / "result.json", seal(plain, folder))
    return Finished.read(run_dir)


def noise(shape: Sequence[int], seed: int = 0) -> NDArray[np.uint8]:
    """Made-up pixels of 8 bits."""
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def write_png(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """(H, W), or (H, W, 3)."""
    Image.fromarray(pixels).save(path)
    return path


def bundle_of(run: Finished, to: str, folder: Path, network: str = "folds", *plugins: str) -> Path:
    """A bundle, written in this process."""
    make_private(folder)
    write_bundle(Kept.of(run, network, plugins), to, folder)
    return folder
