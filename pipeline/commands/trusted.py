"""Which tracking server a command may send a run folder's content to."""

import shlex
from pathlib import Path

from pipeline.commands.door import composed
from pipeline.config import UserError
from pipeline.tracking.record import RunRecord
from pipeline.tracking.server import absolute_tracking_uri


def trusted_uri(run_dir: Path, *command: str) -> str | None:
    """The server that the run folder names, if the study's settings name it as well.

    Whoever sent the run folder could have named theirs: it would get the password and all files.
    None where the folder only says that the environment named it: the mirror asks for that.
    `command` is what was called, for the advice.
    """
    named = RunRecord.load(run_dir).uri
    if "${" in named:
        return None
    configured = configured_uri()
    if named != configured:
        told = shlex.join(["patientfold", *command, f"tracking.uri={named}"])
        raise UserError(
            f"the run folder names the server {named}, but the settings here name {configured}. "
            f"If the run's data may go to the first: {told}"
        )
    return named


def configured_uri() -> str:
    """The server that the settings of the current folder name."""
    return absolute_tracking_uri(composed([]).tracking.uri)
