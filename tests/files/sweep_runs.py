"""Run folders of a sweep that is done: what each came to is set by hand, and sealed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from finished_run import finished_run

from pipeline.files import read_json, write_json
from pipeline.tracking.record import RunRecord
from pipeline.tracking.result import SEAL, with_seal

SWEEP, SERVER = "2026-01-02_03-04-05", "sqlite:////nowhere/mlflow.db"


def sweep_run(
    run_dir: Path,
    value: float,
    *overrides: str,
    sweep: str = SWEEP,
    select_by: str = "val/patient/auroc",
    tags: Mapping[str, str] | None = None,
) -> Path:
    """A run of a sweep whose folds have this validation, with checkpoints that are some bytes."""
    run = finished_run(run_dir, *overrides)
    for fold in run.results:
        folder = run_dir / f"fold_{fold:02d}"
        (folder / "last.pt").write_bytes(b"to go on from")
        result = read_json(folder / "result.json")
        del result[SEAL]
        write_json(
            folder / "result.json",
            with_seal(result | {"select_value": value, "select_by": select_by}),
        )
    record = RunRecord.load(run_dir)
    known = {"patientfold.plan_hash": run.plan[0]["plan_hash"], "patientfold.sweep": sweep}
    replace(record, uri=SERVER, tags=known | dict(tags or {})).save(run_dir)
    return run_dir


def checkpoints(run_dir: Path) -> list[str]:
    return sorted(str(path.relative_to(run_dir)) for path in run_dir.glob("fold_*/*.pt"))
