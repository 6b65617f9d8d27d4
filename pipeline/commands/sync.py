"""Complete the MLflow runs of a run folder: patientfold sync run_dir=runs/demo/..."""

from pathlib import Path

from pipeline.commands.settings import SyncSettings
from pipeline.commands.trusted import trusted_uri
from pipeline.config import UserError
from pipeline.console import tell
from pipeline.engine.access import IN_USE, refuse_void
from pipeline.engine.soundness import check_run_folder
from pipeline.files import lock, refuse_foreign_files
from pipeline.tracking.mirror import sync
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
        uri = settings.tracking.uri or trusted_uri(run_dir, "sync", f"run_dir={run_dir}")
        tell(one_line(sync(run_dir, uri, settings.tracking.upload)))
