"""The run folder: the directory of one cross-validation, and the source of truth about it."""

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.config import Config, UserError, fingerprint, identity
from pipeline.files import lock, read_json, write_json
from pipeline.images.packed import PackedImages
from pipeline.manifest import Manifest
from pipeline.splits import Plan, save_plan
from pipeline.tracking import read_result
from pipeline.training.job import FoldJob

PACKAGES = ("patientfold", "torch", "monai", "numpy", "pandas", "scikit-learn", "mlflow")
IN_USE = "run folder {} is in use by another process; wait until it ends."
UNSAFE_SUFFIX = "-UNSAFE-image-level"
"""Of the folder of a run whose plan tests patients that it trained on."""


@dataclass(frozen=True)
class Run:
    """One cross-validation, ready to be trained: everything that its folds need."""

    config: Config
    manifest: Manifest
    plan: Plan
    images: PackedImages

    @cached_property
    def key(self) -> str:
        """What makes the same command continue and a changed one start anew."""
        return fingerprint(
            [identity(self.config), self.manifest.hash, self.plan.hash, self.images.key]
        )

    @cached_property
    def dir(self) -> Path:
        chosen = self.config.run_dir
        path = Path(chosen) if chosen else Path("runs") / self.config.name / self.key[:12]
        return path.with_name(path.name + UNSAFE_SUFFIX) if self.plan.unsafe else path

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that were asked for.

        Raises:
            UserError: for a fold that the plan does not have.
        """
        if self.config.folds == "all":
            return tuple(range(self.plan.num_folds))
        unknown = [fold for fold in self.config.folds if fold >= self.plan.num_folds]
        if unknown or not self.config.folds:
            raise UserError(
                f"folds: the plan has folds 0 to {self.plan.num_folds - 1}, got "
                f"{list(self.config.folds)}."
            )
        return tuple(sorted(set(self.config.folds)))

    def fold_dir(self, fold: int) -> Path:
        return self.dir / f"fold_{fold:02d}"

    def is_done(self, fold: int) -> bool:
        return (self.fold_dir(fold) / "result.json").exists()

    def result(self, fold: int) -> dict[str, Any]:
        """The content of a done fold's result.json; epochs count from 1."""
        return read_result(self.fold_dir(fold) / "result.json")

    def job(self, fold: int, device: str = "cpu") -> FoldJob:
        return FoldJob(
            config=self.config,
            manifest=self.manifest,
            fold=self.plan.folds[fold],
            images=self.images,
            fold_dir=self.fold_dir(fold),
            key=self.key,
            device=device,
        )


@contextmanager
def open_run(run: Run) -> Iterator[None]:
    """Make or continue the run folder, and keep every other process out of it meanwhile.

    Raises:
        UserError: when it cannot be written, is in use, or holds another cross-validation.
    """
    with ExitStack() as held:
        try:
            for fold in run.folds:
                run.fold_dir(fold).mkdir(parents=True, exist_ok=True)
            held.enter_context(lock(run.dir / ".lock", IN_USE.format(run.dir)))
            _check_same_run(run)
            _describe(run)
        except OSError as error:
            raise UserError(
                f"run folder {run.dir} cannot be written: {error.filename}: {error.strerror}; "
                "choose another with run_dir=..."
            ) from None
        yield


def _check_same_run(run: Run) -> None:
    path = run.dir / "environment.json"
    if not path.exists():
        return
    before = read_json(path)
    if before["key"] == run.key:
        return
    now = _identity(run)
    changes = [
        f"  {name}: {before['identity'].get(name)} there, {now.get(name)} now"
        for name in sorted(now.keys() | before["identity"].keys())
        if before["identity"].get(name) != now.get(name)
    ]
    raise UserError(
        "\n".join(
            [
                f"run folder {run.dir} holds another cross-validation; it differs in",
                *changes,
                "choose another run_dir, or leave it out to get a new one",
            ]
        )
    )


def _identity(run: Run) -> dict[str, str]:
    hashes = {"manifest": run.manifest.hash, "plan": run.plan.hash, "pixels": run.images.key}
    return identity(run.config) | {f"{name} hash": value[:12] for name, value in hashes.items()}


def _describe(run: Run) -> None:
    """Write config, plan and environment; what is there already is the same."""
    if not (run.dir / "plan.csv").exists():
        save_plan(run.plan, run.dir / "plan.csv")
    OmegaConf.save(OmegaConf.create(asdict(run.config)), run.dir / "config.yaml")
    environment = {
        "key": run.key,
        "identity": _identity(run),
        "unsafe": run.plan.unsafe,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "num_cores": os.cpu_count(),
        "packages": {name: version(name) for name in PACKAGES},
    }
    write_json(run.dir / "environment.json", environment)


def git_commit() -> str:
    """The commit of the code, "" outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()
