"""Two runs that differ in all that a report says, and what is made of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from finished_run import cohort, finished_run

from pipeline.engine.finished import Finished

NETWORK = [
    "model=lenet5",
    "images=grey64",
    "images.dtype=uint8",
    "augment=light",
    "split.num_folds=3",
    "split.seed=7",
    "split.repeats=2",
    "training.seed=5",
    "training.average=0.9",
    "training.select_by=val/loss",
    "evaluation.aggregate=max",
    "evaluation.threshold=fixed",
    "sampler=class",
    "init=he_normal",
    "privacy.pseudonyms=true",
    "manifest.name=other",
    "manifest.columns.site=site",
    "manifest.task=multiclass",
]


@pytest.fixture(scope="session")
def binary(made_once: Callable[..., Path]) -> Finished:
    """A baseline on two classes, three folds."""
    return Finished.read(_run(made_once, "binary", "split.num_folds=3"))


@pytest.fixture(scope="session")
def several(made_once: Callable[..., Path]) -> Finished:
    """A network on three classes, twice three folds; two patients belong together."""
    manifest = cohort(27, ("normal", "bacteria", "virus"))
    groups = manifest.table["group"].replace("Patient-003", "Patient-000")
    linked = replace(manifest, table=manifest.table.assign(group=groups))
    return Finished.read(_run(made_once, "several", *NETWORK, manifest=linked))


def _run(made_once: Callable[..., Path], name: str, *overrides: str, **more: object) -> Path:
    made = made_once(name, lambda folder: finished_run(folder / "run", *overrides, **more))  # type: ignore[arg-type]
    return made / "run"
