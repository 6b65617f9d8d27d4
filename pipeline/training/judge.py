"""Judge a part: predictions, the thresholds that val decides, and the metrics of all levels.

Imports no torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from pandas import DataFrame

from pipeline.arrays import AnyFloats, Bools, Ints
from pipeline.evaluation.cases import cases_of
from pipeline.evaluation.decision import Decision, Threshold, decided
from pipeline.evaluation.metrics import VAL_METRICS, metrics
from pipeline.evaluation.operating_points import OperatingPoint, Reached
from pipeline.evaluation.patients import Rules, by_level
from pipeline.evaluation.predictions import (
    prediction_table,
    prob_columns,
    with_calibration,
    with_decisions,
)
from pipeline.evaluation.recalibration import Calibration, Shares, calibrated_on
from pipeline.label_names import LabelNames
from pipeline.levels import Level
from pipeline.splits import Part
from pipeline.training.imbalance import shares_of
from pipeline.training.job import FoldJob

Decisions = Mapping[Level, Decision]
"""Of each level that there is."""
Levels = dict[Level, dict[str, float | None] | None]


@dataclass(frozen=True)
class Judge:
    """Judges the parts of a fold by what a model gives for their samples."""

    job: FoldJob
    outputs: Callable[[Ints], tuple[AnyFloats, float]]
    """(N,) rows -> (N, C) probabilities in that order, and the loss."""

    def validate(self) -> dict[str, float | None]:
        """The validation metrics of an epoch, `val/...`, image level first."""
        table, loss = self._predict("val")
        values: dict[str, float | None] = {"val/loss": loss}
        for level, found in self.metrics(table, self.decisions(table), VAL_METRICS).items():
            values |= {f"val/{level}/{name}": value for name, value in (found or {}).items()}
        return {**values, "val/image/accuracy": self._accuracy(table)}

    def predict(self, part: Part) -> DataFrame:
        """A part's prediction table, neither calibrated nor with decisions."""
        return self._predict(part)[0]

    def calibration(self, val: DataFrame) -> Calibration | None:
        """What calibrates probabilities, fitted on the validation part; None where it is off.

        RuntimeError for a table with patients of another part.
        """
        job, evaluation = self.job, self.job.config.evaluation
        refuse_other_parts(val, job)
        if evaluation.calibration == "none":
            return None
        classes, prior = job.manifest.classes, evaluation.prior
        wanted = None if isinstance(prior, str) else shares_of(prior, classes)
        return calibrated_on(
            self._has(val),
            val[prob_columns(classes)].to_numpy(),
            val["patient_id"].tolist(),
            evaluation.calibration,
            classes,
            job.fold.index,
            Shares(job.emphasis.shares, wanted),
        )

    def calibrated(self, table: DataFrame, calibration: Calibration | None) -> DataFrame:
        """A part's table with calibrated probabilities."""
        return table if calibration is None else with_calibration(table, calibration)

    def decisions(self, val: DataFrame) -> Decisions:
        """How each level is decided, chosen on the validation part.

        RuntimeError for a table with patients of another part.
        """
        refuse_other_parts(val, self.job)
        return {
            level: self._decision(table)
            for level, table in self._levels(val).items()
            if table is not None
        }

    def decided(self, table: DataFrame, decisions: Decisions) -> DataFrame:
        """The table with `predicted`, as images are decided."""
        return with_decisions(table, self.job.manifest.classes, decisions["image"])

    def metrics(
        self, table: DataFrame, decisions: Decisions, names: Sequence[str] | None = None
    ) -> Levels:
        """All metrics of all levels, or these; the patient level is None where it is off."""
        classes = self.job.manifest.classes
        return {
            level: None
            if cases is None
            else metrics(with_decisions(cases, classes, decisions[level]), classes, level, names)
            for level, cases in self._levels(table).items()
        }

    def operating_points(
        self, val: DataFrame, test: DataFrame, decisions: Decisions
    ) -> dict[Level, dict[str, Reached]]:
        """Level -> class with a threshold -> what its decisions came to on both parts."""
        parts = [self._points(table, decisions) for table in (val, test)]
        return {
            level: {
                name: {
                    "threshold": threshold.value,
                    "rule": threshold.rule,
                    "fitted_on": threshold.part,
                    "val": parts[0][level][name].record(),
                    "test": parts[1][level][name].record(),
                }
                for name, threshold in decision.thresholds.items()
            }
            for level, decision in decisions.items()
        }

    def _points(
        self, table: DataFrame, decisions: Decisions
    ) -> dict[Level, dict[str, OperatingPoint]]:
        classes = self.job.manifest.classes
        found: dict[Level, dict[str, OperatingPoint]] = {}
        for level, rows in self._levels(table).items():
            if rows is None:
                continue
            cases = cases_of(with_decisions(rows, classes, decisions[level]), classes)
            each = {name: cases.against_rest(classes.index(name)) for name in decided(classes)}
            found[level] = {
                name: OperatingPoint.of(of.labels == 1, of.predicted == 1)
                for name, of in each.items()
            }
        return found

    def _predict(self, part: Part) -> tuple[DataFrame, float]:
        """The part's prediction table and its loss."""
        job, rows = self.job, self.job.rows(part)
        found, loss = self.outputs(rows)
        order, classes = np.arange(len(rows)), job.manifest.classes
        samples = job.manifest.table.iloc[rows].reset_index(drop=True)
        middle = job.config.evaluation.middle
        return prediction_table(samples, found, order, classes, job.fold.index, middle), loss

    def _accuracy(self, table: DataFrame) -> float:
        """Share of images whose most probable class is right, or of right labels, each of which is
        named from 0.5 on: what training calls accuracy.
        """
        classes = self.job.manifest.classes
        scores = table[prob_columns(classes)].to_numpy()
        if isinstance(classes, LabelNames):
            return float(((scores >= 0.5) == classes.matrix(table["label"])).mean())
        found = scores.argmax(axis=1)
        return float((np.asarray(classes, dtype=object)[found] == table["label"]).mean())

    def _levels(self, table: DataFrame) -> dict[Level, DataFrame | None]:
        rules = Rules.of(asdict(self.job.config.evaluation))
        return by_level(table, self.job.manifest.classes, rules)

    def _decision(self, val: DataFrame) -> Decision:
        job, classes, has = self.job, self.job.manifest.classes, self._has(val)
        thresholds = {
            name: Threshold.chosen(
                has[:, classes.index(name)],
                val[f"prob_{name}"].to_numpy(),
                job.config.evaluation.threshold,
                "val",
            )
            for name in decided(classes)
        }
        return Decision(job.fold.index, classes, thresholds)

    def _has(self, table: DataFrame) -> Bools:
        """(N, C) which class, or which labels, each row has."""
        classes = self.job.manifest.classes
        if isinstance(classes, LabelNames):
            return classes.matrix(table["label"])
        found: Bools = table["label"].to_numpy()[:, None] == np.array(classes, dtype=object)
        return found


def refuse_other_parts(val: DataFrame, job: FoldJob) -> None:
    """RuntimeError unless all patients are of the validation part: nothing else may choose."""
    if others := set(val["patient_id"]) - job.fold.val:
        raise RuntimeError(
            f"Fold {job.fold.index}: only its validation part chooses, got {len(others)} "
            "patient(s) of other parts."
        )
