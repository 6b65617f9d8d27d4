"""Judge a part: predictions, the thresholds that val decides, and the metrics of both levels."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from pandas import DataFrame

from pipeline.evaluation import (
    VAL_METRICS,
    choose_threshold,
    metrics,
    per_patient,
    prediction_table,
    with_decisions,
)
from pipeline.images.batches import BatchSource
from pipeline.splits import Part
from pipeline.training.epoch import predict
from pipeline.training.job import FoldJob
from pipeline.training.learner import Learner

Thresholds = Mapping[str, float | None]
Levels = dict[str, dict[str, float | None] | None]


@dataclass(frozen=True)
class Judge:
    """Predicts the samples of a fold's parts with the learner's network as it stands."""

    learner: Learner
    source: BatchSource
    job: FoldJob

    def validate(self) -> dict[str, float | None]:
        """The validation metrics of an epoch, `val/...`, image level first."""
        table, loss = self._predict("val")
        levels = self.levels(table, self.thresholds(table))
        values: dict[str, float | None] = {"val/loss": loss}
        for name, level in levels.items():
            values |= {f"val/{name}/{metric}": level[metric] for metric in VAL_METRICS if level}
        return values

    def predict(self, part: Part) -> DataFrame:
        """A part's prediction table, without decisions."""
        return self._predict(part)[0]

    def thresholds(self, val: DataFrame) -> dict[str, float | None]:
        """Decision threshold of each level, from the validation part; None beyond two classes."""
        return {"image": self._threshold(val), "patient": self._threshold(self._patients(val))}

    def decided(self, table: DataFrame, thresholds: Thresholds) -> DataFrame:
        """The table with `predicted`, by the image level's threshold."""
        return with_decisions(table, self.job.manifest.classes, thresholds["image"])

    def levels(self, table: DataFrame, thresholds: Thresholds) -> Levels:
        """Metrics of both levels; the patient level is None where it is switched off."""
        classes, patients = self.job.manifest.classes, self._patients(table)
        image = metrics(self.decided(table, thresholds), classes)
        if patients is None:
            return {"image": image, "patient": None}
        decided = with_decisions(patients, classes, thresholds["patient"])
        return {"image": image, "patient": metrics(decided, classes)}

    def _predict(self, part: Part) -> tuple[DataFrame, float]:
        job, rows = self.job, self.job.rows(part)
        probabilities, logits = predict(self.learner, self.source, rows)
        labels = torch.from_numpy(job.manifest.labels[rows]).to(self.learner.device)
        with torch.inference_mode():
            loss = float(self.learner.loss(logits, labels))
        samples = job.manifest.table.iloc[rows].reset_index(drop=True)
        order = np.arange(len(rows))
        classes, fold = job.manifest.classes, job.fold.index
        return prediction_table(samples, probabilities, order, classes, fold), loss

    def _patients(self, table: DataFrame) -> DataFrame | None:
        evaluation = self.job.config.evaluation
        classes = self.job.manifest.classes
        return per_patient(table, classes, evaluation.aggregate, evaluation.patient_label)

    def _threshold(self, table: DataFrame | None) -> float | None:
        classes = self.job.manifest.classes
        if table is None or len(classes) != 2:
            return None
        is_positive = (table["label"] == classes[1]).to_numpy()
        one_class = is_positive.all() or not is_positive.any()
        # One class leaves nothing to choose from; the missing class was reported before training.
        rule = "fixed" if one_class else self.job.config.evaluation.threshold
        return choose_threshold(is_positive, table[f"prob_{classes[1]}"].to_numpy(), rule)
