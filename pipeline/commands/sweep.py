"""A multirun: what each job is called, and the table by which settings are chosen at its end."""

import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from hydra.types import RunMode
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from pipeline.config import UserError
from pipeline.console import cell, say
from pipeline.engine.session import Outcome
from pipeline.tracking.server import SQLITE, absolute_tracking_uri
from pipeline.words import one_line

NO_SETTING = (
    *("experiment=", "manifest", "run_dir=", "name=", "folds=", "tracking.", "engine.", "privacy."),
    *("images.cache_dir=", "images.num_processes="),
)
"""Overrides that a run is not called by: what is learned from, where it runs and is kept."""


@dataclass
class Job:
    """One combination of a multirun's settings."""

    overrides: Sequence[str]
    sweep_dir: Path
    uri: str
    """Of MLflow."""
    outcome: Outcome | None = None
    error: str = ""


JOBS: list[Job] = []
"""Of this process; Hydra's own launcher runs them one after the other."""


@contextmanager
def sweep_job(hydra: Any, uri: str) -> Iterator[Job]:
    """Says which settings are tried, and keeps what came of them for the table."""
    JOBS.append(job := Job(given(hydra), Path(hydra.sweep.dir), uri))
    line = one_line(f"job {hydra.job.num}: {shlex.join(job.overrides)}")
    say(["", line], Console(), style="bold")
    try:
        yield job
    except UserError as error:
        job.error = shorten(str(error), 200, placeholder="…")
        raise


def end_of_sweep() -> None:
    """Print the jobs, the best first, by the mean of the validation metric over folds.

    Folders that Hydra made for the jobs and nobody filled are removed. Nothing without a sweep.
    """
    if not JOBS:
        return
    for folder in sorted(JOBS[0].sweep_dir.glob("*/")):
        with suppress(OSError):  # it holds something
            folder.rmdir()
    console = Console()
    console.print(_table(JOBS))
    say([one_line(f"compare the runs: {look_at(JOBS[0].uri)}")], console)


def _table(jobs: Sequence[Job]) -> Table:
    done = [(job, job.outcome) for job in jobs if job.outcome is not None]
    select_by = done[0][1].select_by if done else ""
    lowest_first = select_by == "val/loss"
    done.sort(key=lambda pair: pair[1].mean if lowest_first else -pair[1].mean)
    varied = [set(job.overrides) for job in jobs]
    same = set.intersection(*varied) if len(jobs) > 1 else set()
    table = Table(title=f"{select_by}: mean over folds, smallest to largest, best first")
    for name in ("settings", "mean", "folds", "run folder"):
        table.add_column(name, overflow="fold")
    for job, outcome in done:
        spread = f"{min(outcome.values):.3f} to {max(outcome.values):.3f}"
        cells = (_of(job, same), f"{outcome.mean:.3f}", spread, str(outcome.run_dir))
        table.add_row(*map(cell, cells))
    for job in jobs:
        if job.outcome is None:
            table.add_row(cell(_of(job, same)), "failed", "", cell(job.error))
    return table


def _of(job: Job, same: set[str]) -> str:
    return " ".join(override for override in job.overrides if override not in same)


def given(hydra: Any) -> list[str]:
    """The overrides of a command or a job; what `${oc.env:...}` stands for is not filled in."""
    overrides = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return [str(override) for override in overrides]


def in_short(hydra: Any) -> str:
    """A run is called by its network and the settings that were given: `resnet10 lr=1e-3`.

    Of a sweep only those that it varies, which are not in the command as they are in the job.
    """
    named = [o for o in given(hydra) if not o.startswith(NO_SETTING)]
    if hydra.mode == RunMode.MULTIRUN:
        named = [o for o in named if o not in sys.argv]
    settings = [o.lstrip("+") for o in named if "=" in o and not o.startswith("model=")]
    choices: Mapping[str, str] = hydra.runtime.choices
    last = [o.partition("=")[0].rpartition(".")[2] for o in settings]
    words = [
        f"{name}={short(o.partition('=')[2])}" if last.count(name) == 1 else o
        for name, o in zip(last, settings, strict=True)
    ]
    return " ".join([str(choices["model"]), *words])


def short(value: str) -> str:
    """A small number as one writes it by hand, 0.0003 as 3e-4; anything else as it is."""
    try:
        number = float(value)
    except ValueError:
        return value
    if not 0 < abs(number) < 0.01:
        return value
    digits, exponent = f"{number:.6e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"


def look_at(uri: str) -> str:
    """How to see the runs in MLflow."""
    if uri.startswith("http"):
        return uri
    if uri.startswith(f"{SQLITE}~"):
        uri = absolute_tracking_uri(uri)
    ui = shlex.join([typed("mlflow"), "ui", "--backend-store-uri", uri])
    return f"MLFLOW_DISABLE_TELEMETRY=true {ui}"


def typed(command: str) -> str:
    """A command as it can be typed here: with its path where the shell does not find it."""
    beside = Path(sys.executable).with_name(command)
    if shutil.which(command) or not beside.exists():
        return command
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)
