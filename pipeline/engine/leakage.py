"""What a split by image would pretend: the same configuration, both ways, on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from pipeline.config import Config, UserError
from pipeline.console import say
from pipeline.engine.run_folder import Run
from pipeline.evaluation.auroc import auroc_interval, one_against_rest
from pipeline.evaluation.intervals import Interval
from pipeline.evaluation.predictions import prob_columns, read_predictions
from pipeline.images.packed import PackedImages
from pipeline.manifest import Manifest
from pipeline.splits import plan_by_image
from pipeline.training.planning import make_plan


@dataclass(frozen=True, slots=True)
class LeakageCost:
    """Image-level test AUROC under both plans, with intervals over patients."""

    by_image: Interval
    by_patient: Interval

    @property
    def gap(self) -> float:
        return self.by_image.value - self.by_patient.value


def both_runs(config: Config, manifest: Manifest, images: PackedImages) -> tuple[Run, Run]:
    """The unsafe run that is split by image, and the same one split by patient."""
    if config.split.scheme != "kfold" or config.split.file:
        raise UserError("leakage-cost needs split.scheme=kfold and no split.file.")
    leaking, unsafe_plan = plan_by_image(manifest, config.split)
    # an image is no patient
    no_patients = replace(
        config.evaluation, patient_label="none", middle=None, middle_aggregate="mean"
    )
    unsafe = Run(replace(config, evaluation=no_patients), leaking, unsafe_plan, images)
    planned = make_plan(config, manifest)
    return unsafe, Run(config, planned.manifest, planned.plan, images)


def leakage_cost(runs: Sequence[Run]) -> LeakageCost:
    """Compare two done runs of the same images, in any order: one unsafe, one split by patient.

    UserError when a fold of a run lacks a class, so that there is no AUROC.
    """
    by_image, by_patient = sorted(runs, key=lambda run: not run.plan.unsafe)
    true_ids = by_patient.manifest.table["patient_id"]
    return LeakageCost(_image_auroc(by_image, true_ids), _image_auroc(by_patient, true_ids))


def _image_auroc(run: Run, true_ids: pd.Series) -> Interval:
    """A done run's test AUROC over images; `true_ids` are the patients of its manifest's rows."""
    classes = run.manifest.classes
    table = read_predictions(run.dir / "predictions.csv", classes)
    patient_of = dict(zip(run.manifest.table["patient_id"], true_ids, strict=True))
    labels = np.array([classes.index(label) for label in table["label"]])
    targets = one_against_rest(labels, table[prob_columns(classes)].to_numpy())
    patients, _ = pd.factorize(table["patient_id"].map(patient_of))
    interval = auroc_interval(*targets, table["fold"].to_numpy(), patients)
    if interval is None:
        raise UserError(
            f"run folder {run.dir}: the test part of a fold lacks a class, so that there is no "
            "AUROC to compare; use fewer folds (split.num_folds)."
        )
    return interval


def print_leakage_cost(cost: LeakageCost, console: Console) -> None:
    """A table of both AUROCs and one line that says what the difference is."""
    table = Table("split by", "image-level test AUROC", "95 % interval over patients")
    table.title = "the same configuration, split both ways"
    rows = (("image (UNSAFE)", cost.by_image, "red"), ("patient", cost.by_patient, "green"))
    for name, interval, style in rows:
        bounds = f"{interval.low:.3f} to {interval.high:.3f}"
        table.add_row(name, f"{interval.value:.3f}", bounds, style=style)
    console.print(table)
    line = (
        f"optimism gap: {cost.gap:+.3f} AUROC; a split by image reports that much for knowing the "
        "patients, and new patients will not show it"
    )
    say([line], console)
