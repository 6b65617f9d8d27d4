"""What can be removed to make room, for it can be made again: by training, or by decoding.

Never predictions, results, journals or the ledger: nothing makes them again.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from pipeline.config import UserError
from pipeline.engine.access import IN_USE, VOID
from pipeline.engine.finished import LOCKED, Finished
from pipeline.engine.overview import is_held
from pipeline.engine.soundness import read_environment
from pipeline.files import lock, read_json
from pipeline.tracking.mirror import PRUNED
from pipeline.tracking.record import RunRecord
from pipeline.tracking.removed import note_removed
from pipeline.tracking.result import read_result
from pipeline.tracking.sharing import MIRRORING

CHECKPOINTS = ("best.pt", "last.pt")
CHOSEN = {
    "final": "a final network was trained from it",
    LOCKED: "the locked patients were opened for it",
}
"""Folders in a run folder that say that somebody chose it."""
BUNDLE = "bundle.json"
"""Of an export; it has the key of its run."""
SWEEP_TAG = "patientfold.sweep"


@dataclass(frozen=True)
class Beaten:
    """A run of a sweep whose checkpoints nobody needs: another has a better validation."""

    run_dir: Path
    files: Mapping[str, int]
    """Checkpoints of its done folds, by their names in the run folder -> bytes."""
    why: str

    @property
    def bytes(self) -> int:
        return sum(self.files.values())


@dataclass(frozen=True)
class Spared:
    """What would be removed but for a reason."""

    path: Path
    why: str


@dataclass(frozen=True)
class Sought:
    """What decides beside the run folders themselves."""

    exported: Collection[str] = ()
    """Keys of runs that a bundle was made of."""
    registered: Callable[[str], Collection[str]] = field(default=lambda _uri: ())
    """Server -> keys of runs whose networks are registered there; UserError: nobody can say."""


def beaten_runs(run_dirs: Sequence[Path], sought: Sought) -> tuple[list[Beaten], list[Spared]]:
    """Of all sweeps, the runs that are not the best by the mean of validation.

    A sweep's runs are compared where they have the same plan and chose by the same metric. A run
    with folds to come, or in use, is left alone.
    """
    begun_with = set(_begun_with(run_dirs))
    found: list[Beaten] = []
    spared: list[Spared] = []
    for rivals in _sweeps(run_dirs).values():
        best = _best(rivals)
        for run in rivals:
            if run.mean is None or (run.is_complete and run.mean == best):
                continue
            if not (files := _checkpoints(run.dir)):
                continue
            if reason := _reason_to_keep(run, sought, begun_with):
                spared.append(Spared(run.dir, reason))
            elif best is not None:
                why = f"{run.select_by} {run.mean:.4f}, the best of its sweep has {best:.4f}"
                found.append(Beaten(run.dir, files, why))
    return found, spared


def remove_checkpoints(beaten: Beaten) -> int:
    """Remove them, written down first; returns the bytes.

    Raises:
        UserError: somebody works in the run folder, or it was chosen meanwhile.
    """
    run_dir = beaten.run_dir
    with ExitStack() as held:
        for name in (".lock", MIRRORING):
            held.enter_context(lock(run_dir / name, IN_USE.format(run_dir)))
        if chosen := _chosen(run_dir):
            raise UserError(f"run folder {run_dir}: {chosen}; its checkpoints stay")
        there = {name: size for name, size in beaten.files.items() if (run_dir / name).exists()}
        note_removed(run_dir, there)
        for name in there:
            (run_dir / name).unlink()
    return sum(there.values())


def exported_keys(folder: Path) -> frozenset[str]:
    """Keys of the runs that the bundles below a folder were made of."""
    keys = set()
    for path in folder.rglob(BUNDLE) if folder.is_dir() else ():
        with suppress(UserError):
            keys.add(str(read_json(path).get("key", "")))
    return frozenset(keys - {""})


@dataclass(frozen=True)
class _Rival:
    dir: Path
    key: str
    sweep: str
    plan: str
    select_by: str
    mean: float | None
    """Of validation over the folds that are done; None where folds are still to come."""
    is_complete: bool
    """All folds are done: a sweep did not stop it."""
    uri: str


def _sweeps(run_dirs: Sequence[Path]) -> Mapping[tuple[str, str, str], list[_Rival]]:
    """Runs of one sweep, one plan and one metric of validation; damaged ones are in none."""
    found: dict[tuple[str, str, str], list[_Rival]] = {}
    for run_dir in run_dirs:
        with suppress(UserError):
            if (run := _rival(run_dir)) is not None:
                found.setdefault((run.sweep, run.plan, run.select_by), []).append(run)
    return found


def _rival(run_dir: Path) -> _Rival | None:
    """None for a run of no sweep, or none of whose folds is done."""
    record = RunRecord.load(run_dir)
    sweep = record.tags.get(SWEEP_TAG, "")
    results = [read_result(path) for path in sorted(run_dir.glob("fold_*/result.json"))]
    if not sweep or not results or (run_dir / VOID).exists():
        return None
    is_complete = len(results) == len(record.fold_params)
    is_over = is_complete or (run_dir / PRUNED).exists()
    mean = fmean(float(result["select_value"]) for result in results)
    return _Rival(
        run_dir,
        str(read_environment(run_dir)["key"]),
        sweep,
        str(record.tags.get("patientfold.plan_hash", "")),
        str(results[0]["select_by"]),
        mean if is_over else None,
        is_complete,
        record.uri,
    )


def _best(rivals: Sequence[_Rival]) -> float | None:
    """The best mean among those that are done on all folds."""
    means = [run.mean for run in rivals if run.is_complete and run.mean is not None]
    is_loss = rivals[0].select_by == "val/loss"
    return (min if is_loss else max)(means, default=None)


def _checkpoints(run_dir: Path) -> dict[str, int]:
    folds = [path.parent for path in sorted(run_dir.glob("fold_*/result.json"))]
    paths = [fold / name for fold in folds for name in CHECKPOINTS if (fold / name).is_file()]
    return {f"{path.parent.name}/{path.name}": path.stat().st_size for path in paths}


def _reason_to_keep(run: _Rival, sought: Sought, begun_with: Collection[Path]) -> str:
    """Why its checkpoints stay; "" where they may go."""
    if is_held(run.dir / ".lock") or is_held(run.dir / MIRRORING):
        return "in use"
    if chosen := _chosen(run.dir):
        return chosen
    if run.key in sought.exported:
        return "a bundle was exported from it"
    if any(path.parent.parent == run.dir.resolve() for path in begun_with):
        return "another run began with its weights (init.weights)"
    try:
        is_registered = run.key in sought.registered(run.uri)
    except UserError as error:
        return f"nobody can say whether a registered model came from it: {error}"
    return "a registered model came from it" if is_registered else ""


def _chosen(run_dir: Path) -> str:
    return next((why for name, why in CHOSEN.items() if (run_dir / name).is_dir()), "")


def _begun_with(run_dirs: Sequence[Path]) -> Iterator[Path]:
    """Files that runs took their first weights from."""
    for run_dir in run_dirs:
        with suppress(Exception):  # a config that cannot be read names none
            start: Any = Finished(run_dir).settings.get("init", {}).get("weights")
            if start:
                yield Path(start).resolve()
