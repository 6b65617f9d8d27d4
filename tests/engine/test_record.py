"""What MLflow shows of a cross-validation beside its numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.commands.door import load_config
from pipeline.engine.run_folder import Run
from pipeline.engine.session import Called, _record
from pipeline.images.packed import PackedImages
from pipeline.manifest import read_manifest
from pipeline.splits import plan_folds
from pipeline.tracking.note import cv_note


@pytest.fixture
def run(tmp_path: Path, make_cohort: Callable[..., Any]) -> Run:
    cohort = make_cohort({f"P{i:02d}": [["no", "yes"][i % 2]] * 2 for i in range(12)})
    overrides = [f"manifest.path={cohort.path}", f"run_dir={tmp_path}/run", "split.num_folds=3"]
    config = load_config([*overrides, "optimizer.lr=0.02", "training.select_by=val/loss"])
    manifest = read_manifest(config.manifest)
    np.save(tmp_path / "images.npy", np.zeros((len(manifest), 1, 2, 2), np.uint8))
    plan = plan_folds(manifest, config.split)
    return Run(config, manifest, plan, PackedImages(tmp_path, "pixels"))


def test_the_note_says_what_the_run_is_and_what_to_choose_by(run: Run) -> None:
    """The mirror adds the fifth line: what came of it."""
    record = _record(run, Called("lenet5 lr=2e-2", "sweep-7"))
    what, split, choose, where = record.note.split("\n\n")
    assert what.startswith("Cross-validation of lenet5 lr=2e-2 on ")
    assert "one of the sweep sweep-7: 24 images of 12 patients; classes no, yes." in what
    assert split == (
        "Split: kfold, 3 folds; every patient is tested exactly once. "
        "In each fold, the epoch with the best val/loss on the val part was kept."
    )
    assert choose.startswith("Choose settings by best/val/loss")
    assert choose.endswith("test/... is for the report, once the settings are chosen.")
    assert str(run.dir) in where
    for name in (run.plan.hash, run.manifest.hash, run.key):
        assert name[:12] in where
    assert len(cv_note(record, None, 0).splitlines()) == 5
    assert not [name for name in run.manifest.patients if name in record.note]


def test_a_run_is_called_by_what_was_asked_for_and_its_hash_is_a_tag(run: Run) -> None:
    record = _record(run, Called("resnet10 lr=2e-2", "sweep-7"))
    assert record.run_name == "resnet10 lr=2e-2"
    assert record.tags["patientfold.key"] == run.key
    assert record.tags["patientfold.sweep"] == "sweep-7"
    assert _record(run, Called()).run_name == run.config.name


def test_only_what_is_compared_is_a_parameter_and_every_setting_is_told(run: Run) -> None:
    """Settings that nobody changed would be a hundred equal rows."""
    record = _record(run, Called())
    assert record.params["optimizer.lr"] == "0.02"
    assert record.params["training.select_by"] == "val/loss"
    assert len(record.params) < 40
    assert "images.num_channels" not in record.params
    told = dict(line.split("=", 1) for line in record.settings.splitlines())
    assert len(told) > 100
    assert record.params.items() <= told.items()
    assert told["images.num_channels"] == "1"
