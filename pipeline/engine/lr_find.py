"""The range test of a run's first fold: made in a worker, drawn, told as a setting."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from pipeline.config import Config, ConfigError, UserError
from pipeline.config.leaf import is_baseline
from pipeline.console import say
from pipeline.engine.devices import one_device
from pipeline.engine.run_folder import Run
from pipeline.engine.session import try_out
from pipeline.files import make_private, write_whole
from pipeline.processes import call_in_child
from pipeline.training.job import FoldJob
from pipeline.words import counted, one_line

PLOT, TABLE = "range_test.png", "range_test.csv"


def check_asked(config: Config) -> None:
    """UserError for a model without a learning rate, or rates that do not rise."""
    if is_baseline(config.model):
        raise UserError(
            "lr-find: a baseline is fitted without steps, so that it has no learning rate; choose "
            "a network, e.g. model=lenet5"
        )
    if config.lr_find.lowest >= config.lr_find.highest:
        problem = (
            f"lr_find.lowest={config.lr_find.lowest:g} must be less than "
            f"lr_find.highest={config.lr_find.highest:g}"
        )
        raise ConfigError([problem])


def find_lr(run: Run, slots: Sequence[str], console: Console) -> str:
    """Write range_test.png and range_test.csv; the suggestion, as a setting.

    Raises:
        UserError: when the loss falls at no rate.
    """
    config = run.config
    say(try_out(run), console)
    job = replace(run.job(run.folds[0]), device=one_device(slots[0]))
    folder = Path("runs") / "lr-find" / config.name
    make_private(folder)
    asked = config.lr_find
    say(
        [
            f"range test of fold {job.fold.index}: {counted(asked.steps, 'step')} from "
            f"{asked.lowest:g} to {asked.highest:g}, on its train part"
        ],
        console,
    )
    setting, told = call_in_child(_test, job, folder, config.engine.threads_per_fold)
    say([told, one_line(f"written: {folder / PLOT}, {folder / TABLE}")], console)
    if setting is None:
        raise UserError(
            "lr-find: the loss falls at no rate, so that there is nothing to suggest. "
            "`patientfold preflight` says whether the network can learn at all; with "
            "lr_find.steps=300 it has more time"
        )
    say([f"suggestion: {setting} (where the loss falls steepest)"], console)
    return setting


def _test(job: FoldJob, folder: Path, num_threads: int) -> tuple[str | None, str]:
    """In a worker, with torch: the suggestion, and how the test ended."""
    from pipeline.training.device import prepare
    from pipeline.training.range_test import plot_range_test, range_test

    prepare(job.config.training, job.device, num_threads)
    found = range_test(job)
    plot_range_test(found, f"{job.config.name}, fold {job.fold.index}: range test", folder / PLOT)
    columns = zip(found.rates, found.losses, found.smoothed, strict=True)
    rows = [f"{rate:.6g},{loss:.6g},{smooth:.6g}" for rate, loss, smooth in columns]
    write_whole(folder / TABLE, "\n".join(["lr,loss,smoothed", *rows, ""]))
    num = len(found.rates)
    ended = "after" if found.ran_away else "did not run away in"
    told = f"the loss {'ran away ' * found.ran_away}{ended} {counted(num, 'step')}"
    return found.setting, told
