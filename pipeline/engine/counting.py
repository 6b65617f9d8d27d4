"""Every setting whose test part was opened is written into the ledger, and counted there."""

from pathlib import Path

from rich.console import Console

from pipeline.config import UserError
from pipeline.console import warn
from pipeline.engine.run_folder import Run
from pipeline.tracking.ledger import Entry, note_tested, tries_of


class Counted:
    """Writes a run into the ledger as soon as a fold of it has been tested.

    A ledger that cannot be written is a warning: no run is lost by it.
    """

    def __init__(self, run: Run, console: Console) -> None:
        self.run = run
        self.console = console
        self.is_settled = run.config.tracking.ledger is None or run.plan.unsafe

    def look(self) -> None:
        """Cheap, and called often."""
        if self.is_settled or not any(map(self.run.is_done, range(self.run.plan.num_folds))):
            return
        self.is_settled = True
        path = ledger_of(self.run)
        try:
            note_tested(path, entry_of(self.run))
        except (OSError, UserError) as error:
            reason = f"ledger {path} cannot be written" if isinstance(error, OSError) else error
            line = f"{reason}: this setting is not counted (tracking.ledger names another file)"
            warn([line], self.console)


def entry_of(run: Run) -> Entry:
    """The run's line in the ledger, as one that was tested."""
    return Entry(
        event="tested",
        plan=run.plan.hash,
        manifest=run.manifest.hash,
        key=run.key,
        name=run.config.name,
        run_dir=str(run.dir),
    )


def ledger_of(run: Run) -> Path:
    """Its ledger; not to be asked where there is none."""
    assert run.config.tracking.ledger is not None
    return Path(run.config.tracking.ledger)


def count_note(run: Run) -> list[str]:
    """How many settings were tested on the run's plan, and what that means; [] where it is one."""
    if run.config.tracking.ledger is None or run.plan.unsafe:
        return []
    try:
        tries = tries_of(run.plan.hash, ledger_of(run))
    except UserError as error:
        return [f"warning: {error}"]
    return [tries.note] if tries is not None and tries.note else []
