"""Files of weights to begin with: read without running code, and put in place before freezing."""

import os
import pickle
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from test_try_out import job_of  # type: ignore[import-not-found]
from torch import Tensor

from pipeline.commands.door import load_config
from pipeline.config import UserError
from pipeline.files import write_json
from pipeline.models import LeNet5
from pipeline.splits import NO_FOLD, plan_folds, save_plan
from pipeline.training.learner import build_learner
from pipeline.training.planning import rehearse
from pipeline.training.start import check_start


def weights() -> dict[str, Tensor]:
    torch.manual_seed(5)
    return dict(LeNet5(1, 2).state_dict())


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda given: given,
        lambda given: {"state_dict": OrderedDict(given), "epoch": 3},
        lambda given: {"model": {f"module.{name}": values for name, values in given.items()}},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_network_begins_with_the_weights_of_a_file(
    tmp_path: Path, wrapped: Any, zipped: bool
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(wrapped(weights()), path, _use_new_zipfile_serialization=zipped)
    job = job_of(tmp_path, 2, f"init.weights={path}", "init=he_normal", "training.freeze=[feat]")
    learner = build_learner(job)
    for name, values in learner.network.state_dict().items():
        assert torch.equal(values, weights()[name]), name
    assert learner.start == (f"init.weights={path}: 10 of 10 tensors taken over",)
    assert len(learner.optimizer.param_groups[0]["params"]) == 4  # the classifier's


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.write_text, (self.marker, "ran")


def test_a_file_that_holds_code_is_not_run(tmp_path: Path) -> None:
    path, marker = tmp_path / "bomb.pt", tmp_path / "marker"
    for write in (torch.save, lambda value, to: Path(to).write_bytes(pickle.dumps(value))):
        write({"network": Bomb(marker)}, path)
        with pytest.raises(UserError, match="holds something other than numbers and text"):
            build_learner(job_of(tmp_path, 2, f"init.weights={path}"))
        assert not marker.exists()


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (flip_a_byte, r"cannot be used \(the checksum of .* is wrong\)"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "damaged, or its end is missing"),
        (lambda path: path.write_text("hello"), r"cannot be used \(torch.save did not write it\)"),
        (lambda path: path.write_text("<!DOCTYPE html>"), "torch.save did not write it"),
        (lambda path: path.write_bytes(b""), "torch.save did not write it"),
        (Path.unlink, "cannot be read: No such file or directory"),
        (lambda path: torch.save([1, 2], path), "it holds no dictionary of weights"),
        (lambda path: torch.save({"epoch": 3}, path), "it holds no weights"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, spoil: Any, problem: str) -> None:
    path = tmp_path / "weights.pt"
    torch.save(weights(), path)
    spoil(path)
    with pytest.raises(UserError, match=problem) as caught:
        build_learner(job_of(tmp_path, 2, f"init.weights={path}"))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_checkpoint_away_from_its_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fold_00" / "best.pt"
    path.parent.mkdir()
    torch.save({"key": "k", "fold": 0, "network": weights()}, path)
    with pytest.raises(UserError, match="nobody can tell which patients it has seen") as caught:
        build_learner(job_of(tmp_path, 2, f"init.weights={path}"))
    assert "its run folder is not around it" in str(caught.value)


def test_a_network_of_everybody_is_no_start_for_any_fold_of_its_plan(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    path = run_dir / "final" / "best.pt"
    path.parent.mkdir(parents=True)
    job = job_of(tmp_path, 2, f"init.weights={path}")
    torch.save({"key": "k", "fold": NO_FOLD, "network": weights()}, path)
    write_json(run_dir / "environment.json", {"key": "k", "identity": {}})
    (run_dir / "config.yaml").write_text("init: {weights: null}\n")
    rows = [(f"P{i}", f"P{i}.png", f"c{i % 2}", f"P{i}") for i in range(20)]
    columns = ["patient_id", "image_path", "label", "group"]
    manifest = replace(job.manifest, table=pd.DataFrame(rows, columns=columns, dtype=str))
    plan = plan_folds(manifest, load_config(["manifest=demo", "split=holdout"]).split)
    save_plan(plan, run_dir / "plan.csv")
    assert plan.num_folds == 1
    with pytest.raises(UserError, match="of the test part of fold 0"):
        check_start(replace(job, manifest=manifest, fold=plan.folds[0]))


@pytest.mark.parametrize("make", [None, Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_told_before_images_are_decoded(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "weights.pt"
    if make is not None:
        make(path)
    job = job_of(tmp_path, 2, f"init.weights={path}")
    with pytest.raises(UserError, match=r"init\.weights: .*weights\.pt (cannot be read|is not a)"):
        rehearse(job.config, job.manifest)
