"""Complete the MLflow runs of a run folder: patientfold sync run_dir=runs/demo/..."""

from pathlib import Path

from pipeline.commands.settings import SyncSettings
from pipeline.config import UserError
from pipeline.console import tell
from pipeline.engine.run_folder import IN_USE, refuse_void
from pipeline.files import lock
from pipeline.tracking.mirror import sync


def main(settings: SyncSettings) -> None:
    """Mirror the run folder once, in the foreground; refused while a command works in it."""
    run_dir = Path(settings.run_dir)
    if not run_dir.is_dir():
        raise UserError(f"run_dir {run_dir}: no such folder (searched from {Path.cwd()})")
    refuse_void(run_dir)
    with lock(run_dir / ".lock", IN_USE.format(run_dir)):
        tell(sync(run_dir, settings.tracking.uri, settings.tracking.upload))
