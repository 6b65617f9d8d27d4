"""What a network that has learned nothing gets right in training: below it, a fold under-fits."""

from pathlib import Path

import pytest
from finished_run import BASELINE, cohort

from pipeline.commands.door import load_config
from pipeline.engine.results import guessed_accuracy
from pipeline.engine.run_folder import Run
from pipeline.images.packed import PackedImages
from pipeline.manifest import Manifest
from pipeline.splits import plan_folds


def guessed(folder: Path, manifest: Manifest, *overrides: str) -> float:
    config = load_config(
        [
            *BASELINE,
            "manifest.path=cohort.csv",
            f"run_dir={folder}",
            "split.num_folds=3",
            "sampler=none",
            *overrides,
        ]
    )
    plan = plan_folds(manifest, config.split)
    return guessed_accuracy(Run(config, manifest, plan, PackedImages(folder, "0" * 64)), 0)


def test_of_classes_that_exclude_each_other_the_most_frequent_is_guessed(tmp_path: Path) -> None:
    """Of three classes with 1, 2 and 3 images a patient, the last has half of all."""
    manifest = cohort(27, ("normal", "bacteria", "virus"))
    assert guessed(tmp_path, manifest, "manifest.task=multiclass") == pytest.approx(0.5, abs=0.07)


def test_of_labels_each_is_guessed_by_itself(tmp_path: Path) -> None:
    """A label of one patient in ten is guessed rightly in nine of ten by saying no."""
    sets = ["edema", "effusion", *["none"] * 8]
    manifest = cohort(60, ("edema", "effusion"), sets)
    assert guessed(tmp_path, manifest, "manifest.task=multilabel") == pytest.approx(0.9, abs=0.07)
