"""A bundle predicts what the run's folds predict, names nobody, and is refused when changed."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finished_run import cohort
from run_with_networks import PRIVATE, SHAPE, bundle_of, noise, run_with_networks, write_png

from pipeline.config import UserError
from pipeline.engine.finished import Finished
from pipeline.ensemble import Ensemble
from pipeline.export import load_bundle
from pipeline.export.exporting import export
from pipeline.label_names import LabelNames

WRITTEN = {
    "SHA256SUMS",
    "bundle.json",
    "card.md",
    *(f"weights/fold_{fold:02d}.safetensors" for fold in range(3)),
}


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_it_gives_bit_for_bit_what_the_ensemble_gives(
    run: Finished, bundle: Path, tmp_path: Path
) -> None:
    assert files(bundle) == WRITTEN
    ours, theirs = load_bundle(bundle), Ensemble.read(run)
    images = noise((70, *SHAPE))
    found = ours.member_probabilities([*images])
    first = theirs.member_probabilities(torch.from_numpy(images[:64]))
    np.testing.assert_array_equal(found[:, :64], first)
    path = write_png(tmp_path / "a.png", noise(SHAPE[1:], 3))
    np.testing.assert_array_equal(ours.image((path,)), theirs.image((path,)))
    assert np.ptp(found, axis=0).max() > 1e-3  # the members differ


def test_thresholds_calibration_and_rules_are_those_of_the_run(run: Finished, bundle: Path) -> None:
    ours, theirs = load_bundle(bundle), Ensemble.read(run)
    for level in theirs.levels:
        assert ours.decision(level).values == theirs.decision(level).values
    for mine, other in zip(ours.members, theirs.members, strict=True):
        assert mine.recalibration == other.recalibration
        assert {k: v.values for k, v in mine.decisions.items()} == {
            k: v.values for k, v in other.decisions.items()
        }
    contents = json.loads((bundle / "bundle.json").read_text())
    assert contents["plan_hash"] == run.plan[0]["plan_hash"]
    assert contents["key"] == run.key
    assert contents["classes"] == ["healthy", "lesion"]
    assert contents["thresholds"]["patient"]["lesion"] == pytest.approx(
        np.median([r["thresholds"]["patient"] for r in run.results.values()])
    )


@pytest.mark.parametrize("name", sorted(WRITTEN - {"SHA256SUMS"}))
def test_a_changed_byte_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(bundle, tmp_path / "copy")
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(UserError, match=f"not as it was made; changed: '{name}'"):
        load_bundle(copy)


def test_the_same_run_gives_the_same_bytes(run: Finished, bundle: Path, tmp_path: Path) -> None:
    again = bundle_of(run, "folder", tmp_path / "again")
    assert (again / "SHA256SUMS").read_bytes() == (bundle / "SHA256SUMS").read_bytes()


def test_no_patient_and_no_path_is_in_it(bundle: Path, tmp_path: Path) -> None:
    paths = [path for path in bundle.rglob("*") if path.is_file()]
    assert paths
    here = (str(Path.cwd()).encode(), str(tmp_path.parent).encode(), str(Path.home()).encode())
    for path in paths:
        content = path.read_bytes()
        assert not [text for text in (*PRIVATE, *here) if text in content], path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "more"),
    [
        (
            ["manifest.task=multiclass", "evaluation.calibration=temperature"],
            {"manifest": cohort(30, ("a", "b", "c")), "shift": (0.5, -0.5, 0.0)},
        ),
        (
            [
                "manifest.task=multilabel",
                "loss=binary_cross_entropy",
                "evaluation.patient_label=worst",
            ],
            {"manifest": cohort(30, LabelNames(("x", "y")), ["x", "x|y", "y", "none"])},
        ),
        (["augment.crop=[20]", "training.channels_last=true", "loss.output=sigmoid"], {}),
        (["images.dtype=float16"], {}),
    ],
    ids=["three classes", "labels", "crop", "float16"],
)
def test_runs_of_other_kinds_come_back_too(
    tmp_path: Path, overrides: list[str], more: dict[str, Any]
) -> None:
