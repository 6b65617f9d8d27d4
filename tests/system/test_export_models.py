"""Every network that ships becomes one graph, in ONNX and for torch alone."""

from pathlib import Path

import pytest
from run_with_networks import bundle_of, run_with_networks

from pipeline.config.leaf import is_baseline

ONE = ["split=holdout", "split.test_fraction=0.3", "split.val_fraction=0.3"]
"""A single fold: of several the graph has the same several times."""
CONF = Path(__file__).parents[2] / "conf" / "model"
MODELS = sorted(path.stem for path in CONF.glob("*.yaml") if "baselines" not in path.read_text())
DEEPER = {"resnet34", "resnet101", "resnet152", "vgg16", "vit_b16"}
"""Of the same code as a smaller one that is tried."""
SIDE = {"alexnet": 64, "googlenet": 64}


def test_there_are_models() -> None:
    assert len(MODELS) > 15
    assert {*MODELS} > DEEPER
    assert is_baseline({"_target_": "pipeline.baselines.Baseline"})


@pytest.mark.parametrize("model", sorted({*MODELS} - DEEPER))
def test_each_network_becomes_onnx(tmp_path: Path, model: str) -> None:
    side = SIDE.get(model, 32)
    run = run_with_networks(tmp_path / "run", f"model={model}", *ONE, shape=(1, side, side))
    folder = bundle_of(run, "onnx", tmp_path / "bundle")  # which tries it with onnxruntime
    assert (folder / "model.onnx").is_file()


@pytest.mark.parametrize("model", ["cnn_small", "densenet121", "resnet10", "vit_small"])
def test_volumes_become_onnx(tmp_path: Path, model: str) -> None:
    more = [*ONE, "images.spatial_dims=3", "augment=none"]
    run = run_with_networks(tmp_path / "run", f"model={model}", *more, shape=(1, 32, 32, 32))
    assert (bundle_of(run, "onnx", tmp_path / "bundle") / "model.onnx").is_file()


@pytest.mark.parametrize("model", ["alexnet_small", "efficientnet_b0", "vit_small"])
def test_networks_become_pt2_files(tmp_path: Path, model: str) -> None:
    run = run_with_networks(tmp_path / "run", f"model={model}", *ONE, shape=(1, 32, 32))
    assert (bundle_of(run, "torch_export", tmp_path / "bundle") / "model.pt2").is_file()
