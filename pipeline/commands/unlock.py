"""Open the locked patients, once: patientfold unlock run_dir=runs/demo/KEY

With split.locked_fraction=0.2 a fifth of the patients is in no fold. When all settings are chosen,
this predicts them with one run: the mean of its folds' models, each normalised by its own fold;
decisions by the median of the folds' thresholds. Writes locked/predictions.csv and
locked/metrics.json into the run folder, and that they were opened into the ledger.

It works once for a plan. again=true opens them for another run, which is on record too.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from pipeline.commands.cv import ready
from pipeline.commands.settings import UnlockSettings
from pipeline.config import LEDGER, Config, UserError
from pipeline.console import say
from pipeline.engine.access import IN_USE
from pipeline.engine.door import predicting_slots
from pipeline.engine.finished import Finished
from pipeline.engine.unlocking import LockedPart, check_same_run, config_of
from pipeline.evaluation.console import print_summary
from pipeline.evaluation.summary import levels_of
from pipeline.files import lock
from pipeline.tracking.ledger import Entry, refuse_reopening, tries_of
from pipeline.words import counted


def main(settings: UnlockSettings) -> None:
    """Check, predict, record, write and tell, in this order."""
    console = Console()
    finished = Finished.read(Path(settings.run_dir))
    config = config_of(finished, settings.plugins)
    ledger = _ledger(settings, config)
    refuse_reopening(ledger, finished.plan[0]["plan_hash"], finished.key, settings.again)
    run, slots = ready(config, console, predicting_slots)
    check_same_run(run)
    with lock(run.dir / ".lock", IN_USE.format(run.dir)):
        locked = LockedPart(run)
        probabilities = locked.probabilities(slots)  # a mistake here opens nothing
        opened = locked.record(ledger, settings.again)
        summary = locked.write(probabilities, opened)
    print_summary(summary, levels_of(summary)[0], console)
    say(_lines(locked), console)
    tries = tries_of(run.plan.hash, ledger)
    say(_verdict(opened, 0 if tries is None else tries.num), console, style="bold")


def _ledger(settings: UnlockSettings, config: Config) -> Path:
    """The ledger of the study; one that only the run folder names is not written."""
    if settings.ledger is not None:
        return Path(settings.ledger)
    if (named := config.tracking.ledger) != LEDGER:
        raise UserError(
            f"the run folder names the ledger {named}, not {LEDGER}: say which it is, ledger=FILE"
        )
    return Path(LEDGER)


def _lines(locked: LockedPart) -> Iterator[str]:
    folds, patients = locked.run.plan.num_folds, len(locked.run.plan.locked)
    yield (
        f"{counted(patients, 'locked patient')}, predicted by the mean of {counted(folds, 'model')}"
        "; decisions by the median of the folds' thresholds"
    )
    yield f"written: {locked.dir}/predictions.csv, {locked.dir}/metrics.json"


def _verdict(opened: Sequence[Entry], num_tested: int) -> Iterator[str]:
    if len(opened) == 1:
        yield (
            f"opened for the first time, after {counted(num_tested, 'setting')} tested on this "
            "plan: these patients had no part in any choice"
        )
        return
    first = opened[0]
    yield (
        f"opened for {len(opened)} runs, first on {first.day} for {first.run_dir}: the best of "
        "them is optimistic, by selection; report the first, or how often you have looked"
    )
