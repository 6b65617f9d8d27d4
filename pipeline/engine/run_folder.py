"""The run folder: the directory of one cross-validation, and the source of truth about it."""

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.config import (
    DEFAULTS_VERSION,
    Config,
    UserError,
    distinctive,
    fingerprint,
    identity,
    is_within,
    leaves,
    mappings,
    plugin_facts,
    written,
)
from pipeline.engine.access import FOLD_IN_USE, IN_USE, in_turn, refuse_void
from pipeline.engine.cohort import FILE_NAME as COHORT
from pipeline.engine.cohort import cohort_of, cohort_text
from pipeline.engine.soundness import check_before_going_on, read_environment
from pipeline.files import (
    lock,
    make_private,
    refuse_foreign_files,
    remove_leftovers,
    sha256,
    write_json,
    write_whole,
)
from pipeline.images.packed import PackedImages
from pipeline.manifest import Manifest
from pipeline.release import git_commit
from pipeline.splits import Plan, save_plan
from pipeline.tracking.journal import TRAIN_AGAIN
from pipeline.tracking.result import read_result, with_seal
from pipeline.training.job import FoldJob

PACKAGES = ("patientfold", "torch", "monai", "numpy", "pandas", "scikit-learn", "mlflow")
TRAINED = ("last.pt", "best.pt", "best.json", "result.json")
OF_A_RUN = ("plan.csv", "plan.json", "tracking.json", "mlflow.json", "fold_*/journal.jsonl")
"""What another run may not find in its folder."""
FLOW = "flow.json"
"""How rows became patients, groups and folds; runs of earlier versions have none."""
UNSAFE_SUFFIX = "-UNSAFE-image-level"
"""Of the folder of a run whose plan tests patients that it trained on."""


@dataclass(frozen=True)
class Run:
    """One cross-validation, ready to be trained: everything that its folds need."""

    config: Config
    manifest: Manifest
    plan: Plan
    images: PackedImages
    flow: Mapping[str, Any] = field(default_factory=dict)
    """From rows to folds, for the report; empty where nobody asked."""

    @cached_property
    def key(self) -> str:
        """What makes the same command continue and a changed one start anew.

        A folder that holds this cross-validation keeps its key, however that was made. A new key
        is made of what differs from the defaults, so that a new setting changes no key.
        """
        return self._key_in(self.dir) or self._new_key

    @cached_property
    def dir(self) -> Path:
        """`run_dir`; else the folder in runs/<name>/ that holds this cross-validation, or a new."""
        suffix = UNSAFE_SUFFIX if self.plan.unsafe else ""
        if self.config.run_dir:
            return Path(f"{Path(self.config.run_dir)}{suffix}")
        parent = Path("runs") / self.config.name
        new = parent / f"{self._new_key[:12]}{suffix}"
        return next((path for path in [new, *sorted(parent.glob("*"))] if self._key_in(path)), new)

    @cached_property
    def identity(self) -> dict[str, str]:
        """Every setting that its numbers depend on, and the hashes of what else they do."""
        hashes = {
            "manifest hash": self.manifest.hash,
            "plan hash": self.plan.hash,
            "pixels hash": self.images.key,
            **self._column_hashes,
            **{f"plugin {name}": self.plugins[name]["sha256"] for name in self._trained_with},
        }
        if (start := self.config.init.weights) is not None:
            hashes["weights hash"] = _hash_of(Path(start))
        settings = identity(self.config)
        if settings["images.dtype"] == "auto":
            settings["images.dtype"] = self.images.dtype  # as runs wrote it that named the type
        return settings | {name: value[:12] for name, value in hashes.items()}

    @property
    def _column_hashes(self) -> dict[str, str]:
        """Of what numbers depend on beside patients, images and labels, where it is used."""
        hashes, table, middle = {}, self.manifest.table, self.config.evaluation.middle
        if "weight" in table:
            hashes["image weights hash"] = fingerprint(self.manifest.weights.tolist())
        if middle is not None:
            hashes[f"{middle} hash"] = fingerprint(table[middle].tolist())
        return hashes

    @cached_property
    def distinctive(self) -> dict[str, str]:
        """What of its identity differs from the defaults."""
        return distinctive(self.identity)

    @cached_property
    def plugins(self) -> dict[str, dict[str, str]]:
        """File, SHA-256 and version of each plugin that a leaf or a metric names."""
        functions = (self.config.evaluation.metrics or {}).values()
        of_metrics = [p for p in self.config.plugins if any(is_within(f, [p]) for f in functions)]
        names = dict.fromkeys([*self._trained_with, *of_metrics])
        return {name: plugin_facts(name) for name in names}

    @property
    def _trained_with(self) -> list[str]:
        """The plugins that a leaf names: their code makes the folds' numbers."""
        used = [
            str(mapping.get("_target_", ""))
            for key, leaf in leaves(self.config).items()
            for _, mapping in mappings(leaf, key)
        ]
        return [p for p in self.config.plugins if any(is_within(target, [p]) for target in used)]

    @cached_property
    def _new_key(self) -> str:
        hashes = [self.manifest.hash, self.plan.hash, self.images.key]
        return fingerprint([DEFAULTS_VERSION, self.distinctive, *hashes])

    def _key_in(self, path: Path) -> str | None:
        """The key of the folder at `path` if that holds this cross-validation."""
        try:
            before = _recorded(path)
        except (UserError, OSError):  # some other folder; `_take_over` reports it if it is ours
            return None
        same = before is not None and distinctive(before["identity"]) == self.distinctive
        return str(before["key"]) if before and same else None

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that were asked for; UserError for one that the plan does not have."""
        if self.config.folds == "all":
            return tuple(range(self.plan.num_folds))
        asked = sorted(set(self.config.folds))
        if not asked or asked[-1] >= self.plan.num_folds:
            raise UserError(
                f"folds: the plan has folds 0 to {self.plan.num_folds - 1}, got "
                f"{list(self.config.folds)}."
            )
        return tuple(asked)

    def fold_dir(self, fold: int) -> Path:
        return self.dir / f"fold_{fold:02d}"

    def is_done(self, fold: int) -> bool:
        return (self.fold_dir(fold) / "result.json").exists()

    def result(self, fold: int) -> dict[str, Any]:
        """The content of a done fold's result.json; epochs count from 1."""
        result = read_result(self.fold_dir(fold) / "result.json")
        if result.get("key") != self.key:
            raise UserError(
                f"{self.fold_dir(fold) / 'result.json'} belongs to run {result.get('key')!s:.12}, "
                f"not to run {self.key[:12]}. {TRAIN_AGAIN}"
            )
        return result

    def job(self, fold: int) -> FoldJob:
        planned, folder = self.plan.folds[fold], self.fold_dir(fold)
        return FoldJob(self.config, self.manifest, planned, self.images, folder, self.key)


@contextmanager
def open_run(run: Run) -> Iterator[None]:
    """Make or continue the run folder; its folds are this command's until the block ends.

    Other commands may train other folds meanwhile (an array job has one for each), and do nothing
    else in it. What belongs to the whole run is written `in_turn`.

    UserError when it cannot be written, is in use, is void, reaches out of itself, or holds another
    run that was trained.
    """
    refuse_void(run.dir)
    with ExitStack() as held:
        try:
            for fold in run.folds:
                make_private(run.fold_dir(fold))
            refuse_foreign_files(run.dir)
            with in_turn(run.dir):
                for fold in run.folds:
                    refusal = FOLD_IN_USE.format(fold, run.dir)
                    held.enter_context(lock(run.fold_dir(fold) / ".command.lock", refusal))
                _take_over(run)
                held.enter_context(lock(run.dir / ".lock", IN_USE.format(run.dir), shared=True))
                remove_leftovers(run.dir)
                _drop_half_a_plan(run.dir)
                check_before_going_on(run.dir)
                _describe(run)
        except OSError as error:
            raise UserError(
                f"run folder {run.dir} cannot be written: {error.filename}: {error.strerror}; "
                "choose another with run_dir=..."
            ) from None
        yield


def _recorded(run_dir: Path) -> dict[str, Any] | None:
    """What a run folder says of itself, None where there is none; UserError if it is damaged."""
    path = run_dir / "environment.json"
    return read_environment(run_dir) if path.exists() or path.is_symlink() else None


def _take_over(run: Run) -> None:
    """Check that the folder holds this run; empty one that holds another, but nothing trained.

    UserError when it holds another run that was trained, or is being trained.
    """
    before = _recorded(run.dir)
    if before is None or before["key"] == run.key:
        return
    if any(path for name in TRAINED for path in run.dir.glob(f"fold_*/{name}")):
        there, now = distinctive(before["identity"]), run.distinctive
        usual = "the default"
        differences = "\n".join(
            f"  {name}: {before['identity'].get(name, usual)} there, "
            f"{run.identity.get(name, usual)} now"
            for name in sorted(there.keys() | now.keys())
            if there.get(name) != now.get(name)
        )
        raise UserError(
            f"run folder {run.dir} holds another cross-validation; it differs in\n{differences}\n"
            "choose another run_dir, or leave it out to get a new one"
        )
    with lock(run.dir / ".lock", IN_USE.format(run.dir)):
        for name in OF_A_RUN:
            for path in run.dir.glob(name):
                path.unlink()


def _drop_half_a_plan(run_dir: Path) -> None:
    """A full disk may have left one of the plan's two files: before any training it is remade."""
    there = [path for path in (run_dir / "plan.csv", run_dir / "plan.json") if path.exists()]
    if len(there) == 1 and not any(path for name in TRAINED for path in run_dir.glob(f"*/{name}")):
        there[0].unlink()


def _describe(run: Run) -> None:
    """Write config, cohort, plan and environment; a plan that is there already is the same.

    They are those of the whole run, whatever folds were asked for: several commands agree in them.
    """
    if not any((run.dir / name).exists() for name in ("plan.csv", "plan.json")):
        save_plan(run.plan, run.dir / "plan.csv")
    config = OmegaConf.to_yaml(OmegaConf.create(written(replace(run.config, folds="all"))))
    write_whole(run.dir / "config.yaml", config)
    cohort = cohort_text(cohort_of(run.manifest, run.config))
    write_whole(run.dir / COHORT, cohort)
    environment = {
        "key": run.key,
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        "cohort_sha256": hashlib.sha256(cohort.encode()).hexdigest(),
        "identity": run.identity,
        "unsafe": run.plan.unsafe,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "num_cores": os.cpu_count(),
        "packages": {name: version(name) for name in PACKAGES},
        "plugins": run.plugins,
    }
    write_json(run.dir / "environment.json", environment)
    if run.flow:
        write_json(run.dir / FLOW, with_seal(run.flow))


def _hash_of(weights: Path) -> str:
    try:
        return sha256(weights)
    except OSError as error:
        raise UserError(f"init.weights: {weights} cannot be read: {error.strerror}") from None
