"""A finished cross-validation, read from its run folder alone: no images, no manifest, no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from pipeline.config import UserError
from pipeline.engine.cohort import FILE_NAME as COHORT
from pipeline.engine.cohort import read_cohort
from pipeline.engine.explanation import Explanation, read_explanation
from pipeline.engine.gallery import read_failures
from pipeline.engine.run_folder import UNSAFE_SUFFIX, refuse_void
from pipeline.engine.soundness import check_run_folder
from pipeline.evaluation.failures import Failures, worst_failures
from pipeline.evaluation.metrics import Level
from pipeline.evaluation.patients import per_patient
from pipeline.evaluation.predictions import read_predictions, with_decisions
from pipeline.evaluation.summary import Summary, classes_of
from pipeline.files import read_json, refuse_foreign_files
from pipeline.splits.plan_file import read_files
from pipeline.tracking.record import RunRecord
from pipeline.tracking.result import read_result


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
    def plan(self) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """The header of plan.json, and patient id -> leakage group."""
        header, rows = read_files(self.dir / "plan.csv")
        return header, {row[0]: row[1] for row in rows}

    @cached_property
    def cohort(self) -> pd.DataFrame | None:
        """cohort.csv, all cells as text; None in a run folder of an earlier version."""
        path = self.dir / COHORT
        return read_cohort(path) if path.exists() else None

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
    def explanation(self) -> Explanation | None:
        """explain.json; None where `patientfold explain` was not run."""
        return read_explanation(self.dir)

    @cached_property
    def results(self) -> Mapping[int, Mapping[str, Any]]:
        """Fold -> its result.json."""
        paths = sorted(self.dir.glob("fold_*/result.json"))
        found = [read_result(path) for path in paths]
        return {result["fold"]: result for result in found}

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
        evaluation = self.settings["evaluation"]
        how = evaluation["aggregate"], evaluation["patient_label"]
        table = per_patient(self.images, self.classes, *how)
        if table is None:
            raise UserError(
                f"run folder {self.dir}: evaluation.patient_label=none, so that there is no "
                "patient level; take level=image"
            )
        thresholds = {fold: result["thresholds"] for fold, result in self.results.items()}
        decided = [
            with_decisions(rows, self.classes, thresholds[int(str(fold))]["patient"])
            for fold, rows in table.groupby("fold", sort=True)
        ]
        return pd.concat(decided, ignore_index=True)
