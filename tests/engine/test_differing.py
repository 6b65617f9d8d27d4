"""In what two run folders differ."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from run_copies import copy_of

from pipeline.config import UserError
from pipeline.engine.differing import ABSENT, Difference, differences
from pipeline.engine.soundness import read_environment
from pipeline.files import write_json


@pytest.fixture
def runs(one_run: Path, tmp_path: Path) -> tuple[Path, Path]:
    settings = {"training.seed": 7, "name": "other", "run_dir": "elsewhere"}
    return one_run, copy_of(one_run, tmp_path / "second", settings)


def test_what_the_numbers_depend_on_stands_apart(runs: tuple[Path, Path]) -> None:
    found = differences(*runs)
    assert found.numbers == (Difference("training.seed", "0", "7"),)
    assert Difference("name", "cohort", "other") in found.other
    assert "run_dir" not in [of.name for of in found.other]
    assert not found.is_same


def test_a_run_does_not_differ_from_itself(runs: tuple[Path, Path]) -> None:
    found = differences(runs[0], runs[0])
    assert (found.numbers, found.other, found.software) == ((), (), ())
    assert found.is_same


def test_a_setting_that_an_older_run_does_not_know_has_its_default_there(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    old = copy_of(runs[0], tmp_path / "old")
    config: Any = OmegaConf.load(old / "config.yaml")
    environment = read_environment(old)
    del config["training"]["patience"]
    del config["split"]["locked_fraction"]
    del environment["identity"]["training.patience"]
    OmegaConf.save(config, old / "config.yaml")
    write_json(old / "environment.json", environment)
    found = differences(old, runs[0])
    assert found.is_same
    assert found.other == ()


def test_software_and_plugins_are_told(runs: tuple[Path, Path], tmp_path: Path) -> None:
    other = copy_of(runs[0], tmp_path / "other")
    environment = read_environment(other)
    environment["packages"]["patientfold"] = "0.0.9"
    environment["plugins"] = {"my_lab": {"sha256": "abc"}}
    write_json(other / "environment.json", environment)
    told = differences(runs[0], other).software
    assert Difference("packages.patientfold", "0.1.0", "0.0.9") in told
    assert Difference("plugins.my_lab.sha256", ABSENT, "abc") in told


def test_what_is_no_run_or_was_changed_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        differences(runs[0], tmp_path / "nowhere")
    with pytest.raises(UserError, match="not the folder of a run"):
        differences(tmp_path, runs[0])
    other = copy_of(runs[0], tmp_path / "other")
    environment = read_environment(other)
    write_json(other / "environment.json", environment | {"config_sha256": "0"})
    with pytest.raises(UserError, match=r"config.yaml was changed"):
        differences(runs[0], other)
    (other / "linked").symlink_to(tmp_path)
    with pytest.raises(UserError, match="reaches out of itself"):
        differences(runs[0], other)
