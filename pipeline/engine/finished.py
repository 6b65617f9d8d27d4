"""A finished cross-validation, read from its run folder alone: no images, no manifest, no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from pipeline.arrays import AnyInts
from pipeline.config import LEDGER, UserError
from pipeline.engine.cohort import FILE_NAME as COHORT
from pipeline.engine.cohort import read_cohort
from pipeline.engine.gallery import read_failures
from pipeline.engine.run_folder import FLOW, UNSAFE_SUFFIX, refuse_void
from pipeline.engine.soundness import WRITE_AGAIN, check_run_folder, read_environment
from pipeline.evaluation.failures import Failures, worst_failures
from pipeline.evaluation.metrics import Level
from pipeline.evaluation.patients import per_patient
from pipeline.evaluation.plots import History
from pipeline.evaluation.predictions import read_predictions, with_decisions
from pipeline.evaluation.summary import Summary, classes_of, summarise
from pipeline.files import read_json, refuse_foreign_files
from pipeline.splits import Plan, load_plan
from pipeline.splits.plan_file import read_files
from pipeline.tracking.journal import history_of
from pipeline.tracking.ledger import Tries, tries_of
from pipeline.tracking.record import RunRecord
from pipeline.tracking.result import SEAL, check_seal, read_result

LOCKED = "locked"
"""The folder of what the run gives for the locked patients; there once they were opened for it."""


@dataclass(frozen=True)
class Finished:
    """What the folder of a finished run says."""

    dir: Path

    @classmethod
    def read(cls, run_dir: Path) -> "Finished":
        """Raises UserError unless the folder holds a whole run, as it was written."""
        if not run_dir.is_dir():
            raise UserError(f"run folder {run_dir}: no such folder (searched from {Path.cwd()})")
        refuse_foreign_files(run_dir)
        refuse_void(run_dir)
        check_run_folder(run_dir)
        if not (run_dir / "metrics.json").exists():
            raise UserError(
                f"run folder {run_dir}: not all of its folds are done; the same cv command goes on"
            )
        return cls(run_dir)

    @cached_property
    def name(self) -> str:
        """What MLflow calls it: by the model, or by what differs in a sweep."""
        return RunRecord.load(self.dir).run_name

    @cached_property
    def summary(self) -> Summary:
        summary: Summary = read_json(self.dir / "metrics.json")  # type: ignore[assignment]
        return summary

    @cached_property
    def numbers(self) -> Summary:
        """metrics.json; of an earlier version, which had no intervals, counted from predictions."""
        entries = [of for level in self.levels for of in (self.summary[level] or {}).values()]
        if all({"ci_low", "num_positive", "marks"} <= of.keys() for of in entries):
            return self.summary
        tables: dict[Level, pd.DataFrame | None] = {of: self.cases(of) for of in self.levels}
        counted = summarise(tables, self.classes, self.plan[1])
        return {**self.summary, **counted}

    @cached_property
    def classes(self) -> Sequence[str]:
        return classes_of(self.summary)

    @property
    def is_unsafe(self) -> bool:
        return bool(self.summary.get("unsafe")) or self.dir.name.endswith(UNSAFE_SUFFIX)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """config.yaml, as it was written."""
        found = OmegaConf.to_container(OmegaConf.load(self.dir / "config.yaml"))
        assert isinstance(found, dict)
        return {str(name): value for name, value in found.items()}

    @cached_property
    def plan_rows(self) -> tuple[Mapping[str, Any], Sequence[Sequence[str]]]:
        """The header of plan.json, and the rows of plan.csv."""
        return read_files(self.dir / "plan.csv")

    @cached_property
    def plan(self) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """The header of plan.json, and patient id -> leakage group."""
        header, rows = self.plan_rows
        return header, {row[0]: row[1] for row in rows}

    @cached_property
    def flow(self) -> Mapping[str, Any] | None:
        """flow.json: rows and patients from manifest to folds; None of an earlier version's run.

        Raises:
            UserError: it was changed after it was written.
        """
        path = self.dir / FLOW
        if not path.exists():
            return None
        found = read_json(path, WRITE_AGAIN)
        check_seal(found, path, WRITE_AGAIN)
        return {name: value for name, value in found.items() if name != SEAL}

    @cached_property
    def cohort(self) -> pd.DataFrame | None:
        """cohort.csv, all cells as text; None in a run folder of an earlier version."""
        path = self.dir / COHORT
        return read_cohort(path) if path.exists() else None

    @cached_property
    def key(self) -> str:
        return str(read_environment(self.dir)["key"])

    @property
    def optimism(self) -> str:
        """Why the run's numbers may be too good, as the best of several; "" where they are not.

        They are not where it is the only setting tested, or the first for which the locked
        patients were opened.
        """
        if self.locked is not None and self.locked["opened"][0]["key"] == self.key:
            return ""
        return "" if self.tries is None else self.tries.note

    @property
    def tries(self) -> Tries | None:
        """What the ledger here knows of its plan, as of now; None where there is no ledger."""
        ledger = self.settings["tracking"].get("ledger", LEDGER)
        return None if ledger is None else tries_of(self.plan[0]["plan_hash"], Path(ledger))

    @cached_property
    def locked(self) -> Mapping[str, Any] | None:
        """locked/metrics.json: a summary with `opened`, all openings; None where it was not."""
        path = self.dir / LOCKED / "metrics.json"
        if not path.exists():
            return None
        found = read_json(path)
        check_seal(found, path, "Restore it.")
        return found

    @cached_property
    def failures(self) -> Failures:
        """failures.json; made of the predictions, without pictures, where there is none."""
        if (found := read_failures(self.dir)) is not None:
            return found
        none = self.settings["evaluation"]["patient_label"] == "none"
        patients = None if none else self.cases("patient")
        thresholds = {fold: result["thresholds"] for fold, result in self.results.items()}
        tables: dict[Level, pd.DataFrame | None] = {"image": self.images, "patient": patients}
        return {"cases": worst_failures(tables, self.classes, thresholds)}

    @cached_property
    def results(self) -> Mapping[int, Mapping[str, Any]]:
        """Fold -> its result.json."""
        paths = sorted(self.dir.glob("fold_*/result.json"))
        found = [read_result(path) for path in paths]
        return {result["fold"]: result for result in found}

    @cached_property
    def folds(self) -> Plan:
        """The plan itself, proved again."""
        return load_plan(self.dir / "plan.csv")

    @cached_property
    def environment(self) -> Mapping[str, Any]:
        """environment.json."""
        return read_environment(self.dir)

    @cached_property
    def histories(self) -> Mapping[int, History]:
        """Fold -> its epochs, as the journals have them."""
        paths = {fold: self.dir / f"fold_{fold:02d}" / "journal.jsonl" for fold in self.results}
        return {fold: history_of(path) for fold, path in sorted(paths.items())}

    @property
    def select_by(self) -> str:
        """The metric of validation that chose the epochs: `val/image/auroc`."""
        return str(self.results[min(self.results)]["select_by"])

    @property
    def level(self) -> Level:
        """Of the headline: patients, where the run has that level."""
        return "image" if self.summary["patient"] is None else "patient"

    @property
    def levels(self) -> tuple[Level, ...]:
        """Patients first, where the run has that level."""
        return ("image",) if self.summary["patient"] is None else ("patient", "image")

    def units(self, level: Level) -> AnyInts:
        """(N,) the leakage group of each row of `cases(level)`, as a number."""
        groups = self.cases(level)["patient_id"].map(self.plan[1])
        return pd.factorize(groups)[0].astype(np.int64)

    @cached_property
    def images(self) -> pd.DataFrame:
        """predictions.csv, by fold, patient and image."""
        table = read_predictions(self.dir / "predictions.csv", self.classes)
        return table.sort_values(["fold", "patient_id", "image_path"], ignore_index=True)

    def cases(self, level: Level) -> pd.DataFrame:
        """The out-of-fold table of a level with decisions, by fold and patient.

        Raises:
            UserError: the run has no patient level.
        """
        if level == "image":
            return self.images
        if self._patients is None:
            raise UserError(
                f"run folder {self.dir}: evaluation.patient_label=none, so that there is no "
                "patient level; take level=image"
            )
        return self._patients

    @cached_property
    def _patients(self) -> pd.DataFrame | None:
        evaluation = self.settings["evaluation"]
        how = evaluation["aggregate"], evaluation["patient_label"]
        table = per_patient(self.images, self.classes, *how)
        if table is None:
            return None
        thresholds = {fold: result["thresholds"] for fold, result in self.results.items()}
        decided = [
            with_decisions(rows, self.classes, thresholds[int(str(fold))]["patient"])
            for fold, rows in table.groupby("fold", sort=True)
        ]
        return pd.concat(decided, ignore_index=True)
