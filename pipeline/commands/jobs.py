"""What becomes of a sweep's jobs: in memory, and in files where they are other processes."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipeline.config import UserError
from pipeline.engine.session import Outcome
from pipeline.files import make_private, read_json, write_json

NOT_BEGUN, STOPPED = "not begun", "stopped"


@dataclass
class Job:
    """One combination of a multirun's settings."""

    overrides: Sequence[str]
    sweep_dir: Path
    uri: str = ""
    """Of MLflow."""
    outcome: Outcome | None = None
    error: str = NOT_BEGUN
    """Why there is no outcome."""
    ledger: str | None = None
    """The file in which it is counted."""


_JOB = TypeAdapter(Job)


def write_job(job: Job, number: int) -> None:
    """Say in the sweep's folder what has become of a job, for the process that waits for all."""
    make_private(job.sweep_dir)
    write_json(_path(job.sweep_dir, number), _JOB.dump_python(job, mode="json"))


def read_jobs(planned: Sequence[Job], sweep_dir: Path) -> list[Job]:
    """All jobs of a sweep as far as they have said what became of them, in their order."""
    found: dict[int, Job] = dict(enumerate(planned))
    for path in _path(sweep_dir, 0).parent.glob("*.json"):
        with suppress(UserError, ValidationError, ValueError):  # not one of ours
            found[int(path.stem)] = _JOB.validate_python(read_json(path))
    return [found[number] for number in sorted(found)]


def _path(sweep_dir: Path, number: int) -> Path:
    return sweep_dir / "jobs" / f"{number}.json"
