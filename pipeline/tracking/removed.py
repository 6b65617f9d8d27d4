"""removed.json of a run folder: checkpoints that `patientfold runs prune` has removed, and when."""

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pipeline.config import UserError
from pipeline.files import write_json
from pipeline.tracking.result import read_sealed, with_seal

FILE_NAME = "removed.json"


def note_removed(run_dir: Path, files: Mapping[str, int]) -> None:
    """Write down files, by their names in the run folder -> bytes, before they are removed."""
    now = time.time()
    fresh = {name: {"bytes": size, "time": now} for name, size in files.items()}
    write_json(run_dir / FILE_NAME, with_seal({"files": _noted(run_dir) | fresh}))


def is_removed(path: Path) -> bool:
    """Whether a fold's checkpoint is missing because it was removed to make room."""
    return not path.exists() and _name(path) in _noted(path.parent.parent)


def gone(path: Path) -> str:
    """Why a fold's checkpoint is not there, and how to have it back."""
    if not is_removed(path):
        return f"{path} is missing: the fold's network was deleted, train it again"
    noted = _noted(path.parent.parent)[_name(path)]
    day = datetime.fromtimestamp(float(noted["time"]), UTC).date().isoformat()
    return (
        f"{path} is missing: `patientfold runs prune` removed it on {day} to make room. Put a copy "
        f"of it back (MLflow may have one), or delete {path.parent}: then the same cv command "
        "trains the fold again"
    )


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _noted(run_dir: Path) -> dict[str, dict[str, float]]:
    """Name -> bytes and time; nothing where the file cannot be read, for it only explains."""
    with suppress(UserError):
        content = read_sealed(run_dir / FILE_NAME, "") or {}
        return {str(name): of for name, of in content.get("files", {}).items()}
    return {}
