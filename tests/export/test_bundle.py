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
from pipeline.export.sums import seal
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
    run = run_with_networks(tmp_path / "run", *overrides, **more)
    found = load_bundle(bundle_of(run, "folder", tmp_path / "bundle"))
    theirs = Ensemble.read(run)
    assert list(found.classes) == list(run.classes)
    assert type(found.classes) is LabelNames or not isinstance(run.classes, LabelNames)
    images = noise((5, *SHAPE)).astype(found.contents.input.dtype)
    np.testing.assert_array_equal(
        found.member_probabilities([*images]),
        theirs.member_probabilities(torch.from_numpy(images)),
    )


# --- code of the user's own

MY_LAB = """
from monai.transforms import Transform
from torch import nn


class Halve(Transform):
    def __call__(self, image):
        return image / 2


class TwoLayers(nn.Module):
    def __init__(self, num_inputs, num_classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(num_inputs, num_classes))

    def forward(self, images):
        return self.layers(images)
"""
MODEL = "_target_: my_lab.TwoLayers\nnum_inputs: 576\nnum_classes: '@num_classes'\n"
OWN = [
    "plugins=[my_lab]",
    "model=two_layers",
    "images.transforms=[{_target_: my_lab.Halve}]",
]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Finished:
    """A run whose network and transform are the user's own, in ./my_lab.py."""
    monkeypatch.chdir(tmp_path)
    Path("my_lab.py").write_text(MY_LAB)
    Path("conf/model").mkdir(parents=True)
    Path("conf/model/two_layers.yaml").write_text(MODEL)
    return run_with_networks(Path("run"), *OWN, plugins=["my_lab"])


def test_own_code_goes_along_and_runs_only_where_it_is_trusted(
    own: Finished, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = bundle_of(own, "folder", tmp_path / "bundle", "folds", "my_lab")
    assert "code/my_lab.py" in files(folder)
    Path("my_lab.py").unlink()
    with pytest.raises(UserError, match=r"runs code of my_lab.*if you trust it: plugins="):
        load_bundle(folder)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # as in a process that knows nothing of it
    sys.path.remove(str(tmp_path))
    del sys.modules["my_lab"]
    found = load_bundle(folder, plugins=["my_lab"])
    path = write_png(tmp_path / "a.png", noise(SHAPE[1:]))
    np.testing.assert_array_equal(found.image((path,))[0], (noise(SHAPE[1:]) / 2).round())


def test_other_code_of_the_same_name_is_refused(own: Finished, tmp_path: Path) -> None:
    folder = bundle_of(own, "folder", tmp_path / "bundle", "folds", "my_lab")
    Path("my_lab.py").write_text(MY_LAB + "\n# another version\n")
    with pytest.raises(UserError, match="another my_lab is found first"):
        load_bundle(folder, plugins=["my_lab"])


def test_own_code_is_exported_only_where_it_is_named(own: Finished, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"runs code of your own; if you trust it: plugins="):
        export(own, "folder", "folds", tmp_path / "bundle")


# --- refusals


def test_a_folder_that_is_there_is_not_written_over(run: Finished, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is there already, and is not written over"):
        export(run, "folder", "folds", tmp_path)


def test_the_model_that_a_failed_registration_left_is_taken(run: Finished, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    first = export(run, "mlflow", "folds", out)
    again = export(run, "mlflow", "folds", out, keeps=True)
    assert (again.digest, again.bundle, again.card) == (first.digest, first.bundle, first.card)
    assert again.was_there
    path = out / "data" / "bundle" / "bundle.json"
    whole = path.read_text()
    path.write_text(whole.replace(run.key, "k" * 64))
    with pytest.raises(UserError, match="is not as it was made"):
        export(run, "mlflow", "folds", out, keeps=True)
    seal(out / "data" / "bundle")
    seal(out)
    for keeps in (True, False):  # of another run
        with pytest.raises(UserError, match="is there already, and is not written over"):
            export(run, "mlflow", "folds", out, keeps=keeps)


def test_a_deleted_network_is_told(run: Finished, tmp_path: Path) -> None:
    copy = shutil.copytree(run.dir, tmp_path / "run")
    (copy / "fold_01" / "best.pt").unlink()
    with pytest.raises(UserError, match=r"fold_01/best\.pt is missing"):
        export(Finished.read(copy), "folder", "folds", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_value_of_the_environment_is_not_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOW", "3")
    run = run_with_networks(tmp_path / "run", "images.fill_value=${oc.env:LOW}")
    with pytest.raises(
        UserError, match=r"images.fill_value \(\$\{oc.env:LOW\}\) came from the env"
    ):
        export(run, "folder", "folds", tmp_path / "bundle")


def test_a_bundle_of_a_later_version_is_refused(bundle: Path, tmp_path: Path) -> None:
    from pipeline.export.sums import seal

    copy = shutil.copytree(bundle, tmp_path / "copy")
    content = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps(content | {"version": 2}))
    seal(copy)
    with pytest.raises(UserError, match="expected a bundle of version 1, got 2"):
        load_bundle(copy)
    (copy / "bundle.json").write_text(json.dumps({"version": 1}))
    seal(copy)
    with pytest.raises(UserError, match=r"bundle\.json: .*key: Field required"):
        load_bundle(copy)


def test_weights_that_do_not_fit_are_told(bundle: Path, tmp_path: Path) -> None:
    from pipeline.export.contents import Contents
    from pipeline.export.sums import seal

    copy = shutil.copytree(bundle, tmp_path / "copy")
    contents = Contents.load(copy)
    replace(contents, classes=("a", "b", "c"), task="multiclass").save(copy)
    seal(copy)
    with pytest.raises(UserError, match=r"does not fit model pipeline\.models\.LeNet5"):
        load_bundle(copy)
