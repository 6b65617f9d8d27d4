"""Sweeps whose jobs are processes of their own, on SLURM or here: what they need."""

import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from pipeline.config import UserError

ASKED, FOLDER = "hydra/launcher=", "hydra.sweep.dir="
PLUGIN = "hydra_plugins.hydra_submitit_launcher"
LAUNCHERS = {"submitit_slurm": "slurm", "submitit_local": "local"}
"""The plugin's name -> ours, whose file in conf/hydra/launcher has values for cross-validations."""
LOGS = ".submitit"
"""Where, in the sweep's folder, the jobs write what a terminal would show."""


def with_launcher(flags: Sequence[str], settings: Sequence[str]) -> list[str]:
    """The settings; where they ask for one of LAUNCHERS, with a folder that this process knows.

    Raises:
        UserError: the extra or SLURM is not installed, or it is no sweep.
    """
    if (name := _launcher(settings)) is None:
        return list(settings)
    if problems := list(_problems(name, flags)):
        raise UserError("\n".join(problems))
    ours = [text for text in settings if not text.lstrip("+").startswith(ASKED)]
    ours.append(f"{ASKED}{name}")
    if _value(settings, FOLDER) is not None:
        return ours
    return [*ours, f"{FOLDER}runs/sweeps/{datetime.now():%Y-%m-%d_%H-%M-%S}"]


def _problems(name: str, flags: Sequence[str]) -> Iterator[str]:
    if find_spec("hydra_plugins") is None or find_spec(PLUGIN) is None:
        yield f"{ASKED}{name}: submitit is not installed: pip install 'patientfold[slurm]'"
    if not {"-m", "--multirun"} & set(flags):
        yield f"{ASKED}{name}: it runs the jobs of a sweep, patientfold cv -m ..."
    if name == "slurm" and shutil.which("srun") is None:
        yield (
            f"{ASKED}{name}: no srun is here; submit from a machine of the cluster, or run the "
            f"jobs side by side on this one, {ASKED}local"
        )


def goes_on_alone(settings: Sequence[str]) -> bool:
    """Whether the jobs do not end with the command that waits for them."""
    return _launcher(settings) == "slurm"


def sweep_dir_of(settings: Sequence[str]) -> Path | None:
    """The folder of a sweep whose jobs are other processes; None for one that runs in this."""
    folder = _value(settings, FOLDER)
    return None if _launcher(settings) is None or folder is None else Path(folder)


def _launcher(settings: Sequence[str]) -> str | None:
    """Ours that is asked for."""
    name = _value(settings, ASKED) or ""
    name = LAUNCHERS.get(name, name)
    return name if name in LAUNCHERS.values() else None


def _value(settings: Sequence[str], name: str) -> str | None:
    given = [text.lstrip("+") for text in settings]
    return next((t.removeprefix(name) for t in reversed(given) if t.startswith(name)), None)
