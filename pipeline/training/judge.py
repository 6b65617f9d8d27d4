"""Judge a part: predictions, the thresholds that val decides, and the metrics of both levels.

Imports no torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pandas import DataFrame

from pipeline.arrays import AnyFloats, Bools, Ints
from pipeline.config import UserError
from pipeline.evaluation.metrics import VAL_METRICS, Level, metrics, named_metrics
from pipeline.evaluation.own_metrics import own_metrics
from pipeline.evaluation.patients import per_patient
from pipeline.evaluation.predictions import (
    Threshold,
    prediction_table,
    prob_columns,
    with_decisions,
)
from pipeline.evaluation.thresholds import choose_threshold
from pipeline.label_names import LabelNames
from pipeline.splits import Part
from pipeline.training.job import FoldJob

Thresholds = Mapping[Level, Threshold]
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
        for level, found in self.metrics(table, self.thresholds(table), VAL_METRICS).items():
            values |= {f"val/{level}/{name}": value for name, value in (found or {}).items()}
        return {**values, "val/image/accuracy": self._accuracy(table)}

    def predict(self, part: Part) -> DataFrame:
        """A part's prediction table, without decisions."""
        return self._predict(part)[0]

    def thresholds(self, val: DataFrame) -> dict[Level, Threshold]:
        """Decision threshold of each level, from the validation part; None beyond two classes, one
        for each label where they do not exclude each other.
        """
        return {level: self._threshold(table) for level, table in self._levels(val).items()}

    def decided(self, table: DataFrame, thresholds: Thresholds) -> DataFrame:
        """The table with `predicted`, by the image level's threshold."""
        return with_decisions(table, self.job.manifest.classes, thresholds["image"])

    def metrics(
        self, table: DataFrame, thresholds: Thresholds, names: Sequence[str] | None = None
    ) -> Levels:
        """All metrics of both levels, or these; the patient level is None where it is off."""
        classes, found = self.job.manifest.classes, Levels()
        for level, cases in self._levels(table).items():
            found[level] = None
            if cases is not None:
                decided = with_decisions(cases, classes, thresholds[level])
                own = self._own(decided, level) if names is None else {}
                found[level] = metrics(decided, classes, level, names) | own
        return found

    def _own(self, decided: DataFrame, level: Level) -> dict[str, float | None]:
        """A user's own metrics. One that fails now is missing, and costs no fold: the report of
        the run says why, when everything is trained and kept.
        """
        classes, own = self.job.manifest.classes, own_metrics(self.job.config.evaluation)
        ours = named_metrics(classes, level)
        names = [name for name in named_metrics(classes, level, own) if name not in ours]
        try:
            return metrics(decided, classes, level, names, own)
        except UserError:
            return dict.fromkeys(names)

    def _predict(self, part: Part) -> tuple[DataFrame, float]:
        """The part's prediction table and its loss."""
        job, rows = self.job, self.job.rows(part)
        found, loss = self.outputs(rows)
        order, classes = np.arange(len(rows)), job.manifest.classes
        samples = job.manifest.table.iloc[rows].reset_index(drop=True)
        return prediction_table(samples, found, order, classes, job.fold.index), loss

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
        evaluation, classes = self.job.config.evaluation, self.job.manifest.classes
        patients = per_patient(table, classes, evaluation.aggregate, evaluation.patient_label)
        return {"image": table, "patient": patients}

    def _threshold(self, table: DataFrame | None) -> Threshold:
        classes = self.job.manifest.classes
        if isinstance(classes, LabelNames):
            if table is None:
                return None
            has = classes.matrix(table["label"])
            return {
                name: self._best(has[:, code], table[f"prob_{name}"].to_numpy())
                for code, name in enumerate(classes)
            }
        if table is None or len(classes) != 2:
            return None
        is_positive = (table["label"] == classes[1]).to_numpy()
        return self._best(is_positive, table[f"prob_{classes[1]}"].to_numpy())

    def _best(self, is_positive: Bools, scores: AnyFloats) -> float:
        one_class = is_positive.all() or not is_positive.any()
        # One class leaves nothing to choose from; the missing class was reported before training.
        rule = "fixed" if one_class else self.job.config.evaluation.threshold
        return choose_threshold(is_positive, scores, rule)
