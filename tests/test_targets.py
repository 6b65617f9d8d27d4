import pytest
import torch
from monai.transforms import Compose, Resize

from pipeline.config import ConfigError
from pipeline.targets import build

FACTS = {"num_channels": 3, "num_classes": 4, "spatial_size": [5, 6]}
LINEAR = "torch.nn.Linear"


def message_of(leaf, facts=FACTS, **more):
    with pytest.raises(ConfigError) as caught:
        build("model", leaf, facts, **more)
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


def test_values_arrive_as_plain_python():
    found = build("x", {"_target_": "builtins.dict", "inner": {"sizes": [1, {"a": (2, "b")}]}})
    assert found == {"inner": {"sizes": [1, {"a": [2, "b"]}]}}
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
    message = message_of({"_target_": "monai.transforms.Compose", "transforms": [inner]})
    assert message.startswith("model: monai.transforms.Compose: Resize.__init__() got an unexp")
    assert "'size'; it takes spatial_size, " in message


def test_a_built_in_that_does_not_tell_what_it_takes_is_no_trouble():
    assert message_of({"_target_": "torch.zeros", "sze": 3}).startswith(
        "model: torch.zeros: zeros()"
    )


@pytest.mark.parametrize("target", ["torch.nn.Liner", "torch.nnn.Linear"])
def test_a_class_that_does_not_exist_is_named(target):
    message = message_of({"_target_": target, "in_features": 3})
    assert message.startswith(f"model: {target}: Error loading '{target}': ")


def test_what_a_class_itself_refuses_is_told():
    message = message_of({"_target_": "torch.nn.Dropout", "p": 1.5})
    assert message.startswith("model: torch.nn.Dropout: dropout probability has to be between 0")
    assert "it takes" not in message
