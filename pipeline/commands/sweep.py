"""A multirun: what each job is called, and the table by which settings are chosen at its end."""

import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from pipeline.commands.arguments import in_order
from pipeline.commands.searching import OPTUNA, is_of_no_trial
from pipeline.config import UserError
from pipeline.console import cell, say, tell
from pipeline.engine.session import Outcome
from pipeline.tracking.ledger import tries_of
from pipeline.tracking.server import SQLITE, absolute_tracking_uri
from pipeline.words import counted, one_line

NO_SETTING = (
    *("experiment=", "manifest", "run_dir=", "name=", "folds=", "tracking.", "engine", "privacy."),
    *("images.cache_dir=", "images.num_processes="),
)
"""Overrides that a run is not called by: what is learned from, where it runs and is kept."""


NOT_BEGUN, STOPPED, LONGEST_REASON = "not begun", "stopped", 200
MOST_DIGITS = 10
"""Of a number that a person would write; a sweeper draws longer ones."""


@dataclass
class Job:
    """One combination of a multirun's settings."""

    overrides: Sequence[str]
    sweep_dir: Path
    uri: str = ""
    """Of MLflow."""
    outcome: Outcome | None = None
    error: str = NOT_BEGUN
    """Why there is no outcome."""
    ledger: str | None = None
    """The file in which it is counted."""


JOBS: list[Job] = []
"""Of this process; Hydra's own launcher runs them one after the other."""


@contextmanager
def sweep_job(in_words: Callable[[Exception], str | None]) -> Iterator[None]:
    """Say which settings are tried, and keep what comes of them for the table.

    What a user can mend, as `in_words` says it, is told at once, and the other jobs go on.
    """
    hydra = HydraConfig.get()
    if not JOBS:
        JOBS.extend(Job(overrides, Path(hydra.sweep.dir)) for overrides in _planned(hydra))
    number, is_planned = hydra.job.num, hydra.job.num < len(JOBS)
    num = len(JOBS) if is_planned else hydra.sweeper.get("n_trials")
    name = f"job {number + 1}" + (f" of {num}" if num else "")
    if not is_planned:
        JOBS.append(Job((), Path(hydra.sweep.dir)))
    job = JOBS[number] if is_planned else JOBS[-1]
    job.overrides, job.error = given(hydra), STOPPED
    say(["", one_line(f"{name}: {shlex.join(job.overrides)}")], Console(), style="bold")
    try:
        yield
    except Exception as error:
        message = in_words(error)
        told = message or f"{type(error).__name__}: {error}"
        job.error = shorten(told, LONGEST_REASON, placeholder="…")
        tell(f"error: {name}: {told}", sys.stderr)
        choices = hydra.runtime.choices
        if message is None and choices["hydra/sweeper"] == OPTUNA:
            traceback.print_exc()  # it goes on, and shows none
        if message is None or choices["hydra/launcher"] != "basic":
            raise  # our own mistake; or the jobs run in processes that print no table


def current_job() -> Job:
    """The job of the sweep that this process is at."""
    return next(job for job in JOBS if job.error == STOPPED and job.outcome is None)


def outcomes() -> list[Outcome]:
    """What the jobs of this process have come to."""
    return [job.outcome for job in JOBS if job.outcome is not None]


def learning_sweeper(hydra: Any) -> str:
    """The sweeper that draws settings by what came of those before; "" for a grid."""
    name = str(hydra.runtime.choices["hydra/sweeper"])
    return "" if name == "basic" else name


def _planned(hydra: Any) -> list[list[str]]:
    """The settings of all jobs to come; none where a sweeper draws them as it learns."""
    if learning_sweeper(hydra):
        return []
    _, settings = in_order(sys.argv[1:])
    named = [text for text in settings if not text.lstrip("+").startswith("hydra")]
    (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(named), None)
    return [list(job) for job in jobs]


def end_of_sweep() -> None:
    """Print all jobs, the best first, by the mean of the validation metric over folds.

    Folders that Hydra made for the jobs and nobody filled are removed. Nothing without a sweep.

    Raises:
        UserError: when a job failed, unless something else ends the command.
    """
    jobs = [*JOBS]
    JOBS.clear()
    if not jobs:
        return
    for folder in sorted(jobs[0].sweep_dir.glob("*/")):
        with suppress(OSError):  # it holds something
            folder.rmdir()
    console = Console()
    console.print(_table(jobs))
    say(_counts(jobs), console, style="bold")
    if uri := next((job.uri for job in jobs if job.uri), ""):
        say([one_line(f"compare the runs: {look_at(uri)}")], console)
    num_done = sum(job.outcome is not None for job in jobs)
    of_all = f"of {counted(len(jobs), 'job')}"
    if any(job.outcome is None and job.error in (STOPPED, NOT_BEGUN) for job in jobs):
        say([f"{num_done} {of_all} done; the same command trains only what is missing"], console)
    elif num_done < len(jobs) and (sys.exception() is None or is_of_no_trial(sys.exception())):
        raise UserError(f"{len(jobs) - num_done} {of_all} failed; the same command tries again")


def _counts(jobs: Sequence[Job]) -> list[str]:
    """How many settings were tested on each plan of the sweep, and what that means."""
    plans = {(job.outcome.plan, job.ledger) for job in jobs if job.outcome and job.ledger}
    notes = []
    for plan, ledger in sorted(plans):
        with suppress(UserError):  # the jobs have warned
            tries = tries_of(plan, Path(ledger))
            notes += [tries.note] if tries is not None and tries.note else []
    return notes


def _table(jobs: Sequence[Job]) -> Table:
    done = [(job, job.outcome) for job in jobs if job.outcome is not None]
    select_by = done[0][1].select_by if done else ""
    sign = 1 if select_by == "val/loss" else -1
    done.sort(key=lambda pair: (pair[1].pruned is not None, sign * pair[1].mean))
    varied = [set(job.overrides) for job in jobs]
    same = set.intersection(*varied) if len(jobs) > 1 else set()
    order = f"{select_by}: mean over folds, smallest to largest, best first"
    table = Table(title=order if done else "no job is done")
    for name in ("job", "settings", "mean", "folds", "run folder, or why there is none"):
        table.add_column(name, overflow="fold")
    number = {id(job): str(i) for i, job in enumerate(jobs, start=1)}
    for job, outcome in done:
        spread = f"{min(outcome.values):.3f} to {max(outcome.values):.3f}"
        mean, folder = f"{outcome.mean:.3f}", str(outcome.run_dir)
        if outcome.pruned is not None:
            folder = f"{folder}: stopped after {counted(len(outcome.folds), 'fold')}"
        table.add_row(number[id(job)], cell(_of(job, same)), mean, spread, cell(folder))
    for job in jobs:
        if job.outcome is None:
            table.add_row(number[id(job)], cell(_of(job, same)), "-", "-", cell(job.error))
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
        return f"{number:.6g}" if "." in value and len(value) > MOST_DIGITS else value
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
