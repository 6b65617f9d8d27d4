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
from pipeline.config import LEDGER, ConfigError, UserError, is_within, recorded_today
from pipeline.config.plugins import plugin_problems
from pipeline.engine.access import refuse_void
from pipeline.engine.cohort import FILE_NAME as COHORT
from pipeline.engine.cohort import read_cohort
from pipeline.engine.explanation import Explanation, read_explanation
from pipeline.engine.gallery import read_failures
from pipeline.engine.run_folder import FLOW, UNSAFE_SUFFIX
from pipeline.engine.soundness import WRITE_AGAIN, check_run_folder, read_environment
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.failures import Failures, worst_failures
from pipeline.evaluation.frame import as_html, headline, metrics_table
from pipeline.evaluation.metrics import Metric
from pipeline.evaluation.own_metrics import made
from pipeline.evaluation.patients import Rules, judged
from pipeline.evaluation.plots import History
from pipeline.evaluation.predictions import read_predictions
from pipeline.evaluation.summary import Summary, classes_of, levels_of, summarise
from pipeline.files import read_json, refuse_foreign_files
from pipeline.levels import Level
from pipeline.splits import Plan, load_plan
from pipeline.splits.plan_file import read_files
from pipeline.tracking.journal import history_of
from pipeline.tracking.ledger import Tries, tries_of
from pipeline.tracking.record import SWEEPER_TAG, RunRecord
from pipeline.tracking.result import SEAL, read_result, read_sealed
from pipeline.tracking.untested import FINAL, read_untested
from pipeline.words import counted

MARKS = ("environment.json", "config.yaml", "plan.csv", "metrics.json")
"""What a run folder has, one at least of which even a damaged one is known by."""
LOCKED = "locked"
"""The folder of what the run gives for the locked patients; there once they were opened for it."""


@dataclass(frozen=True)
class Finished:
    """What the folder of a finished run says; each attribute is read when it is first asked for.

    In a notebook: `metrics` and `predictions` are tables, `folds` is the plan, in which
    `folds.folds[0].train` has patient ids, `settings` is config.yaml, `results` has what each fold
    noted, and `histories` the epochs of each. A cell that ends with the run shows its headline.
    """

    dir: Path

    @classmethod
    def read(cls, run_dir: Path) -> "Finished":
        """Raises UserError unless the folder holds a whole run, as it was written."""
        return cls.begun(run_dir)._whole

    @classmethod
    def begun(cls, run_dir: Path) -> "Finished":
        """A run whose folds may not be done, or not be put together yet.

        Raises:
            UserError: the folder holds no run, or one that is not as it was written.
        """
        if not run_dir.is_dir():
            raise UserError(f"run folder {run_dir}: no such folder (searched from {Path.cwd()})")
        if not any((run_dir / name).exists() for name in MARKS):
            raise UserError(
                f"run folder {run_dir}: not the folder of a run, which is runs/<name>/<key>; it "
                f"has none of {', '.join(MARKS)}"
            )
        refuse_foreign_files(run_dir)
        refuse_void(run_dir)
        check_run_folder(run_dir)
        return cls(run_dir)

    @property
    def metrics(self) -> pd.DataFrame:
        """A row for each level and metric: value, 95 % interval over patients, each fold's value.

        Raises:
            UserError: not all folds are done.
        """
        return metrics_table(self._whole.numbers)

    @property
    def predictions(self) -> pd.DataFrame:
        """predictions.csv: every image once, by the network that has not seen its patient.

        Raises:
            UserError: not all folds are done.
        """
        return self._whole.images

    def _repr_html_(self) -> str:
        """Of a notebook: what it is, and its headline; no patient is named."""
        of_plan = self.plan[0]
        done = of_plan["num_folds"] - len(self.folds_to_come)
        lines = [
            f"run folder {self.dir}",
            f"plan {of_plan['plan_hash'][:12]}",
            f"{done} of {counted(of_plan['num_folds'], 'fold')} done",
        ]
        if not self._is_whole:
            return as_html(self.name, lines, None)
        if self.is_unsafe:
            lines.append("UNSAFE: split by image; these numbers are no results")
        lines.append(f"test, {self.level} level, with 95 % intervals over patients")
        return as_html(self.name, lines, headline(self.numbers, self.level))

    @property
    def _is_whole(self) -> bool:
        return (self.dir / "metrics.json").exists()

    @property
    def _whole(self) -> "Finished":
        if not self._is_whole:
            raise UserError(
                f"run folder {self.dir}: not all of its folds are done; the same cv command goes on"
            )
        return self

    @property
    def is_to_gather(self) -> bool:
        """Whether all folds are done, and nobody has put them together since."""
        return not self.folds_to_come and not self._is_whole

    @property
    def folds_to_come(self) -> list[int]:
        """Those of its plan that are not done."""
        folds = range(self.plan[0]["num_folds"])
        return [f for f in folds if not (self.dir / f"fold_{f:02d}" / "result.json").exists()]

    @cached_property
    def name(self) -> str:
        """What MLflow calls it: by the model, or by what differs in a sweep."""
        return RunRecord.load(self.dir).run_name

    @cached_property
    def sweeper(self) -> str:
        """What drew its settings, by the validation of the settings before; "" for people."""
        return RunRecord.load(self.dir).tags.get(SWEEPER_TAG, "")

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

    def own_metrics(self, plugins: Sequence[str]) -> tuple[list[Metric], list[str]]:
        """The user's metrics of these plugins, and those of others by name: `left out`.

        Whoever sent the run folder could have named any function in it: it is called only where
        the command names its package itself. Without it the numbers are those of metrics.json.

        Raises:
            UserError: a plugin or its function is not there.
        """
        if problems := list(plugin_problems(plugins)):
            raise ConfigError(problems)
        own = {name: of["function"] for name, of in self.summary.get("own", {}).items()}
        trusted = {name: target for name, target in own.items() if is_within(target, plugins)}
        lower = [n for n, of in self.summary.get("own", {}).items() if not of["higher_is_better"]]
        return made(trusted, lower), [name for name in own if name not in trusted]

    @property
    def is_unsafe(self) -> bool:
        return bool(self.summary.get("unsafe")) or self.dir.name.endswith(UNSAFE_SUFFIX)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """config.yaml, as it was written, under the names that settings have today."""
        found = OmegaConf.to_container(OmegaConf.load(self.dir / "config.yaml"))
        assert isinstance(found, dict)
        return recorded_today({str(name): value for name, value in found.items()})

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
        return read_sealed(path, WRITE_AGAIN)

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
        return read_sealed(path, "Restore it.")

    @cached_property
    def final(self) -> Mapping[str, Any] | None:
        """final/final.json, of the network that was trained on everybody; None where there is none.

        Raises:
            UserError: it or its network was changed, or folds were trained again since.
        """
        if (found := read_untested(self.dir)) is None:
            return None
        here = {str(fold): result.get(SEAL, "") for fold, result in self.results.items()}
        if found["key"] != self.key or found["folds"] != here:
            raise UserError(
                f"{self.dir / FINAL}: its network follows from other folds than those that are "
                "here now. Delete that folder to train the final network again"
            )
        return found

    @cached_property
    def failures(self) -> Failures:
        """failures.json; made of the predictions, without pictures, where there is none."""
        if (found := read_failures(self.dir)) is not None:
            return found
        thresholds = {fold: result["thresholds"] for fold, result in self.results.items()}
        return {"cases": worst_failures(self.tables, self.classes, thresholds)}

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

    def decisions(self, level: Level) -> Mapping[int, Decision]:
        """Fold -> how a level was decided in it."""
        return {
            fold: Decision.read(result, level, self.classes)
            for fold, result in self.results.items()
        }

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
        return self.levels[0]

    def units(self, level: Level) -> AnyInts:
        """(N,) the leakage group of each row of `cases(level)`, as a number."""
        groups = self.cases(level)["patient_id"].map(self.plan[1])
        return pd.factorize(groups)[0].astype(np.int64)

    @cached_property
    def images(self) -> pd.DataFrame:
        """predictions.csv, by fold, patient and image."""
        table = read_predictions(self.dir / "predictions.csv", self.classes)
        return table.sort_values(["fold", "patient_id", "image_path"], ignore_index=True)

    @cached_property
    def levels(self) -> Sequence[Level]:
        """Those that it has, from patients to images."""
        return levels_of(self.summary)

    @cached_property
    def rules(self) -> Rules:
        """How its images became patients."""
        return Rules.of(self.settings["evaluation"])

    @cached_property
    def tables(self) -> Mapping[Level, pd.DataFrame | None]:
        """The out-of-fold table of each level with decisions, by fold and patient."""
        return judged(self.images, self.classes, self.rules, self.results)

    def cases(self, level: Level) -> pd.DataFrame:
        """Of `tables`. UserError where the run does not have this level."""
        if (table := self.tables.get(level)) is None:
            why = " (evaluation.patient_label=none)" if level == "patient" else ""
            raise UserError(
                f"run folder {self.dir}: there is no {level} level{why}; take "
                f"level={' or '.join(self.levels)}"
            )
        return table
