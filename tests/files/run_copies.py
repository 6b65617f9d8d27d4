"""Copies of a finished run with other settings, and runs of a sweep: making one anew takes 2 s."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from omegaconf import OmegaConf

from pipeline.config.plain import flatten
from pipeline.files import read_json, write_json
from pipeline.tracking.record import RunRecord
from pipeline.tracking.result import SEAL, with_seal

SWEEP, SERVER = "2026-01-02_03-04-05", "sqlite:////nowhere/mlflow.db"


def copy_of(run_dir: Path, place: Path, settings: Mapping[str, object] | None = None) -> Path:
    """The run as if it had other settings (`training.seed` -> 1), and so another key."""
    shutil.copytree(run_dir, place)
    config = OmegaConf.load(place / "config.yaml")
    environment = read_json(place / "environment.json")
    for name, value in (settings or {}).items():
        OmegaConf.update(config, name, value, merge=False, force_add=True)
        if name in environment["identity"]:
            environment["identity"] |= dict(flatten(value, name))
    OmegaConf.save(config, place / "config.yaml")
    text = str(sorted(environment["identity"].items()))
    write_json(place / "environment.json", environment | {"key": sha256(text.encode()).hexdigest()})
    return place


def trained_elsewhere(run_dir: Path, settings: Mapping[str, object]) -> None:
    """The run as if its folds had trained on other devices (`engine.device` -> cuda)."""
    config = OmegaConf.load(run_dir / "config.yaml")
    environment = read_json(run_dir / "environment.json")
    for name, value in settings.items():
        OmegaConf.update(config, name, value)
        if name in environment["identity"]:
            environment["identity"][name] = str(value)
    OmegaConf.save(config, run_dir / "config.yaml")
    digest = {"config_sha256": sha256((run_dir / "config.yaml").read_bytes()).hexdigest()}
    write_json(run_dir / "environment.json", environment | digest)


def as_of_sweep(
    run_dir: Path, value: float, sweep: str = SWEEP, select_by: str = "val/patient/auroc"
) -> Path:
    """The run as one of a sweep whose folds have this validation; checkpoints are some bytes."""
    for path in run_dir.glob("fold_*/result.json"):
        path.with_name("last.pt").write_bytes(b"to go on from")
        result = read_json(path)
        del result[SEAL]
        write_json(path, with_seal(result | {"select_value": value, "select_by": select_by}))
    plan = read_json(run_dir / "plan.json")["plan_hash"]
    tags = {"patientfold.plan_hash": plan, "patientfold.sweep": sweep}
    replace(RunRecord.load(run_dir), uri=SERVER, tags=tags).save(run_dir)
    return run_dir


def checkpoints(run_dir: Path) -> list[str]:
    return sorted(str(path.relative_to(run_dir)) for path in run_dir.glob("fold_*/*.pt"))
