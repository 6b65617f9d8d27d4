"""Optuna as Hydra's sweeper: what it is given beside the command line, and what is refused."""

import logging
import math
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from omegaconf import Container, OmegaConf

from pipeline.config import UserError

OPTUNA = "optuna"
ASKED = f"hydra/sweeper={OPTUNA}"
PLUGIN = "hydra_plugins.hydra_optuna_sweeper"
DIRECTION = "hydra.sweeper.direction"
OWN = {
    "hydra.sweeper.n_jobs": "1",  # each setting is drawn when all before it are known
    "hydra.sweeper.max_failure_rate": "1",  # a job that fails ends no sweep
}
"""What the sweeper gets unless the command line says otherwise."""
NO_TRIAL = "No trials are completed yet."


def _better(setting: str, *, _root_: Container) -> str:
    """Whether the metric that a setting names is to be made small or large."""
    return "minimize" if OmegaConf.select(_root_, setting) == "val/loss" else "maximize"


OmegaConf.register_new_resolver("better", _better, replace=True)


def with_optuna(flags: Sequence[str], settings: Sequence[str]) -> list[str]:
    """The settings, with what Optuna's sweeper needs where they ask for it.

    The direction follows from training.select_by: nobody makes an AUROC small by mistake.

    Raises:
        UserError: the extra is not installed, it is no sweep, or the settings cannot be searched.
    """
    if ASKED not in settings:
        return list(settings)
    if find_spec("hydra_plugins") is None or find_spec(PLUGIN) is None:
        raise UserError(f"{ASKED}: Optuna is not installed: pip install 'patientfold[optuna]'")
    if problems := list(_problems(flags, settings)):
        raise UserError("\n".join(problems))
    _be_quiet()
    given = {setting.partition("=")[0].lstrip("+") for setting in settings}
    own = [f"{name}={value}" for name, value in OWN.items() if name not in given]
    return [*settings, *own, DIRECTION + "=${better:training.select_by}"]


def _problems(flags: Sequence[str], settings: Sequence[str]) -> Iterator[str]:
    if not {"-m", "--multirun"} & set(flags):
        yield f"{ASKED}: it searches with -m, patientfold cv -m ..."
    names = [setting.lstrip("+").partition("=")[0] for setting in settings]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name}: given twice, and Optuna would search neither; leave one out"
    for setting in settings:
        name, _, value = setting.lstrip("+").partition("=")
        if name == DIRECTION:
            yield f"{setting}: the direction follows from training.select_by; leave it out"
        if name == "training.select_by" and re.search(r",|choice\(", value):
            yield f"{setting}: values of two metrics do not compare; search with one"


def _be_quiet() -> None:
    """What it draws is told by the jobs; a failure too."""
    from optuna import logging as of_optuna  # takes a second

    of_optuna.set_verbosity(logging.ERROR)
    logging.getLogger(f"{PLUGIN}._impl").setLevel(logging.CRITICAL)


def is_of_no_trial(error: BaseException | None) -> bool:
    """Whether it says that no job is done, which the table of jobs has said."""
    return isinstance(error, ValueError) and str(error) == NO_TRIAL


def value_of_failure(sweeper: str) -> float | None:
    """What a sweeper is given for a job that failed: nan, or what Optuna takes for a failure."""
    return None if sweeper == OPTUNA else math.nan
