"""Settings of Python arrive as the same values as those of a command line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from pipeline.commands.door import composed
from pipeline.commands.overrides import overrides_of
from pipeline.config import ConfigError


@pytest.mark.parametrize(
    ("settings", "texts"),
    [
        ({"experiment": "demo"}, ["experiment=demo"]),
        ({"training": {"epochs": 5, "patience": 0}}, ["training.epochs=5", "training.patience=0"]),
        ({"split.num_folds": 3}, ["split.num_folds=3"]),
        ({"manifest": {"columns": {"site": None}}}, ["manifest.columns.site=null"]),
        ({"manifest.columns": {"site": "site"}}, ["manifest.columns.site=site"]),
        ({"folds": [0, 2]}, ["folds=[0,2]"]),
        ({"folds": (0,)}, ["folds=[0]"]),
        ({"optimizer": {"lr": 3e-4}}, ["optimizer.lr=0.0003"]),
        ({"optimizer": {"lr": np.float32(0.5)}}, ["optimizer.lr=0.5"]),
        ({"training": {"epochs": np.int64(5)}}, ["training.epochs=5"]),
        ({"privacy": {"pseudonyms": True}}, ["privacy.pseudonyms=true"]),
        ({"manifest": {"path": Path("a/my.csv")}}, ["manifest.path=a/my.csv"]),
        ({"manifest": {"path": "my data,1.csv"}}, ["manifest.path='my data,1.csv'"]),
        ({"name": "007"}, ["name='007'"]),
        ({"name": "True"}, ["name='True'"]),
        ({"evaluation": {"metrics": {"f2": "my_lab.f2"}}}, ["evaluation.metrics={f2:my_lab.f2}"]),
        ({"model": "resnet10", "images": {"size": [64]}}, ["model=resnet10", "images.size=[64]"]),
    ],
)
def test_as_a_command_line_has_it(settings: dict[str, Any], texts: list[str]) -> None:
    assert overrides_of(settings) == texts


@pytest.mark.parametrize("value", [object(), b"bytes", 1j])
def test_what_no_setting_is_names_the_setting(value: object) -> None:
    with pytest.raises(ConfigError, match=r"split\.seed: must be text, a number"):
        overrides_of({"split": {"seed": value}})


def test_a_class_of_ones_own_gets_a_file() -> None:
    with pytest.raises(ConfigError, match=r"model: .* conf/model/<name>.yaml"):
        overrides_of({"model": {"_target_": "my_lab.Net"}})


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_any_text_arrives_as_it_is(text: str) -> None:
    """But for `$`, which begins an interpolation as on a command line."""
    text = text.replace("$", "")
    assert value_of(text) == text


def value_of(text: str) -> object:
    """What Hydra makes of it."""
    (override,) = overrides_of({"manifest": {"hint": text}})
    return OverridesParser.create().parse_override(override).value()


@pytest.mark.parametrize(
    "text", ["a\\", "it's", "\\'", "a\\\\'b", "{a:b}", "[a]", " a ", "1e3", "nan", ""]
)
def test_signs_of_the_grammar_are_text(text: str) -> None:
    assert value_of(text) == text


def test_a_dict_a_list_and_text_arrive_as_values() -> None:
    """Through Hydra and the schema, as a command's do."""
    asked = overrides_of(
        {
            "manifest": {"path": "my data,1.csv", "columns": {"site": None}, "hint": "it's 007"},
            "evaluation": {"metrics": {"f2": "my_lab.f2"}},
            "images.size": [64, 32],
            "optimizer": {"lr": 1e-5},
        }
    )
    cfg = composed(asked)
    assert (cfg.manifest.path, cfg.manifest.columns.site) == ("my data,1.csv", None)
    assert cfg.manifest.hint == "it's 007"
    assert cfg.evaluation.metrics == {"f2": "my_lab.f2"}
    assert (cfg.images.size, cfg.optimizer.lr) == ([64, 32], 1e-5)
