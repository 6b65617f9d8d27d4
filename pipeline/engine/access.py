"""Who may work in a run folder, and when: its locks, and the mark of one that is void."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import lock

IN_USE = "run folder {} is in use by another process; wait until it ends."
FOLD_IN_USE = "fold {} of run folder {} is in use by another process; wait until it ends."
TURN_S = 600.0
"""How long a command waits for another that writes what belongs to the whole run."""
VOID = "VOID.txt"
"""Of a run folder that a patient was deleted from; it says when and what is left."""


@contextmanager
def in_turn(run_dir: Path) -> Iterator[None]:
    """Alone among the commands that train folds of a run: to write what belongs to all folds.

    UserError when another takes too long.
    """
    refusal = f"run folder {run_dir}: another command has been writing to it for {TURN_S:g} s."
    with lock(run_dir / ".turn.lock", refusal, TURN_S):
        yield


def refuse_void(run_dir: Path) -> None:
    """UserError for a run folder that `patientfold forget` has taken files from."""
    if (run_dir / VOID).exists():
        raise UserError(
            f"run folder {run_dir} is void: a patient was forgotten ({VOID} says when). Take the "
            "patient out of the CSV, which gives a new run folder, or delete this one."
        )
