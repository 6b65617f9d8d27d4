"""Commands that train different folds of one run at the same time, as an array job does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.commands.door import load_config
from pipeline.config import UserError
from pipeline.engine.access import in_turn
from pipeline.engine.run_folder import Run, open_run
from pipeline.files import lock
from pipeline.images.packed import PackedImages
from pipeline.manifest import read_manifest
from pipeline.splits import plan_folds


@pytest.fixture
def run(tmp_path: Path, make_cohort: Callable[..., Any]) -> Run:
    """Of 12 patients with an image each; the images themselves do not matter."""
    cohort = make_cohort({f"P{i:02d}": ["healthy" if i % 2 else "lesion"] for i in range(12)})
    manifest = read_manifest(replace(cohort, accept=("one_image_per_patient",)))
    np.save(tmp_path / "images.npy", np.zeros((12, 1, 2, 2), np.uint8))
    places = [f"manifest.path={cohort.path}", f"run_dir={tmp_path}/run"]
    config = load_config(["name=shared", *places])
    plan = plan_folds(manifest, config.split)
    return Run(config, manifest, plan, PackedImages(tmp_path, "pixels"))


def of(run: Run, *folds: int, **changes: object) -> Run:
    """The same run, as a command with these folds sees it."""
    config = replace(run.config, folds=folds, **changes)  # type: ignore[arg-type]
    return Run(config, run.manifest, run.plan, run.images)


def test_two_commands_train_a_fold_each_and_write_the_same_files(run: Run) -> None:
    with open_run(of(run, 0)):
        before = {p.name: p.read_bytes() for p in run.dir.iterdir() if p.is_file()}
        with open_run(of(run, 1)):
            after = {p.name: p.read_bytes() for p in run.dir.iterdir() if p.is_file()}
    assert {"plan.csv", "plan.json", "config.yaml", "cohort.csv", "environment.json"} <= {*before}
    assert after == before
    assert "folds: all" in (run.dir / "config.yaml").read_text()


@pytest.mark.parametrize("folds", [(0,), (0, 1, 2), (2, 0)])
def test_a_fold_has_one_command(run: Run, folds: tuple[int, ...]) -> None:
    with (
        open_run(of(run, 0)),
        pytest.raises(UserError, match=r"fold 0 of run folder .* is in use by another process"),
        open_run(of(run, *folds)),
    ):
        pass
    with open_run(of(run, *folds)):
        pass


def test_nobody_else_works_in_a_folder_whose_folds_train(run: Run) -> None:
    with open_run(of(run, 0)), pytest.raises(UserError), lock(run.dir / ".lock", "in use"):
        pass
    with (
        lock(run.dir / ".lock", "in use"),
        pytest.raises(UserError, match="is in use by another process"),
        open_run(of(run, 1)),
    ):
        pass


def test_another_run_does_not_take_the_folder_of_one_that_has_just_begun(run: Run) -> None:
    """Nothing is trained yet; alone, it would be emptied."""
    training = replace(run.config.training, seed=7)
    with open_run(of(run, 0)):
        plan = (run.dir / "plan.csv").read_bytes()
        with (
            pytest.raises(UserError, match="is in use by another process"),
            open_run(of(run, 1, training=training)),
        ):
            pass
        assert (run.dir / "plan.csv").read_bytes() == plan
    with open_run(of(run, 1, training=training)):
        pass


def test_turns_end_with_their_block(run: Run) -> None:
    with open_run(of(run, 0)):
        turn = run.dir / ".turn.lock"
        with in_turn(run.dir), pytest.raises(UserError, match="taken"), lock(turn, "taken"):
            pass
        with lock(turn, "taken"):
            pass
