import sys

import pytest
import torch
from monai.transforms import Compose, Resize

from pipeline.commands.door import load_config
from pipeline.config import ConfigError, plugin_facts
from pipeline.processes import call_in_child
from pipeline.targets import build, check_leaves

FACTS = {"num_channels": 3, "num_classes": 4, "spatial_size": [5, 6]}
LINEAR = "torch.nn.Linear"
STEP = "images.transforms.0"


def message_of(leaf, facts=FACTS, key="model", **more):
    with pytest.raises(ConfigError) as caught:
        build(key, leaf, facts, **more)
    (problem,) = caught.value.problems
    assert "\n" not in problem
    return problem


def test_facts_stand_in_for_their_names():
    leaf = {"_target_": LINEAR, "in_features": "@num_channels", "out_features": "@num_classes"}
    layer = build("model", leaf, FACTS)
    assert isinstance(layer, torch.nn.Linear)
    assert (layer.in_features, layer.out_features) == (3, 4)
    assert leaf["in_features"] == "@num_channels"


def test_facts_are_found_in_lists_and_nested_leaves():
    leaf = {
        "_target_": "monai.transforms.Compose",
        "transforms": [
            {"_target_": "monai.transforms.Resize", "spatial_size": ["@num_channels", 7]},
            {"_target_": "monai.transforms.Resize", "spatial_size": "@spatial_size"},
        ],
    }
    made = build("images.transforms.0", leaf, FACTS)
    assert isinstance(made, Compose)
    assert all(isinstance(step, Resize) for step in made.transforms)
    assert [list(step.spatial_size) for step in made.transforms] == [[3, 7], [5, 6]]


def test_values_arrive_as_plain_python(lab):
    lab("def keep(**values):\n    return lambda: values\n")
    found = build(
        "images.transforms.0",
        {
            "_target_": "my_lab.keep",
            "inner": {"sizes": [1, {"a": (2, "b")}]},
            "text": "${x:y}",
        },
    )()
    assert found == {"inner": {"sizes": [1, {"a": [2, "b"]}]}, "text": "${x:y}"}
    assert type(found["inner"]) is dict
    assert type(found["inner"]["sizes"]) is list


def test_arguments_that_a_config_cannot_hold_are_passed_as_they_are():
    network = torch.nn.Linear(2, 2)
    optimizer = build(
        "optimizer", {"_target_": "torch.optim.SGD", "lr": 0.1}, params=list(network.parameters())
    )
    assert optimizer.param_groups[0]["params"][0] is network.weight
    scheduler = build(
        "scheduler",
        {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0},
        optimizer=optimizer,
    )
    assert scheduler.optimizer is optimizer


def test_an_unknown_fact_names_its_key_and_the_known_ones():
    leaf = {"_target_": LINEAR, "in_features": 1, "nested": {"deep": [0, "@num_clases"]}}
    assert message_of(leaf) == (
        "model.nested.deep.1: unknown fact '@num_clases'; "
        "known are @num_channels, @num_classes, @spatial_size"
    )
    assert message_of({"_target_": LINEAR, "in_features": "@x"}, facts=None) == (
        "model.in_features: unknown fact '@x'; known are none here"
    )


def test_a_wrong_argument_names_the_class_and_what_it_takes():
    message = message_of({"_target_": LINEAR, "in_featres": 3, "out_features": 2})
    assert message == (
        "model: torch.nn.Linear: Linear.__init__() got an unexpected keyword argument "
        "'in_featres'; it takes in_features, out_features, bias, device, dtype"
    )


def test_a_missing_argument_is_told():
    message = message_of({"_target_": LINEAR, "in_features": 3})
    assert "missing 1 required positional argument: 'out_features'; it takes in_feat" in message


def test_a_wrong_argument_of_a_nested_class_tells_what_that_one_takes():
    inner = {"_target_": "monai.transforms.Resize", "size": [3, 3]}
    message = message_of({"_target_": "monai.transforms.Compose", "transforms": [inner]}, key=STEP)
    assert message.startswith(
        f"{STEP}.transforms.0: monai.transforms.Resize: Resize.__init__() got"
    )
    assert "'size'; it takes spatial_size, " in message


@pytest.mark.parametrize("target", ["torch.nn.Liner", "torch.nnn.Linear"])
def test_a_class_that_does_not_exist_is_named(target):
    message = message_of({"_target_": target, "in_features": 3})
    assert message.startswith(
        f"model._target_: {target} cannot be imported: AttributeError: module"
    )


def test_what_a_class_itself_refuses_is_told():
    message = message_of({"_target_": "torch.nn.Dropout", "p": 1.5})
    assert message.startswith("model: torch.nn.Dropout: dropout probability has to be between 0")
    assert "it takes" not in message


# --- plugins: a user's own code


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A function that writes ./my_lab.py, in a new current folder, for `plugins=[my_lab]`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(code, path="my_lab.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(code)

    return write


NETWORK = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.LazyLinear(num_classes))

def make_net(num_classes):
    return Net(num_classes)

def add_one(image):
    return image + 1

class AddTwo:
    def __call__(self, image):
        return image + 2

SIZE = 3
"""


def with_plugin(*overrides):
    return load_config(["manifest=demo", "plugins=[my_lab]", *overrides])


def test_a_model_may_be_a_class_or_function_of_a_plugin(lab):
    lab(NETWORK)
    for target in ("my_lab.Net", "my_lab.make_net"):
        config = with_plugin("~model", f"+model={{_target_:{target},num_classes:'@num_classes'}}")
        check_leaves(config)
        network = build("model", config.model, FACTS)
        assert network(torch.zeros(2, 1, 3, 3)).shape == (2, 4)


@pytest.mark.slow
def test_a_child_process_finds_the_plugin_too(lab):
    lab(NETWORK)
    config = with_plugin("model={_target_:my_lab.Net,num_classes:2}")
    call_in_child(check_leaves, config)


def test_a_transform_of_a_plugin_is_anything_that_can_be_called(lab):
    lab(NETWORK)
    assert build(STEP, {"_target_": "my_lab.AddTwo"})(1) == 3
    message = message_of({"_target_": "my_lab.add_one", "image": 1}, key=STEP)
    assert message == f"{STEP}: my_lab.add_one must give something to call, got a int"


def test_what_a_plugin_gives_must_be_what_the_setting_needs(lab):
    lab(NETWORK)
    message = message_of({"_target_": "my_lab.add_one", "image": 1})
    assert message == "model: my_lab.add_one must give a torch.nn.Module, got a int"
    assert message_of({"_target_": "my_lab.SIZE"}).endswith("my_lab.SIZE is no class or function")


@pytest.mark.parametrize("code", ["def broken(:", "1 / 0", "import nothing_like_this"])
def test_a_plugin_that_cannot_be_imported_is_named(lab, code):
    lab(code)
    message = message_of({"_target_": "my_lab.Net"})
    assert message.startswith("model._target_: my_lab.Net cannot be imported: ")


def test_without_being_named_a_plugin_is_refused_and_not_imported(lab):
    lab("open('marker', 'w')")
    with pytest.raises(ConfigError, match=r"must begin with one of torch\., monai\."):
        load_config(["manifest=demo", "model={_target_:my_lab.Net}"])
    with_plugin()
    plugin_facts("my_lab")
    assert not list(sys.modules.keys() & {"my_lab"})


@pytest.mark.parametrize("name", ["os", "subprocess", "torch", "pipeline", "my lab", "a.b", "../x"])
def test_a_name_that_can_be_no_plugin_is_refused(name):
    with pytest.raises(ConfigError, match="plugins: must name packages or modules of yours"):
        load_config(["manifest=demo", f"plugins=['{name}']"])


@pytest.mark.usefixtures("lab")
def test_a_plugin_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"no module 'my_lab': neither \./my_lab\.py nor an inst"):
        with_plugin()


def test_the_facts_of_a_plugin_follow_its_code(lab, tmp_path):
    lab(NETWORK)
    facts = plugin_facts("my_lab")
    assert facts["file"] == str(tmp_path / "my_lab.py")
    lab(NETWORK + "# changed")
    assert plugin_facts("my_lab")["sha256"] != facts["sha256"]
    assert plugin_facts("hydra")["file"].endswith("__init__.py")


def test_the_facts_of_a_package_follow_all_its_files(lab):
    lab("", "my_lab/__init__.py")
    lab(NETWORK, "my_lab/nets.py")
    before = plugin_facts("my_lab")
    assert before == plugin_facts("my_lab")
    lab(NETWORK + "# changed", "my_lab/nets.py")
    assert plugin_facts("my_lab")["sha256"] != before["sha256"]
    assert build("model", {"_target_": "my_lab.nets.Net", "num_classes": 2})


def test_an_installed_plugin_has_its_version():
    assert plugin_facts("pytest")["version"] == pytest.__version__
