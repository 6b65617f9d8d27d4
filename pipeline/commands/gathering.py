"""The folds that several commands have trained, put together; `patientfold report` calls it."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pipeline.commands.cv import ready
from pipeline.commands.reporting import REPORT, report_at_end
from pipeline.commands.trusted import trusted_uri
from pipeline.config import UserError
from pipeline.console import say, warn
from pipeline.engine.access import IN_USE
from pipeline.engine.again import check_same, config_again
from pipeline.engine.finished import Finished
from pipeline.engine.session import report
from pipeline.engine.standby import standing_by
from pipeline.files import lock
from pipeline.tracking.mirror import sync
from pipeline.words import one_line


def gather(run_dir: Path, plugins: Sequence[str], console: Console) -> None:
    """Write what is of all folds: numbers, report, the parent run in MLflow.

    Nothing is trained, and so no device is looked for.

    Raises:
        UserError: data or settings are not those of the run any more, or a command is at work.
    """
    config = config_again(Finished.begun(run_dir), plugins)
    run, _ = ready(config, console, slots_of=lambda _config: [])
    check_same(run, "Its folds were not put together.")
    with lock(run.dir / ".lock", IN_USE.format(run.dir)), standing_by(*REPORT) as standby:
        report(run, standby, console)
        report_at_end(run.dir, console, standby)
        try:
            say(
                [one_line(sync(run.dir, trusted_uri(run.dir, "sync", f"run_dir={run.dir}")))],
                console,
            )
        except UserError as error:  # no run of this kind is lost: the folder has all of it
            warn([one_line(f"MLflow is behind the run folder: {error}")], console)
