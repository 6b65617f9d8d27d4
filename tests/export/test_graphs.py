"""ONNX and .pt2 files: the same numbers, without this package."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from run_with_networks import PRIVATE, SHAPE, bundle_of, noise, run_with_networks, write_png

from pipeline.config import UserError
from pipeline.engine.finished import Finished
from pipeline.ensemble import Ensemble
from pipeline.ensemble.kept import Kept
from pipeline.export import load_bundle, to_onnx
from pipeline.export.exporting import write_bundle

TORCH_ALONE = """
import json, sys
for name in ("pipeline", "monai", "onnx"):
    sys.modules[name] = None
import torch
module = torch.export.load("model.pt2").module()
found = [module(torch.load(path))[0].tolist() for path in sys.argv[1:]]
print(json.dumps(found))
"""
WITHOUT = """
import runpy, sys
for name in ("pipeline", "torch", "monai", "mlflow", "pandas", "onnx"):
    sys.modules[name] = None
sys.argv = ["run_onnx.py", *sys.argv[1:]]
runpy.run_path("run_onnx.py", run_name="__main__")
"""

pytestmark = pytest.mark.slow  # torch.onnx alone takes seconds to import


@pytest.fixture(scope="session")
def graph(run: Finished, made_once: Callable[..., Path]) -> Path:
    return made_once("onnx", lambda folder: bundle_of(run, "onnx", folder / "x")) / "x"


def called(folder: Path, code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def test_onnxruntime_gives_the_ensembles_probabilities(run: Finished, graph: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(graph / "model.onnx")
    (given,), names = session.get_inputs(), [out.name for out in session.get_outputs()]
    assert (given.name, given.type, given.shape[1:]) == ("images", "tensor(uint8)", list(SHAPE))
    assert names == ["member_probabilities", "probabilities"]
    for number in (1, 2, 7):
        images = noise((number, *SHAPE), number)
        wanted = Ensemble.read(run).member_probabilities(torch.from_numpy(images))
        members, mean = session.run(None, {"images": images})
        np.testing.assert_allclose(members, wanted, atol=1e-4)
        np.testing.assert_allclose(mean, wanted.mean(axis=0), atol=1e-4)


def test_the_script_answers_files_without_us_and_without_torch(graph: Path, tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", noise(SHAPE[1:], 5))
    (tmp_path / "broken.png").write_bytes(b"broken")
    done = called(graph, WITHOUT, path, tmp_path / "broken.png")
    assert done.returncode == 1
    good, bad = map(json.loads, done.stdout.splitlines())
    bundle = load_bundle(graph)
    members = bundle.member_probabilities([bundle.image((path,))])[:, 0]
    assert list(good["probabilities"].values()) == pytest.approx(members.mean(axis=0), abs=1e-4)
    assert list(good["largest"].values()) == pytest.approx(members.max(axis=0), abs=1e-4)
    limit = bundle.contents.thresholds["image"]["lesion"]
    assert good["predicted"] == ("lesion" if members.mean(axis=0)[1] >= limit else "healthy")
    assert "neither PNG" in bad["error"]
    assert not (graph / "__pycache__").exists()


def test_the_script_refuses_a_changed_graph(graph: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(graph, tmp_path / "copy")
    content = bytearray((copy / "model.onnx").read_bytes())
    content[-1] ^= 1
    (copy / "model.onnx").write_bytes(content)
    done = called(copy, WITHOUT, tmp_path / "a.png")
    assert done.returncode == 1
    assert "model.onnx was changed after the bundle was made" in done.stderr


def test_torch_alone_opens_the_pt2_file(run: Finished, tmp_path: Path) -> None:
    folder = bundle_of(run, "torch_export", tmp_path / "bundle")
    batches = [torch.from_numpy(noise((number, *SHAPE), number)) for number in (1, 5)]
    for number, batch in enumerate(batches):
        torch.save(batch, tmp_path / f"{number}.pt")
    done = called(folder, TORCH_ALONE, tmp_path / "0.pt", tmp_path / "1.pt")
    assert done.returncode == 0, done.stderr
    for batch, found in zip(batches, json.loads(done.stdout), strict=True):
        np.testing.assert_allclose(found, Ensemble.read(run).member_probabilities(batch), atol=1e-6)
    for path in folder.rglob("*"):
        private = (*PRIVATE, str(Path.cwd()).encode(), b"site-packages")
        assert path.is_dir() or not [text for text in private if text in path.read_bytes()], path


def test_no_path_of_this_machine_is_in_the_graph(graph: Path) -> None:
    content = (graph / "model.onnx").read_bytes()
    private = (*PRIVATE, str(Path.cwd()).encode(), b"site-packages", b"stack_trace")
    assert not [text for text in private if text in content]


BAD_LAB = """
import torch
from torch import nn


class Branches(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer = nn.Linear(576, num_classes)

    def forward(self, images):
        logits = self.layer(images.flatten(1))
        return logits if float(logits.sum()) > 0 else -logits
"""


@pytest.mark.parametrize("to", ["onnx", "torch_export"])
def test_a_network_that_cannot_be_a_graph_gets_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_lab.py").write_text(BAD_LAB)
    Path("conf/model").mkdir(parents=True)
    text = "_target_: my_lab.Branches\nnum_classes: '@num_classes'\n"
    Path("conf/model/branches.yaml").write_text(text)
    words = ["plugins=[my_lab]", "model=branches"]
    run = run_with_networks(Path("run"), *words, plugins=["my_lab"])
    with pytest.raises(UserError, match=r"my_lab\.Branches cannot be traced by torch") as told:
        bundle_of(run, to, tmp_path / "bundle", "folds", "my_lab")
    assert "to=folder and to=mlflow keep the network itself" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_graph_with_other_numbers_is_not_handed_over(
    run: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.export import graph as graphs

    monkeypatch.setattr(graphs.MemberGraph, "forward", lambda self, images: self.network(images))
    (tmp_path / "bundle").mkdir()
    with pytest.raises(UserError, match=r"as ONNX it gives probabilities that differ by up to"):
        write_bundle(Kept.of(run), "onnx", tmp_path / "bundle")


def test_what_is_not_installed_is_named(
    run: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_onnx, "NEEDED", ("onnx", "no_such_package"))
    with pytest.raises(UserError, match=r"needs no_such_package, not installed here: pip install"):
        bundle_of(run, "onnx", tmp_path / "bundle")
