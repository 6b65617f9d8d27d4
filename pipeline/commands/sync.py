"""`python -m pipeline sync run_dir=runs/demo/...`: complete the MLflow runs from the journals."""

from pathlib import Path

from omegaconf import DictConfig

from pipeline.command import run_command
from pipeline.config import UserError, to_config
from pipeline.engine.run_folder import IN_USE
from pipeline.files import lock
from pipeline.tracking import sync


def main(cfg: DictConfig) -> None:
    """Mirror the run folder once, in the foreground; refused while a command works in it."""
    config = to_config(cfg)
    if config.run_dir is None:
        raise UserError("run_dir is missing: python -m pipeline sync run_dir=runs/demo/...")
    run_dir = Path(config.run_dir)
    if not run_dir.is_dir():
        raise UserError(f"run_dir {run_dir}: no such folder.")
    with lock(run_dir / ".lock", IN_USE.format(run_dir)):
        print(sync(run_dir))


def run() -> None:
    run_command(main)
