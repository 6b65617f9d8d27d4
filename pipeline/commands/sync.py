"""Complete the MLflow runs of a run folder: patientfold sync run_dir=runs/demo/..."""

import shlex
from pathlib import Path

from pipeline.commands.door import composed
from pipeline.commands.settings import SyncSettings
from pipeline.config import UserError
from pipeline.console import tell
from pipeline.engine.run_folder import IN_USE, refuse_void
from pipeline.engine.soundness import check_run_folder
from pipeline.files import lock, refuse_foreign_files
from pipeline.tracking.mirror import sync
from pipeline.tracking.record import RunRecord
from pipeline.tracking.server import absolute_tracking_uri
from pipeline.words import one_line


def main(settings: SyncSettings) -> None:
    """Mirror the run folder once, in the foreground; refused while a command works in it."""
    run_dir = Path(settings.run_dir)
    if not run_dir.is_dir():
        raise UserError(f"run_dir {run_dir}: no such folder (searched from {Path.cwd()})")
    refuse_foreign_files(run_dir)
    refuse_void(run_dir)
    with lock(run_dir / ".lock", IN_USE.format(run_dir)):
        check_run_folder(run_dir)
        uri = settings.tracking.uri or _trusted(run_dir)
        tell(one_line(sync(run_dir, uri, settings.tracking.upload)))


def _trusted(run_dir: Path) -> str | None:
    """The server that the run folder names, if the study's settings name it as well.

    Whoever sent the run folder could have named theirs: it would get the password and all files.
    None where the folder only says that the environment named it: the mirror asks for that.
    """
    named = RunRecord.load(run_dir).uri
    if "${" in named:
        return None
    configured = absolute_tracking_uri(composed([]).tracking.uri)
    if named != configured:
        command = shlex.join(["patientfold", "sync", f"run_dir={run_dir}", f"tracking.uri={named}"])
        raise UserError(
            f"the run folder names the server {named}, but the settings here name {configured}. "
            f"If the run's data may go to the first: {command}"
        )
    return named
