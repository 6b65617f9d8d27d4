"""Run folders at a glance: what each is, how far it came, how good it is, how large."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.config import UserError
from pipeline.engine.access import VOID
from pipeline.engine.finished import MARKS
from pipeline.engine.run_folder import UNSAFE_SUFFIX
from pipeline.engine.soundness import WRITE_AGAIN, read_environment
from pipeline.evaluation.summary import levels_of
from pipeline.files import read_json
from pipeline.levels import Level
from pipeline.tracking.mirror import PRUNED
from pipeline.tracking.record import RunRecord
from pipeline.tracking.removed import is_removed
from pipeline.tracking.result import check_seal

HEADLINE = "auroc"
SKIPPED = {".git", ".venv", "__pycache__"}
LOCKS = Path("/proc/locks")
"""Where Linux lists the locks that processes of this machine hold."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """One run folder; what it does not say, or cannot be computed, is None."""

    run_dir: str
    experiment: str | None = None
    name: str | None = None
    """What MLflow calls it."""
    key: str | None = None
    plan: str | None = None
    """Hash of the plan: runs of one plan can be compared."""
    num_folds: int | None = None
    folds_done: int
    state: str
    """done, to report (all folds are done, nobody has put them together), begun, running, stopped
    early (by a sweep), UNSAFE, void, or damaged."""
    problem: str | None = None
    """What is damaged."""
    metric: str = HEADLINE
    level: Level | None = None
    """Of the headline: patients, where the run has that level."""
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    pruned: int = 0
    """Checkpoints that `runs prune` has removed."""
    bytes: int
    touched: str
    """When a file of it was last written, in UTC."""


def find_run_folders(folder: Path) -> tuple[list[Path], list[Path]]:
    """All run folders below a folder, or itself, and the folders that could not be read, sorted;
    links are not followed.
    """
    found: list[Path] = []
    unread: list[Path] = []
    to_come = [folder]
    while to_come:
        here = to_come.pop()
        try:
            if is_run_folder(here):
                found.append(here)
                continue
            entries = [entry for entry in os.scandir(here) if entry.name not in SKIPPED]
            to_come += [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
        except PermissionError:
            unread.append(here)
    return sorted(found), sorted(unread)


def is_run_folder(folder: Path) -> bool:
    """Also one that is damaged: it has what a run folder has, and folds."""
    if (folder / "environment.json").exists():
        return True
    return any((folder / name).exists() for name in MARKS) and any(folder.glob("fold_[0-9][0-9]*"))


def overview(run_dir: Path) -> Overview:
    """What its small files say; checkpoints and predictions are not read, so that it is quick."""
    size, touched = _extent(run_dir)
    done = sorted(run_dir.glob("fold_*/result.json"))
    kept = [path.parent / name for path in done for name in ("best.pt", "last.pt")]
    facts: dict[str, Any] = {}
    try:
        facts |= _facts(run_dir)
        state, problem = _state(run_dir, len(done), facts["num_folds"]), None
        facts |= _headline(run_dir) if state in ("done", "running") else {}
    except UserError as error:
        state = "void" if (run_dir / VOID).exists() else "damaged"
        problem = None if state == "void" else str(error)
    return Overview(
        run_dir=str(run_dir),
        folds_done=len(done),
        state=state,
        problem=problem,
        pruned=sum(map(is_removed, kept)),
        bytes=size,
        touched=datetime.fromtimestamp(touched, UTC).isoformat(timespec="seconds"),
        **facts,
    )


def _facts(run_dir: Path) -> dict[str, Any]:
    """Raises UserError for a file that is missing or damaged."""
    found: dict[str, Any] = {"key": read_environment(run_dir)["key"]}
    record = RunRecord.load(run_dir)
    found |= {"experiment": record.experiment, "name": record.run_name}
    plan = read_json(run_dir / "plan.json", WRITE_AGAIN)
    if not isinstance(plan.get("plan_hash"), str) or not isinstance(plan.get("num_folds"), int):
        raise UserError(f"{run_dir / 'plan.json'} is not that of a plan. {WRITE_AGAIN}")
    return found | {"plan": plan["plan_hash"], "num_folds": plan["num_folds"]}


def _state(run_dir: Path, num_done: int, num_folds: int) -> str:
    if (run_dir / VOID).exists():
        return "void"
    if run_dir.name.endswith(UNSAFE_SUFFIX):
        return "UNSAFE"
    if is_held(run_dir / ".lock"):
        return "running"
    if (run_dir / PRUNED).exists():
        return "stopped early"
    if num_done < num_folds:
        return "begun"
    return "done" if (run_dir / "metrics.json").exists() else "to report"


def _headline(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "metrics.json"
    if not path.exists():
        return {}
    summary: Any = read_json(path, WRITE_AGAIN)
    check_seal(summary, path, WRITE_AGAIN)
    try:
        level = levels_of(summary)[0]
        entry: Mapping[str, Any] = summary[level][HEADLINE]
        return {"level": level, **{of: entry.get(of) for of in ("value", "ci_low", "ci_high")}}
    except (LookupError, TypeError, AttributeError):
        raise UserError(f"{path} is not that of a run. {WRITE_AGAIN}") from None


def is_held(lock: Path) -> bool:
    """Whether a process of this machine holds a lock; to look disturbs nobody.

    On another machine it may be held unseen: whoever changes something takes the lock.
    """
    with suppress(OSError):
        found = lock.stat()
        device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
        return f" {device}:{found.st_ino} " in LOCKS.read_text()
    return False


def _extent(folder: Path) -> tuple[int, float]:
    """Bytes of all files, and when one was last written, in Unix seconds."""
    size, newest = 0, 0.0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                found = (Path(root) / name).lstat()
                size += found.st_size
                newest = max(newest, 0.0 if name.startswith(".") else found.st_mtime)
    return size, newest or folder.stat().st_mtime
