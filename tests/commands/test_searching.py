"""Optuna as the sweeper: its direction, what is refused, and what is said where it is missing."""

import sys
from pathlib import Path

import pytest
from command_line import called
from hydra import compose, initialize_config_dir

from pipeline.commands.door import CONF_DIR, _prepare
from pipeline.commands.searching import ASKED, with_optuna
from pipeline.config import UserError


@pytest.mark.slow  # importing Optuna takes seconds
@pytest.mark.parametrize(
    ("more", "direction"),
    [
        ([], "maximize"),
        (["training.select_by=val/patient/auroc"], "maximize"),
        (["training.select_by=val/loss"], "minimize"),
    ],
)
def test_the_direction_follows_from_the_metric(more: list[str], direction: str) -> None:
    settings = with_optuna(["-m"], [ASKED, "experiment=demo", *more])
    _prepare(["-m"], settings, "cv")
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        cfg = compose("cv", overrides=settings, return_hydra_config=True)
    assert cfg.hydra.sweeper.direction == direction
    assert cfg.hydra.sweeper.n_jobs == 1


def test_other_sweeps_are_left_alone() -> None:
    assert with_optuna([], ["a=1,2"]) == ["a=1,2"]


@pytest.mark.slow
def test_what_is_given_stays() -> None:
    found = with_optuna(["-m"], [ASKED, "hydra.sweeper.n_jobs=4"])
    assert "hydra.sweeper.n_jobs=1" not in found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([ASKED], "it searches with -m"),
        (["-m", ASKED, "hydra.sweeper.direction=minimize"], "follows from training.select_by"),
        (["-m", ASKED, "training.select_by=val/loss,val/image/auroc"], "do not compare"),
        (["-m", ASKED, "model=lenet5", "model=choice(lenet5,mlp)"], "model: given twice"),
        (["-m", ASKED, "hydra.sweeper.custom_search_space=os.system"], "of Hydra's own settings"),
        (["-m", ASKED, "+hydra.sweeper.sampler.independent_sampler=x"], "of Hydra's own settings"),
    ],
)
def test_what_cannot_be_searched_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    ended = called(tmp_path, "cv", "experiment=demo", *words)
    assert ended.returncode == 1
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) <= 2
    assert not [path for path in tmp_path.iterdir() if path.name != "mlflow.db"]


def test_without_the_extra_one_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hydra_plugins.hydra_optuna_sweeper", None)
    with pytest.raises(UserError, match=r"pip install 'patientfold\[optuna\]'"):
        with_optuna(["-m"], [ASKED])
