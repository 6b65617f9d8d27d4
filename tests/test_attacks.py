"""What a config may not do: every way in which one could run a stranger's code is refused."""

import copy
import functools
import pickle
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from pipeline.commands.door import CONF_DIR, load_config
from pipeline.config import ConfigError, to_config
from pipeline.config.hydra_keys import refuse_hydra_keys, refuse_hydra_overrides
from pipeline.targets import build, check_leaves

HUB = {"repo_or_dir": "FOLDER", "model": "net", "source": "local"}
TOUCH = {"command": "touch MARKER"}
COMMAND = {"cmd_list": ["touch", "MARKER"]}
ATTACKS: dict[str, dict[str, Any]] = {
    "torch.hub.load": HUB,
    "torch.nn.modules.module.torch.hub.load": HUB,
    "torch.load": {"f": "FOLDER/bomb.pkl", "weights_only": False},
    "torch.serialization.load": {"f": "FOLDER/bomb.pkl", "weights_only": False},
    "torch.jit.load": {"f": "FOLDER/bomb.pkl"},
    "torch.package.PackageImporter": {"file_or_buffer": "FOLDER/bomb.pkl"},
    "torch.utils.cpp_extension.load_inline": {"name": "x", "cpp_sources": "int x;"},
    "torch.utils.cpp_extension.subprocess.getoutput": {"cmd": "touch MARKER"},
    "torch.os.system": TOUCH,
    "torch.compile": {"model": {"_target_": "torch.nn.Flatten"}},
    "torch.utils.data.DataLoader": {"dataset": [1]},
    "torch.nn.functional.cross_entropy": {},
    "torch.nn.init.zeros_": {},
    "torch._dynamo.optimize": {},
    "torch.utils.model_dump.__main__.main": {},
    "monai.bundle.run": {"config_file": "FOLDER/bundle.json"},
    "monai.bundle.ConfigParser": {"config": {"x": "$open('MARKER', 'w')"}},
    "monai.utils.misc.run_cmd": COMMAND,
    "monai.utils.run_cmd": COMMAND,
    "monai.utils.misc.os.system": TOUCH,
    "monai.utils.module.instantiate": {"_args_": ["os.system", "default"], **TOUCH},
    "monai.utils.optional_import": {"module": "hubconf"},
    "monai.apps.utils.download_url": {"url": "file://FOLDER/bomb.pkl", "filepath": "MARKER"},
    "monai.transforms.LoadImage": {"reader": "subprocess.getoutput", "cmd": "touch MARKER"},
    "monai.transforms.LoadImageDict": {"keys": "x", "reader": "subprocess.getoutput"},
    "monai.transforms.SaveImage": {"writer": "subprocess.getoutput"},
    "monai.networks.nets.get_pretrained_resnet_medicalnet": {"resnet_depth": 10},
    "monai.losses.PerceptualLoss": {"spatial_dims": 3, "network_type": "medicalnet_resnet10"},
    "os.system": TOUCH,
    "subprocess.getoutput": {"cmd": "touch MARKER"},
    "builtins.exec": {"_args_": ["open('MARKER', 'w')"]},
    "hubconf.net": {},
    "pipeline.models.initialise": {},
    "pipeline.config.ConfigError": {"problems": []},
    "torch": {},
}
"""Callable -> arguments with which it would write MARKER, fetch code or be no leaf at all."""
PLACES = {
    "model": "model",
    "optimizer": "optimizer",
    "scheduler": "scheduler",
    "loss.function": "loss.function",
    "images.transforms": "images.transforms.0",
    "augment.transforms": "augment.transforms.0",
}
"""Setting -> the key that an error names."""


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.write_text, (self.marker, "ran")


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that must not appear, in the current folder, with what the attacks use beside it."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "marker"
    Path("hubconf.py").write_text(f"open({str(path)!r}, 'w')\ndef net(): pass\n")
    Path("bomb.pkl").write_bytes(pickle.dumps(Bomb(path)))
    return path


def with_paths(value: Any, marker: Path) -> Any:
    if isinstance(value, dict):
        return {name: with_paths(inner, marker) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_paths(inner, marker) for inner in value]
    if isinstance(value, str):
        return value.replace("MARKER", str(marker)).replace("FOLDER", str(marker.parent))
    return value


@functools.cache
def plain_config() -> dict[str, Any]:
    return asdict(load_config(["manifest=demo", "augment=none"]))


def problems_of(place: str, value: Any) -> list[str]:
    """What the door, or else the look at the class, says of a value at a place of the config."""
    config = copy.deepcopy(plain_config())
    *parents, name = place.split(".")
    functools.reduce(dict.__getitem__, parents, config)[name] = value
    with pytest.raises(ConfigError) as caught:
        check_leaves(to_config(OmegaConf.create(config)))
    return caught.value.problems


@pytest.mark.parametrize("target", ATTACKS)
def test_a_callable_that_is_no_leaf_is_refused(target: str, marker: Path) -> None:
    leaf = {"_target_": target, **with_paths(ATTACKS[target], marker)}
    for place, key in PLACES.items():
        problems = problems_of(place, [leaf] if place.endswith("transforms") else leaf)
        assert all(problem.startswith(f"{key}._target_: ") for problem in problems)
        assert target in problems[0]
        assert not marker.exists()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("model", {"_target_": "torch.nn.Sequential", "_args_": [["LEAF"]]}),
        ("model", {"_target_": "torch.nn.Sequential", "_args_": [[[["LEAF"]]]]}),
        ("model", {"_target_": "torch.nn.Linear", "in_features": "LEAF", "out_features": 2}),
        ("model", {"_target_": "torch.nn.Linear", "x": {"y": {"z": ["LEAF"]}}}),
        ("optimizer", {"_target_": "torch.optim.SGD", "lr": [["LEAF"]]}),
        ("scheduler", {"_target_": "torch.optim.lr_scheduler.LambdaLR", "lr_lambda": "LEAF"}),
        ("loss.function", {"_target_": "torch.nn.CrossEntropyLoss", "weight": ["LEAF"]}),
        ("images.transforms", [{"_target_": "monai.transforms.Compose", "transforms": [["LEAF"]]}]),
        ("augment.transforms", [{"_target_": "monai.transforms.Lambda", "func": "LEAF"}]),
    ],
)
def test_a_leaf_hidden_among_arguments_is_refused(place: str, value: Any, marker: Path) -> None:
    for target in ("monai.utils.misc.run_cmd", "os.system"):
        hidden = {"_target_": target, **with_paths(ATTACKS[target], marker)}

        def put(inner: Any, leaf: dict[str, Any] = hidden) -> Any:
            if isinstance(inner, dict):
                return {name: put(item) for name, item in inner.items()}
            return (
                [put(item) for item in inner]
                if isinstance(inner, list)
                else leaf
                if inner == "LEAF"
                else inner
            )

        (problem,) = problems_of(place, put(value))
        assert target in problem
        assert not marker.exists()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("optimizer", {"_target_": "torch.nn.Linear"}),
        ("scheduler", {"_target_": "torch.optim.SGD"}),
        ("model", {"_target_": "torch.optim.SGD"}),
        ("loss.function", {"_target_": "monai.transforms.Resize"}),
        ("images.transforms", [{"_target_": "torch.nn.Flatten"}]),
    ],
)
def test_a_class_of_another_kind_is_refused(place: str, value: Any) -> None:
    (problem,) = problems_of(place, value)
    assert "_target_: must be a subclass of " in problem
    assert problem.endswith(", a class")


@pytest.mark.parametrize("name", ["_partial_", "_recursive_", "_convert_", "_mode_", "_call_"])
def test_other_special_keys_are_refused(name: str) -> None:
    for value in ({name: True}, {"x": [[{name: True}]]}):
        (problem,) = problems_of("model", {"_target_": "torch.nn.Flatten", **value})
        assert problem.endswith(f"{name}: only _target_ and _args_ are allowed here")


def test_a_target_must_be_a_text() -> None:
    (problem,) = problems_of("model", {"_target_": ["torch.nn.Flatten"]})
    assert problem.startswith("model._target_: must begin with one of torch., monai., ")


def test_build_looks_before_it_calls_whoever_calls_it(marker: Path) -> None:
    inner = {"_target_": "monai.utils.misc.run_cmd", "cmd_list": ["touch", str(marker)]}
    for leaf in (inner, {"_target_": "monai.transforms.Compose", "transforms": [[inner]]}):
        with pytest.raises(ConfigError, match="run_cmd"):
            build("images.transforms.0", leaf)
        assert not marker.exists()
    build("model", {"_target_": "torch.nn.Flatten"})


@pytest.mark.parametrize(
    "target",
    [
        "monai.networks.nets.resnet18",
        "monai.networks.nets.densenet121",
        "torch.nn.Sequential",
        "monai.networks.nets.DenseNet121",
        "monai.networks.nets.MedNeXtS",
        "pipeline.models.LeNet5",
        "monai.networks.nets.vit.ViT",
        "torch.nn.modules.linear.Linear",
    ],
)
def test_networks_are_allowed_by_any_of_their_names(target: str) -> None:
    check_leaves(load_config(["manifest=demo", f"model={{_target_:{target}}}"]))


# --- Hydra's own settings


def conf(folder: Path, name: str, text: str) -> Path:
    path = folder / "conf" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder / "conf"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "experiment/x.yaml",
            "# @package _global_\nhydra:\n  callbacks:\n    a:\n      _target_: x\n",
        ),
        ("experiment/x.yaml", "hydra: {job_logging: {root: {}}}\n"),
        ("experiment/x.yaml", "defaults:\n  - override /hydra/job_logging: mine\n"),
        ("experiment/x.yaml", "defaults:\n  - /model/x@_global_.hydra.callbacks\n"),
        ("experiment/x.yaml", "defaults:\n  - /model@hydra.callbacks: x\n"),
        ("experiment/x.yaml", '"\\x68ydra":\n  callbacks: {}\n'),
        ("experiment/x.yaml", "a: &a\n  hydra: {callbacks: {}}\n<<: *a\n"),
        ("experiment/x.yaml", "hydra: !!python/object/apply:pathlib.Path [x]\nname: x\n"),
        ("experiment/x.yaml", "hydra.callbacks: {}\n"),
        ("experiment/x.yaml", "hydra:\n  run: {dir: elsewhere}\n"),
        ("model/x.yaml", "# @package hydra.callbacks\na:\n  _target_: x\n"),
        ("model/x.yml", "hydra: {callbacks: {}}\n"),
        ("hydra/callbacks/x.yaml", "a:\n  _target_: x\n"),
        ("cv.yaml", "hydra:\n  callbacks:\n    a: {_target_: x}\n"),
        ("cv.yaml", "hydra:\n  job:\n    env_set: {PYTHONPATH: x}\n"),
        ("cv.yaml", "hydra:\n  launcher: {_target_: x}\n"),
        ("cv.yaml", "hydra:\n  searchpath: [x]\n"),
        ("cv.yaml", "defaults:\n  - override hydra/job_logging: mine\n"),
    ],
)
def test_a_file_that_sets_something_of_hydra_is_refused(
    name: str, text: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_hydra_keys([conf(tmp_path, name, text)])
    assert all(str(tmp_path / "conf" / name) in p for p in caught.value.problems)
    assert "can run code" in str(caught.value)


def test_a_linked_or_hidden_folder_is_looked_at_too(tmp_path: Path) -> None:
    real = conf(tmp_path / "elsewhere", "x.yaml", "hydra: {callbacks: {}}\n")
    for name in ("experiment", ".hidden"):
        folder = tmp_path / name.strip(".")
        folder.mkdir()
        (folder / name).symlink_to(real)
        with pytest.raises(ConfigError, match=r"x\.yaml: hydra\.callbacks"):
            refuse_hydra_keys([folder])


def test_our_own_files_and_those_that_only_speak_of_hydra_pass(tmp_path: Path) -> None:
    folder = conf(tmp_path, "manifest/x.yaml", "# no hydra here\nname: hydra\nhint: like hydra\n")
    ours = shutil.copytree(CONF_DIR, tmp_path / "ours")
    launchers = list((ours / "hydra").rglob("*.yaml"))  # which a user's own folder must not have
    assert launchers
    assert [path.name for path in launchers if "_target_" in path.read_text()] == []
    shutil.rmtree(ours / "hydra")
    refuse_hydra_keys([ours, folder, tmp_path / "missing"])
    conf(tmp_path, "manifest/y.yaml", "hydra: {job_logging: {}}\n")
    with pytest.raises(ConfigError, match=r"y\.yaml: hydra\.job_logging"):  # it was looked into
        refuse_hydra_keys([ours, folder, tmp_path / "missing"])


@pytest.mark.parametrize(
    "argument",
    [
        "hydra.callbacks.x._target_=os.system",
        "+hydra.callbacks.x={_target_: os.system}",
        "hydra/job_logging=mine",
        "+hydra/callbacks=x",
        "hydra.job.env_set.PATH=x",
        "hydra.launcher._target_=os.system",
        "hydra.launcher={_target_: os.system}",
        "hydra.searchpath=[x]",
        "model@hydra.callbacks=x",
        "~hydra.job_logging",
    ],
)
def test_an_override_of_hydra_that_could_run_code_is_refused(argument: str) -> None:
    with pytest.raises(ConfigError, match=r"of Hydra's own settings only"):
        refuse_hydra_overrides(["-m", "experiment=demo", argument])


def test_where_a_sweep_goes_and_how_it_runs_can_be_set() -> None:
    allowed = [
        "-m",
        "hydra.sweep.dir=x",
        "hydra.sweep.subdir=y",
        "hydra.run.dir=z",
        "hydra/launcher=joblib",
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=3",
        "+hydra.launcher.n_jobs=2",
        "name=hydra",
        "manifest.hint='a@hydra'",
    ]
    refuse_hydra_overrides(allowed)
    with pytest.raises(ConfigError, match=r"hydra\.job\.name=x"):  # they were looked at
        refuse_hydra_overrides([*allowed, "hydra.job.name=x"])
