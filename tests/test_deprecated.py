"""A setting under its former name acts, with one warning, wherever somebody wrote it."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pipeline.commands import door, sync
from pipeline.commands.door import composed, load_config
from pipeline.commands.settings import SyncSettings
from pipeline.config import (
    ConfigError,
    defaults,
    deprecated,
    distinctive,
    identity,
    recorded_today,
    to_config,
)
from pipeline.config.deprecated import overrides_today

RENAMED = {
    "training.rounds": "training.epochs",
    "dealing": "split",
    "weights": "init.weights",
    "tracking.server": "tracking.uri",
}
"""Made up: a setting within its section, a whole section, a setting that moved, one of `sync`."""


@pytest.fixture(autouse=True)
def _renamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(deprecated, "DEPRECATED", RENAMED)
    monkeypatch.setattr(deprecated, "PAST", {"training.turns": "training.epochs"})
    monkeypatch.setattr(deprecated, "_WARNED", set())
    monkeypatch.chdir(tmp_path)


def experiment(folder: Path, text: str) -> str:
    path = folder / "conf" / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# @package _global_\nname: mine\nmanifest: {{path: x.csv}}\n{text}")
    return "experiment=mine"


@pytest.mark.parametrize(
    ("former", "today"),
    [
        (["training.rounds=7"], ["training.epochs=7"]),
        (["+training.rounds=7"], ["+training.epochs=7"]),
        (["++training.rounds=7"], ["++training.epochs=7"]),
        (["~training.rounds"], ["~training.epochs"]),
        (["dealing.num_folds=4", "a=training.rounds"], ["split.num_folds=4", "a=training.rounds"]),
        (["dealing=kfold"], ["split=kfold"]),
        (["training.rounds_left=1", "dealing2.x=1"], ["training.rounds_left=1", "dealing2.x=1"]),
        (["training.turns=7"], ["training.turns=7"]),  # its time is over
    ],
)
def test_a_command_line_is_read_in_the_names_of_today(former: list[str], today: list[str]) -> None:
    assert overrides_today(former) == today


def test_on_the_command_line_it_acts_with_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["manifest.path=x.csv", "training.rounds=7", "dealing.num_folds=4", "weights=a.pt"]
    for _ in range(2):  # as the jobs of a sweep
        config = load_config(words)
    assert (config.training.epochs, config.split.num_folds) == (7, 4)
    assert config.init.weights == "a.pt"
    error = capsys.readouterr().err
    assert error.count("warning: ") == 3
    assert (
        "warning: training.rounds is called training.epochs now. What you set acts, but " in error
    )
    assert "after version 0.1 the former name will be unknown" in error


def test_in_a_config_file_it_acts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = experiment(tmp_path, "training: {rounds: 7}\ndealing: {num_folds: 4, seed: 3}\n")
    config = load_config([mine])
    assert config.training.epochs == 7
    assert (config.split.num_folds, config.split.seed, config.split.scheme) == (4, 3, "kfold")
    error = capsys.readouterr().err
    assert error.count("warning: ") == 3
    assert "dealing.num_folds is called split.num_folds now" in error


def test_what_the_command_line_says_comes_before_a_former_name_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = experiment(tmp_path, "training: {rounds: 7}\n")
    assert load_config([mine, "training.epochs=2"]).training.epochs == 2
    assert "training.rounds is called training.epochs now" in capsys.readouterr().err


def test_both_names_on_the_command_line_are_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(["manifest.path=x.csv", "training.rounds=7", "training.epochs=2"])
    assert caught.value.problems == ["training.rounds: is training.epochs, which is given too"]


def test_what_depends_on_other_settings_still_does(tmp_path: Path) -> None:
    mine = experiment(tmp_path, "training: {rounds: '${split.num_folds}'}\n")
    assert load_config([mine, "split.num_folds=4"]).training.epochs == 4


def test_nothing_is_said_where_no_former_name_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    cfg = composed(["manifest.path=x.csv"])
    assert to_config(cfg).training.epochs == defaults()["training"]["epochs"]
    assert capsys.readouterr().err == ""


def test_a_name_whose_time_is_over_is_unknown(tmp_path: Path) -> None:
    mine = experiment(tmp_path, "training: {turns: 7}\n")
    with pytest.raises(ConfigError, match=r"training\.turns: unknown setting"):
        load_config([mine])


def test_an_old_run_folder_is_understood_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    """And no new run is started for it: what it was made of is the same."""
    old = {"training": {"turns": 7, "seed": 1}, "dealing": {"seed": 2}, "split": {"num_folds": 4}}
    assert recorded_today(old) == {
        "training": {"epochs": 7, "seed": 1},
        "split": {"num_folds": 4, "seed": 2},
    }
    assert old["training"] == {"turns": 7, "seed": 1}
    now = identity(load_config(["manifest.path=x.csv", "training.epochs=7"]))
    for former in ("training.turns", "training.rounds"):
        was = {former if key == "training.epochs" else key: text for key, text in now.items()}
        assert former in was
        assert distinctive(was) == distinctive(now)
    assert capsys.readouterr().err == ""


def test_commands_that_compose_nothing_know_them_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[SyncSettings] = []
    monkeypatch.setattr(sync, "main", seen.append)
    monkeypatch.setattr(
        "sys.argv", ["patientfold sync", "run_dir=a", "tracking.server=sqlite:///b"]
    )
    door.run("sync")
    assert seen[0].tracking.uri == "sqlite:///b"
    assert "tracking.server is called tracking.uri now" in capsys.readouterr().err


def test_a_command_that_hydra_calls_knows_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = experiment(tmp_path, "training: {rounds: 7}\n")
    monkeypatch.setattr("sys.argv", ["patientfold check", mine, "dealing.num_folds=4"])
    with pytest.raises(SystemExit):  # there is no x.csv
        door.run("check")
    error = capsys.readouterr().err
    assert "training.rounds is called training.epochs now" in error
    assert "dealing.num_folds is called split.num_folds now" in error
    assert "unknown setting" not in error
    assert "x.csv" in error


def test_the_names_of_today_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what really is in the table, and no name of today is a former one."""
    monkeypatch.undo()
    cfg = composed(["manifest.path=x.csv"])
    for former, now in {**deprecated.PAST, **deprecated.DEPRECATED}.items():
        assert OmegaConf.select(cfg, now, default=composed) is not composed, now
        assert former not in (now, *deprecated.DEPRECATED.values())
