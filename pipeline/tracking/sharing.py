"""Several commands at once on one run folder, each with folds of its own; one mirrors for all.

A mirror looks at all folds, whoever trains them, so that one is enough: the runs are created once.
The others wait, and take its place when it ends. None may leave before its last files are seen.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from pipeline.config import UserError
from pipeline.files import lock

MIRRORING, ENDING, USERS = "mlflow.lock", "mlflow.end.lock", "mlflow.users.lock"
"""Held by who mirrors; by who is at the end of its work; by all, together."""


class MirroredElsewhereError(UserError):
    """Another process mirrors the run folder."""


class Sharing(AbstractContextManager["Sharing"]):
    """That a command is at work on a run folder, seen by the mirrors of others."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._held = ExitStack()
        self._held.enter_context(lock(run_dir / USERS, f"{run_dir} is being ended.", 10, True))

    @contextmanager
    def ending(self, patience_s: float) -> Iterator[bool]:
        """The end of its work, one command after the other; whether no other is at work still.

        Whoever mirrors ends here too: while another is here, a mirror that runs has not looked at
        the files for the last time.
        """
        refusal = f"another command has been ending the MLflow runs of {self._run_dir}."
        with lock(self._run_dir / ENDING, refusal, patience_s):
            self._held.close()
            yield self._is_last()

    def _is_last(self) -> bool:
        try:
            with lock(self._run_dir / USERS, ""):
                return True
        except UserError:
            return False

    def __exit__(self, *error: object) -> None:
        self._held.close()
